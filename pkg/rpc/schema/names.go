package schema

import (
	"fmt"
	"reflect"
	"strings"
)

// identifier makes an identifier of protobuf of s.
func identifier(s string) string {
	var b strings.Builder
	for i, c := range s {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_':
			b.WriteRune(c)
		case c >= '0' && c <= '9':
			if i == 0 {
				b.WriteByte('_')
			}
			b.WriteRune(c)
		default:
			b.WriteByte('_')
		}
	}
	return b.String()
}

// fieldNames gives the fields of one message their names in protobuf.
type fieldNames struct {
	taken   map[string]bool // without case and underscores: those are not enough for protobuf's own JSON names
	entries map[string]bool // of the messages that maps need
}

func newFieldNames() *fieldNames {
	return &fieldNames{taken: map[string]bool{}, entries: map[string]bool{}}
}

// of returns the name for a field that is called name in JSON.
func (n *fieldNames) of(name string, mapping bool) string {
	wanted := identifier(name)
	for i := 1; ; i++ {
		try := wanted
		if i > 1 {
			try = fmt.Sprintf("%s_%d", wanted, i)
		}
		plain, entry := flat(try), ""
		if mapping {
			entry = flat(entryName(try))
		}
		if plain == "" { // of underscores alone
			plain = try
		}
		if n.taken[plain] || n.entries[plain] || mapping && n.taken[entry] {
			continue
		}
		n.taken[plain] = true
		if mapping {
			n.entries[entry] = true
		}
		return try
	}
}

func flat(name string) string { return strings.ToLower(strings.ReplaceAll(name, "_", "")) }

// entryName is the name that protobuf prescribes for the entries of a map: the
// field's in CamelCase
// (https://protobuf.dev/programming-guides/proto3/#backwards).
func entryName(field string) string {
	var b strings.Builder
	upper := true
	for i := range len(field) {
		c := field[i]
		switch {
		case c == '_':
			upper = true
			continue
		case upper && c >= 'a' && c <= 'z':
			c -= 'a' - 'A'
		}
		upper = false
		b.WriteByte(c)
	}
	return b.String() + "Entry"
}

// messageNames gives the Go types of one protobuf package their names there.
type messageNames struct {
	taken func(string) bool // by others
	types map[reflect.Type]string
	names map[string]bool
}

// of returns the name of t: that of the Go type; if another has it, together
// with the Go package's; if need be with a number. hint names what has no name.
func (n *messageNames) of(t reflect.Type, hint string) string {
	if name, ok := n.types[t]; ok {
		return name
	}
	plain := identifier(hint)
	if t.Name() != "" {
		plain = identifier(shortName(t.Name()))
	}
	name := plain
	qualified := identifier(t.PkgPath()[strings.LastIndexByte(t.PkgPath(), '/')+1:]) + "_" + plain
	for i := 1; n.names[name] || n.taken(name); i++ {
		if name = qualified; i > 1 {
			name = fmt.Sprintf("%s_%d", qualified, i)
		}
	}
	n.names[name], n.types[t] = true, name
	return name
}

// shortName takes the paths of packages out of a generic type's name:
// Page[example.com/shop.Item] is Page_Item.
func shortName(s string) string {
	words := strings.FieldsFunc(s, func(c rune) bool { return strings.ContainsRune("[],* ", c) })
	for i, w := range words {
		w = w[strings.LastIndexByte(w, '/')+1:]
		w = w[strings.LastIndexByte(w, '.')+1:]
		words[i], _, _ = strings.Cut(w, "·") // the number of a type that is local to a function
	}
	return strings.Join(words, "_")
}
