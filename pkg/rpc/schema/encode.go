package schema

import (
	"fmt"
	"reflect"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// append appends the fields of v.
func (s *structure) append(b []byte, v reflect.Value, depth int) ([]byte, error) {
	if depth++; depth > maxDepth {
		return b, errDepth
	}
	for _, f := range s.fields {
		value, ok := f.get(v)
		if !ok {
			continue
		}
		var err error
		if b, err = f.append(b, value, depth); err != nil {
			return b, within(f.name, err)
		}
	}
	return b, nil
}

func (f *field) append(b []byte, v reflect.Value, depth int) ([]byte, error) {
	switch f.shape {
	case list, array:
		return f.appendList(b, v, depth)
	case mapping:
		return f.appendMap(b, v, depth)
	default:
		if f.pointer {
			if v.IsNil() {
				return b, nil
			}
			v = v.Elem()
		}
		return f.element.appendField(b, f.tag, v, f.pointer, depth)
	}
}

// appendField appends a value after its tag. Without need, what has no content
// is left out.
func (e *element) appendField(b []byte, tag uint64, v reflect.Value, need bool, depth int) ([]byte, error) {
	if e.isNumber() {
		bits := e.bits(v)
		if bits == 0 && !need {
			return b, nil
		}
		return appendNumber(appendVarint(b, tag), e.wire, bits), nil
	}
	if !need && e.zero != nil && e.zero(v) {
		return b, nil
	}
	start := len(b)
	b = appendVarint(b, tag)
	if e.size != nil {
		return e.appendBody(appendVarint(b, uint64(e.size(v))), v, depth)
	}
	begun := len(b)
	b, err := e.appendBody(append(b, 0), v, depth)
	if err == nil && !need && e.zero == nil && len(b) == begun+1 {
		return b[:start], nil
	}
	return setLength(b, begun), err
}

// appendVarint is protowire's, for which small numbers are a case among others.
func appendVarint(b []byte, x uint64) []byte {
	if x < 0x80 {
		return append(b, byte(x))
	}
	return protowire.AppendVarint(b, x)
}

// setLength writes the length of what was appended after the byte at begun,
// which was left for it.
func setLength(b []byte, begun int) []byte {
	n := len(b) - begun - 1
	if more := protowire.SizeVarint(uint64(n)) - 1; more > 0 {
		var room [9]byte
		b = append(b, room[:more]...)
		copy(b[begun+1+more:], b[begun+1:begun+1+n])
	}
	protowire.AppendVarint(b[:begun], uint64(n))
	return b
}

func (f *field) appendList(b []byte, v reflect.Value, depth int) ([]byte, error) {
	n := v.Len()
	if n == 0 {
		return b, nil
	}
	begun := 0
	if f.element.isNumber() {
		b = append(protowire.AppendTag(b, f.number, protowire.BytesType), 0)
		begun = len(b) - 1
	}
	for i := range n {
		item := v.Index(i)
		if f.pointer {
			if item.IsNil() {
				return b, within(fmt.Sprintf("[%d]", i), errNil)
			}
			item = item.Elem()
		}
		if f.element.isNumber() {
			b = appendNumber(b, f.element.wire, f.element.bits(item))
			continue
		}
		var err error
		if b, err = f.element.appendField(b, f.tag, item, true, depth); err != nil {
			return b, within(fmt.Sprintf("[%d]", i), err)
		}
	}
	if f.element.isNumber() {
		b = setLength(b, begun)
	}
	return b, nil
}

// The fields of the messages that the entries of a map are.
const (
	keyNumber   = 1
	valueNumber = 2
)

func (f *field) appendMap(b []byte, v reflect.Value, depth int) ([]byte, error) {
	if v.Len() == 0 {
		return b, nil
	}
	// Two values that can be set take those of each entry in turn.
	key, value := reflect.New(f.typ.Key()).Elem(), reflect.New(f.typ.Elem()).Elem()
	keyTag, valueTag := protowire.EncodeTag(keyNumber, f.key.wire), protowire.EncodeTag(valueNumber, f.element.wire)
	for iter := v.MapRange(); iter.Next(); {
		key.SetIterKey(iter)
		value.SetIterValue(iter)
		b = append(protowire.AppendTag(b, f.number, protowire.BytesType), 0)
		begun := len(b) - 1
		var err error
		if b, err = f.key.appendField(b, keyTag, key, true, depth); err != nil {
			return b, within(keyPath(key), err)
		}
		item := value
		if f.pointer {
			if item.IsNil() {
				return b, within(keyPath(key), errNil)
			}
			item = item.Elem()
		}
		if b, err = f.element.appendField(b, valueTag, item, true, depth); err != nil {
			return b, within(keyPath(key), err)
		}
		b = setLength(b, begun)
	}
	return b, nil
}

// keyPath is a key in the path of an error.
func keyPath(key reflect.Value) string {
	const most = 40
	s := fmt.Sprint(key)
	if len(s) > most {
		s = s[:most] + "…"
	}
	return "[" + strings.ToValidUTF8(s, "") + "]"
}
