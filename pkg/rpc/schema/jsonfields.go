package schema

import (
	"cmp"
	"reflect"
	"slices"
	"strings"
	"unicode"
)

// jsonField is a field as encoding/json sees it.
type jsonField struct {
	name      string // in JSON
	goName    string
	index     []int
	tagged    bool // the name is of a tag
	typ       reflect.Type
	tagNumber string // of the tag rpc
	hidden    bool   // an embedded struct of an unexported type, under a name of its own

	noWay reflect.Type // a pointer on the way to the field that cannot be set
}

// jsonFields returns the fields of a struct by encoding/json's rules: those of
// embedded structs count as the outer one's; of several of one name the least
// deep wins, then the one whose name is of a tag, and if that does not decide
// it, none is there. They are in the order of their declaration.
func jsonFields(t reflect.Type) []jsonField {
	var found []jsonField
	type embedded struct {
		typ   reflect.Type
		index []int
		noWay reflect.Type // a pointer on the way that decoding cannot set
	}
	level := []embedded{{typ: t}}
	visited := map[reflect.Type]bool{}
	for len(level) > 0 {
		var next []embedded
		times := map[reflect.Type]int{}
		for _, e := range level {
			// Twice on one level its fields hide each other; more often is no more.
			if times[e.typ]++; visited[e.typ] || times[e.typ] > 2 {
				continue
			}
			for i := range e.typ.NumField() {
				sf := e.typ.Field(i)
				direct := sf.Type
				if sf.Anonymous && direct.Kind() == reflect.Pointer {
					direct = direct.Elem()
				}
				tag := sf.Tag.Get("json")
				if tag == "-" || !sf.IsExported() && (!sf.Anonymous || direct.Kind() != reflect.Struct) {
					continue
				}
				name, _, _ := strings.Cut(tag, ",")
				if !validName(name) {
					name = ""
				}
				index := append(slices.Clone(e.index), i)
				if sf.Anonymous && name == "" && direct.Kind() == reflect.Struct {
					noWay := e.noWay
					if !sf.IsExported() && sf.Type.Kind() == reflect.Pointer {
						noWay = sf.Type
					}
					next = append(next, embedded{direct, index, noWay})
					continue
				}
				found = append(found, jsonField{
					name: cmp.Or(name, sf.Name), goName: sf.Name, index: index, tagged: name != "",
					typ: sf.Type, tagNumber: sf.Tag.Get("rpc"), hidden: !sf.IsExported(), noWay: e.noWay,
				})
			}
		}
		for _, e := range level {
			visited[e.typ] = true
		}
		level = next
	}
	return visible(found)
}

// visible drops the fields that others hide.
func visible(found []jsonField) []jsonField {
	slices.SortStableFunc(found, func(a, b jsonField) int {
		return cmp.Or(strings.Compare(a.name, b.name), cmp.Compare(len(a.index), len(b.index)), tagOrder(a)-tagOrder(b))
	})
	var fields []jsonField
	for len(found) > 0 {
		n := 1
		for n < len(found) && found[n].name == found[0].name {
			n++
		}
		if n == 1 || len(found[1].index) != len(found[0].index) || found[1].tagged != found[0].tagged {
			fields = append(fields, found[0])
		}
		found = found[n:]
	}
	slices.SortFunc(fields, func(a, b jsonField) int { return slices.Compare(a.index, b.index) })
	return fields
}

func tagOrder(f jsonField) int {
	if f.tagged {
		return 0
	}
	return 1
}

// validName reports whether encoding/json takes a tag's name.
func validName(s string) bool {
	for _, c := range s {
		if !strings.ContainsRune("!#$%&()*+-./:;<=>?@[]^_{|}~ ", c) && !unicode.IsLetter(c) && !unicode.IsDigit(c) {
			return false
		}
	}
	return s != ""
}
