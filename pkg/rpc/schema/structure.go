package schema

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// structure is the message that a Go struct is.
type structure struct {
	typ      reflect.Type
	fields   []*field // by number
	byNumber map[protowire.Number]*field
	low      [16]*field // those that most messages have only, without a search
	slots    int        // how many fields are decoded at the end of the message
}

// field is one of a structure's.
type field struct {
	jsonField
	number    protowire.Number
	tag       uint64 // number and wire type of a single value or item
	shape     shape
	pointer   bool // to the value, or to each item
	element   *element
	key       *element // of a map
	protoName string   // in protobuf
	slot      int      // what decoding keeps of it until the message ends; -1 = nothing
}

type shape int

const (
	single shape = iota
	list
	array
	mapping
)

// maxDepth is how deep messages may lie within each other, as in other
// implementations of protobuf. encoding/json has a higher limit.
const maxDepth = 100

var errDepth = fmt.Errorf("messages lie within each other more than %d deep", maxDepth)

var errNil = errors.New("nil: protobuf has no null in lists and maps")

func (c *compiler) structureElement(t reflect.Type, path string) (*element, error) {
	s, ok := c.structures[t]
	if !ok {
		s = &structure{typ: t}
		c.structures[t] = s
		if err := c.complete(s, path); err != nil {
			return nil, err
		}
	}
	return &element{
		kind: protoreflect.MessageKind, wire: protowire.BytesType,
		appendBody: s.append, setBody: s.decode, structure: s,
	}, nil
}

// complete fills in the fields of s.
func (c *compiler) complete(s *structure, path string) error {
	s.byNumber = map[protowire.Number]*field{}
	names := newFieldNames()
	last := protowire.Number(0)
	for _, jf := range jsonFields(s.typ) {
		f := &field{jsonField: jf, slot: -1}
		at := path + "." + jf.goName
		if err := c.field(f, at); err != nil {
			return err
		}
		if f.noWay != nil {
			return unsupported(at, f.noWay, "an embedded pointer to an unexported struct cannot be decoded")
		}
		var err error
		if f.number, err = fieldNumber(jf, last); err != nil {
			return &fieldError{at, err}
		}
		last = f.number
		if other, ok := s.byNumber[f.number]; ok {
			return &fieldError{at, fmt.Errorf("number %d is that of %s: give one of them another by a tag such as `rpc:\"7\"`", f.number, other.goName)}
		}
		f.tag = protowire.EncodeTag(f.number, f.element.wire)
		f.protoName = names.of(jf.name, f.shape == mapping)
		if f.shape == array || f.shape == single && f.element.isMessage() {
			f.slot = s.slots
			s.slots++
		}
		s.byNumber[f.number] = f
		if int(f.number) < len(s.low) {
			s.low[f.number] = f
		}
		s.fields = append(s.fields, f)
	}
	slices.SortFunc(s.fields, func(a, b *field) int { return int(a.number - b.number) })
	return nil
}

// field finds the shape and the elements of f.
func (c *compiler) field(f *field, path string) (err error) {
	t := f.typ
	direct := t.Kind() != reflect.Pointer && t != reflect.TypeFor[map[string]any]() && !marshals(t)
	switch {
	case direct && t.Kind() == reflect.Slice && !isBytes(t):
		f.shape = list
		f.element, f.pointer, err = c.item(t.Elem(), path+"[]")
	case direct && t.Kind() == reflect.Array:
		f.shape = array
		f.element, f.pointer, err = c.item(t.Elem(), path+"[]")
	case direct && t.Kind() == reflect.Map:
		f.shape = mapping
		if f.key, err = c.key(t.Key(), path); err != nil {
			return err
		}
		f.element, f.pointer, err = c.item(t.Elem(), path+"[]")
	default:
		f.element, f.pointer, err = c.item(t, path)
	}
	if err != nil {
		return err
	}
	if f.hidden && (f.pointer || f.element.structure == nil) {
		return unsupported(path, t, "an embedded type that is unexported")
	}
	return nil
}

// fieldNumber is the number of the tag or the one after the field before.
func fieldNumber(f jsonField, last protowire.Number) (protowire.Number, error) {
	number := last + 1
	if f.tagNumber != "" {
		n, err := strconv.ParseInt(f.tagNumber, 10, 32)
		if err != nil {
			return 0, fmt.Errorf("the tag rpc:%q is no number", f.tagNumber)
		}
		number = protowire.Number(n)
	}
	if !number.IsValid() || number >= protowire.FirstReservedNumber && number <= protowire.LastReservedNumber {
		return 0, fmt.Errorf("number %d is not one that a field can have: 1 to %d without %d to %d", number,
			protowire.MaxValidNumber, protowire.FirstReservedNumber, protowire.LastReservedNumber)
	}
	return number, nil
}

// byTag returns the field of that number, or nil.
func (s *structure) byTag(n protowire.Number) *field {
	if int(n) < len(s.low) {
		return s.low[n]
	}
	return s.byNumber[n]
}

// get returns the field of v; false if a pointer on the way is nil.
func (f *field) get(v reflect.Value) (reflect.Value, bool) {
	if len(f.index) == 1 {
		return v.Field(f.index[0]), true
	}
	for i, at := range f.index {
		if i > 0 && v.Kind() == reflect.Pointer {
			if v.IsNil() {
				return reflect.Value{}, false
			}
			v = v.Elem()
		}
		v = v.Field(at)
	}
	return v, true
}
