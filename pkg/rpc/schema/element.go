package schema

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// element says how one value of a Go type travels: as a field, as an item of a
// list, as a key or value of a map, or, if it is a message, by itself.
type element struct {
	kind protoreflect.Kind
	wire protowire.Type

	// For numbers: their bits as they are sent, before a varint is made of them.
	bits    func(reflect.Value) uint64
	setBits func(reflect.Value, uint64) error

	// For all others: what follows the length.
	appendBody func(b []byte, v reflect.Value, depth int) ([]byte, error)
	setBody    func(d *decoder, v reflect.Value, body []byte) error
	size       func(reflect.Value) int  // of the body, where it is known before
	zero       func(reflect.Value) bool // what is not sent without need; nil: what has an empty body

	// For messages, one of the two:
	structure *structure
	known     protoreflect.MessageDescriptor
}

func (e *element) isNumber() bool  { return e.bits != nil }
func (e *element) isMessage() bool { return e.kind == protoreflect.MessageKind }

// compiler makes the elements of a type and of those within it.
type compiler struct {
	structures map[reflect.Type]*structure // also those that are not complete yet
}

// message makes the element of a whole message: of what is none by itself, the
// wrapper of google/protobuf/wrappers.proto.
func (c *compiler) message(t reflect.Type) (*element, error) {
	path := typeName(t)
	if t.Kind() == reflect.Pointer {
		return nil, &fieldError{path, fmt.Errorf("a pointer is no message: use %s", t.Elem())}
	}
	if isMessage(t) {
		return generated(t, path)
	}
	e, err := c.element(t, path)
	if err != nil || e.isMessage() {
		return e, err
	}
	return wrapped(e), nil
}

// element makes the element of t; lists and maps, which protobuf has as fields
// only, are JSON's.
func (c *compiler) element(t reflect.Type, path string) (*element, error) {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return timestamp(), nil
	case isMessage(t):
		return nil, unsupported(path, t, "a protobuf message is held by pointer")
	case t == reflect.TypeFor[json.Number]():
		return jsonValue(t), nil
	case isText(t) && !implements[json.Marshaler](t) && !implements[json.Unmarshaler](t):
		return text(), nil
	case marshals(t):
		return jsonValue(t), nil
	}
	switch t.Kind() {
	case reflect.String:
		return stringElement(), nil
	case reflect.Interface:
		if t.NumMethod() > 0 {
			return nil, unsupported(path, t, "which type it would have is not known to who decodes it")
		}
		return jsonValue(t), nil
	case reflect.Struct:
		if t.Name() == "" && t.NumField() == 0 {
			return empty(), nil
		}
		return c.structureElement(t, path)
	case reflect.Slice:
		if isBytes(t) {
			return bytesElement(), nil
		}
		_, _, err := c.item(t.Elem(), path+"[]")
		return jsonList(t), err
	case reflect.Array:
		_, _, err := c.item(t.Elem(), path+"[]")
		return jsonList(t), err
	case reflect.Map:
		if _, err := c.key(t.Key(), path); err != nil {
			return nil, err
		}
		_, _, err := c.item(t.Elem(), path+"[]")
		return jsonStruct(t), err
	case reflect.Pointer:
		return nil, unsupported(path, t, "a pointer to a pointer has two ways to be absent")
	}
	if e := number(t.Kind()); e != nil {
		return e, nil
	}
	return nil, unsupported(path, t, "")
}

// item makes the element of what a pointer may point at: nil says that it is
// absent.
func (c *compiler) item(t reflect.Type, path string) (e *element, pointer bool, err error) {
	if t.Kind() != reflect.Pointer {
		e, err = c.element(t, path)
		return e, false, err
	}
	if isMessage(t.Elem()) {
		e, err = generated(t.Elem(), path)
		return e, true, err
	}
	e, err = c.element(t.Elem(), path)
	return e, true, err
}

// key makes the element of a map's key. encoding/json takes these kinds.
func (c *compiler) key(t reflect.Type, path string) (*element, error) {
	switch {
	case t.Kind() == reflect.String:
		return stringElement(), nil
	case isText(t):
		return text(), nil
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Uint64:
		return number(t.Kind()), nil
	}
	return nil, unsupported(path, t, "it cannot be the key of a map")
}

func unsupported(path string, t reflect.Type, why string) error {
	if why != "" {
		why = ": " + why
	}
	what := t.String()
	if t.Name() == "" && t.Kind() != reflect.Pointer {
		what = t.Kind().String()
	}
	return &fieldError{path, fmt.Errorf("%s cannot be sent%s", what, why)}
}

func typeName(t reflect.Type) string {
	if t.Name() != "" {
		return t.Name()
	}
	return t.String()
}

// implements reports whether encoding/json would find T's methods: values are
// always addressable here.
func implements[T any](t reflect.Type) bool {
	want := reflect.TypeFor[T]()
	return t.Implements(want) || t.Kind() != reflect.Pointer && t.Kind() != reflect.Interface && reflect.PointerTo(t).Implements(want)
}

// isText reports whether values of t are texts by their own account.
func isText(t reflect.Type) bool {
	return implements[encoding.TextMarshaler](t) && implements[encoding.TextUnmarshaler](t)
}

// marshals reports whether t says itself how it is encoded, or decoded.
func marshals(t reflect.Type) bool {
	return implements[json.Marshaler](t) || implements[json.Unmarshaler](t) ||
		implements[encoding.TextMarshaler](t) || implements[encoding.TextUnmarshaler](t)
}

// isMessage reports whether a pointer to t is a protobuf message.
func isMessage(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && reflect.PointerTo(t).Implements(reflect.TypeFor[proto.Message]())
}

// isBytes reports whether t is a slice that encoding/json encodes in base64.
func isBytes(t reflect.Type) bool {
	if t.Kind() != reflect.Slice || t.Elem().Kind() != reflect.Uint8 {
		return false
	}
	p := reflect.PointerTo(t.Elem())
	return !p.Implements(reflect.TypeFor[json.Marshaler]()) && !p.Implements(reflect.TypeFor[encoding.TextMarshaler]())
}
