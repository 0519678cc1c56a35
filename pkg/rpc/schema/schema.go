// Package schema gives plain Go types a protobuf schema, so that clients that
// know nothing of them can call them with protobuf.
//
// A struct is a message, and its fields are those that encoding/json sees,
// under the names that encoding/json gives them. Numbers go from 1 in the
// order of declaration: a field has the number of its tag, `rpc:"7"`, or one
// more than the field before it. To append a field is therefore safe; to put
// one in between needs a tag on it and on the one after it. What a message is
// in protobuf's JSON is what encoding/json makes of the Go value, but for
// 64-bit integers, which protobuf's JSON quotes. docs/plain-go-messages.md has
// the whole table.
//
// Encoding and decoding follow a plan that is made once for each type. What is
// decoded is bounded: in the depth of its messages and in the memory that they
// take. Fields that a type does not have are ignored.
//
// Errors name the field, as Request.items[2].count; those of types name it as Go
// does. There are no others to tell apart: a type that cannot be sent is a
// mistake of its author, and bytes that cannot be decoded one of their sender.
package schema

import (
	"fmt"
	"reflect"
	"sync"
)

// Types knows the schemas of the types that it was asked for. It is safe for
// concurrent use. A server owns one, and so does a client.
type Types struct {
	messages sync.Map // *element of a message, by reflect.Type
}

// New returns a Types that knows none yet.
func New() *Types { return &Types{} }

// Check returns why values of type t cannot be messages, and names the field
// that is the reason.
func (t *Types) Check(typ reflect.Type) error {
	_, err := t.message(typ)
	return err
}

// message returns the element of a whole message of type typ.
func (t *Types) message(typ reflect.Type) (*element, error) {
	if known, ok := t.messages.Load(typ); ok {
		return known.(*element), nil
	}
	c := compiler{structures: map[reflect.Type]*structure{}}
	e, err := c.message(typ)
	if err != nil {
		return nil, err
	}
	first, _ := t.messages.LoadOrStore(typ, e)
	return first.(*element), nil
}

// Marshal returns v, which may be a pointer to what is meant, as a message. A
// nil pointer is an empty message.
func (t *Types) Marshal(v any) ([]byte, error) {
	const small = 96 // bytes, that most messages fit in
	return t.Append(make([]byte, 0, small), v)
}

// Append appends v to b as Marshal encodes it.
func (t *Types) Append(b []byte, v any) ([]byte, error) {
	value := reflect.ValueOf(v)
	if !value.IsValid() {
		return nil, fmt.Errorf("schema: nil has no type")
	}
	if value.Kind() != reflect.Pointer {
		at := reflect.New(value.Type())
		at.Elem().Set(value)
		value = at
	}
	e, err := t.message(value.Type().Elem())
	if err != nil || value.IsNil() {
		return b, err
	}
	return e.appendBody(b, value.Elem(), 0)
}

// Unmarshal decodes a message into what v points at. What that held before is
// gone. It keeps nothing of data.
func (t *Types) Unmarshal(data []byte, v any) error {
	at := reflect.ValueOf(v)
	if at.Kind() != reflect.Pointer || at.IsNil() {
		return fmt.Errorf("schema: cannot decode into a %T: want a pointer", v)
	}
	e, err := t.message(at.Type().Elem())
	if err != nil {
		return err
	}
	at.Elem().SetZero()
	return e.setBody(&decoder{budget: minBudget + len(data)*budgetPerByte}, at.Elem(), data)
}

// fieldError is an error within a field, whose path grows on the way out.
type fieldError struct {
	path string
	err  error
}

func (e *fieldError) Error() string { return e.path + ": " + e.err.Error() }
func (e *fieldError) Unwrap() error { return e.err }

// within adds a field, or an index such as [2], in front of the path of err.
func within(name string, err error) error {
	inner, ok := err.(*fieldError) //nolint:errorlint // a path grows only from what this package returned itself
	switch {
	case !ok:
		return &fieldError{name, err}
	case inner.path[0] == '[':
		return &fieldError{name + inner.path, inner.err}
	default:
		return &fieldError{name + "." + inner.path, inner.err}
	}
}
