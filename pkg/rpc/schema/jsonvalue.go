package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"
)

// What protobuf has no type for travels as the JSON that encoding/json makes
// of it, in the messages of google/protobuf/struct.proto. Their numbers are
// float64: an integer that is not one of those is an error, and never rounded.

// jsonValue is the element of a type whose JSON may be anything.
func jsonValue(t reflect.Type) *element {
	return jsonElement((*structpb.Value)(nil), nilable(t), func(x any) (proto.Message, error) { return toValue(x) })
}

// jsonList is the element of a list within a list or a map.
func jsonList(t reflect.Type) *element {
	return jsonElement((*structpb.ListValue)(nil), nilable(t), func(x any) (proto.Message, error) {
		if x == nil {
			return new(structpb.ListValue), nil
		}
		items, ok := x.([]any)
		if !ok {
			return nil, errors.New("its JSON is no list")
		}
		return toList(items)
	})
}

// jsonStruct is the element of a map within a list or a map.
func jsonStruct(t reflect.Type) *element {
	return jsonElement((*structpb.Struct)(nil), nilable(t), func(x any) (proto.Message, error) {
		if x == nil {
			return new(structpb.Struct), nil
		}
		fields, ok := x.(map[string]any)
		if !ok {
			return nil, errors.New("its JSON is no object")
		}
		return toStruct(fields)
	})
}

// nilable returns when a value of type t is left out: when it is nil.
func nilable(t reflect.Type) func(reflect.Value) bool {
	switch t.Kind() {
	case reflect.Interface, reflect.Slice, reflect.Map:
		return reflect.Value.IsNil
	}
	if t == reflect.TypeFor[json.Number]() {
		return reflect.Value.IsZero
	}
	return func(reflect.Value) bool { return false }
}

func jsonElement(m proto.Message, zero func(reflect.Value) bool, convert func(any) (proto.Message, error)) *element {
	return &element{
		kind: protoreflect.MessageKind, wire: protowire.BytesType,
		known: m.ProtoReflect().Descriptor(), zero: zero,
		appendBody: func(b []byte, v reflect.Value, _ int) ([]byte, error) {
			x, err := jsonOf(v)
			if err != nil {
				return b, err
			}
			message, err := convert(x)
			if err != nil {
				return b, err
			}
			return proto.MarshalOptions{}.MarshalAppend(b, message)
		},
		setBody: func(d *decoder, v reflect.Value, body []byte) error {
			message := m.ProtoReflect().New().Interface()
			o := proto.UnmarshalOptions{RecursionLimit: maxDepth - d.depth + 1}
			if err := o.Unmarshal(body, message); err != nil {
				return err
			}
			var x any
			switch m := message.(type) {
			case *structpb.Value:
				x = m.AsInterface()
			case *structpb.ListValue:
				x = m.AsSlice()
			case *structpb.Struct:
				x = m.AsMap()
			}
			return setJSON(v, x)
		},
	}
}

// jsonOf returns what encoding/json makes of v, decoded again.
func jsonOf(v reflect.Value) (any, error) {
	data, err := json.Marshal(v.Addr().Interface())
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var x any
	if err := d.Decode(&x); err != nil {
		return nil, err
	}
	return x, nil
}

// setJSON has encoding/json decode x into v.
func setJSON(v reflect.Value, x any) error {
	if v.Kind() == reflect.Interface {
		if x != nil {
			v.Set(reflect.ValueOf(x))
		}
		return nil
	}
	if v.Type() == reflect.TypeFor[map[string]any]() {
		v.Set(reflect.ValueOf(x))
		return nil
	}
	data, err := json.Marshal(x)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, v.Addr().Interface())
}

func toValue(x any) (*structpb.Value, error) {
	switch x := x.(type) {
	case nil:
		return structpb.NewNullValue(), nil
	case bool:
		return structpb.NewBoolValue(x), nil
	case string:
		return structpb.NewStringValue(x), nil
	case json.Number:
		n, err := exactFloat(x.String())
		return structpb.NewNumberValue(n), err
	case []any:
		l, err := toList(x)
		return structpb.NewListValue(l), err
	case map[string]any:
		s, err := toStruct(x)
		return structpb.NewStructValue(s), err
	}
	return nil, fmt.Errorf("%T is not of JSON", x)
}

func toList(items []any) (*structpb.ListValue, error) {
	l := &structpb.ListValue{Values: make([]*structpb.Value, len(items))}
	for i, item := range items {
		var err error
		if l.Values[i], err = toValue(item); err != nil {
			return nil, within(fmt.Sprintf("[%d]", i), err)
		}
	}
	return l, nil
}

func toStruct(fields map[string]any) (*structpb.Struct, error) {
	s := &structpb.Struct{Fields: make(map[string]*structpb.Value, len(fields))}
	for name, x := range fields {
		var err error
		if s.Fields[name], err = toValue(x); err != nil {
			return nil, within(name, err)
		}
	}
	return s, nil
}

// exactFloat parses a number of JSON; of an integer no digit may be lost.
func exactFloat(s string) (float64, error) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0, fmt.Errorf("%s is out of the range of a float64, as which it would be sent", s)
	}
	if !strings.ContainsAny(s, ".eE") && s != "-0" && strconv.FormatFloat(f, 'f', 0, 64) != s {
		return 0, fmt.Errorf("%s would lose digits as a float64, as which it would be sent: give it a field of type int64", s)
	}
	return f, nil
}
