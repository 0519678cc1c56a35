package schema

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// text is the element of what encodes itself as text.
func text() *element {
	return &element{
		kind: protoreflect.StringKind, wire: protowire.BytesType,
		appendBody: func(b []byte, v reflect.Value, _ int) ([]byte, error) {
			data, err := v.Addr().Interface().(encoding.TextMarshaler).MarshalText()
			if err != nil {
				return b, err
			}
			if !utf8.Valid(data) {
				return b, errUTF8
			}
			return append(b, data...), nil
		},
		setBody: func(_ *decoder, v reflect.Value, body []byte) error {
			if !utf8.Valid(body) {
				return errUTF8
			}
			return v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText(append([]byte(nil), body...))
		},
	}
}

// The times that google.protobuf.Timestamp and RFC 3339 can say, in seconds.
const (
	minSeconds = -62135596800 // 0001-01-01T00:00:00Z, Go's zero time
	maxSeconds = 253402300799 // 9999-12-31T23:59:59Z
)

var errTime = errors.New("the time is not within the years 1 to 9999")

// timestamp is the element of a time.Time: google.protobuf.Timestamp, whose
// fields are seconds and nanos. A time keeps its instant, and not its zone.
func timestamp() *element {
	const secondsField, nanosField = 1, 2
	return &element{
		kind: protoreflect.MessageKind, wire: protowire.BytesType,
		known: (*timestamppb.Timestamp)(nil).ProtoReflect().Descriptor(),
		zero:  func(v reflect.Value) bool { return v.Addr().Interface().(*time.Time).IsZero() },
		appendBody: func(b []byte, v reflect.Value, _ int) ([]byte, error) {
			t := v.Addr().Interface().(*time.Time)
			seconds, nanos := t.Unix(), t.Nanosecond()
			if seconds < minSeconds || seconds > maxSeconds {
				return b, errTime
			}
			if seconds != 0 {
				b = protowire.AppendVarint(protowire.AppendTag(b, secondsField, protowire.VarintType), uint64(seconds))
			}
			if nanos != 0 {
				b = protowire.AppendVarint(protowire.AppendTag(b, nanosField, protowire.VarintType), uint64(nanos))
			}
			return b, nil
		},
		setBody: func(_ *decoder, v reflect.Value, body []byte) error {
			var seconds int64
			var nanos int32
			for len(body) > 0 {
				p, rest, err := next(body)
				if err != nil {
					return err
				}
				body = rest
				switch {
				case p.wire != protowire.VarintType:
				case p.number == secondsField:
					seconds = int64(p.bits)
				case p.number == nanosField:
					nanos = int32(p.bits)
				}
			}
			if seconds < minSeconds || seconds > maxSeconds || nanos < 0 || nanos >= 1e9 {
				return errTime
			}
			*v.Addr().Interface().(*time.Time) = time.Unix(seconds, int64(nanos)).UTC()
			return nil
		},
	}
}

// empty is the element of struct{}.
func empty() *element {
	return &element{
		kind: protoreflect.MessageKind, wire: protowire.BytesType,
		known:      (*emptypb.Empty)(nil).ProtoReflect().Descriptor(),
		appendBody: func(b []byte, _ reflect.Value, _ int) ([]byte, error) { return b, nil },
		setBody: func(_ *decoder, _ reflect.Value, body []byte) error {
			return proto.Unmarshal(body, new(emptypb.Empty))
		},
	}
}

// wrapped is the message of google/protobuf/wrappers.proto that has e's value
// as its only field.
func wrapped(e *element) *element {
	const valueField = 1
	s := &structure{byNumber: map[protowire.Number]*field{}}
	f := &field{number: valueField, tag: protowire.EncodeTag(valueField, e.wire), element: e, slot: -1}
	name := ""
	switch e.kind {
	case protoreflect.BoolKind:
		name = "BoolValue"
	case protoreflect.Int32Kind:
		name = "Int32Value"
	case protoreflect.Int64Kind:
		name = "Int64Value"
	case protoreflect.Uint32Kind:
		name = "UInt32Value"
	case protoreflect.Uint64Kind:
		name = "UInt64Value"
	case protoreflect.FloatKind:
		name = "FloatValue"
	case protoreflect.DoubleKind:
		name = "DoubleValue"
	case protoreflect.StringKind:
		name = "StringValue"
	case protoreflect.BytesKind:
		name = "BytesValue"
	}
	f.name = "value"
	s.fields, s.byNumber[valueField], s.low[valueField] = []*field{f}, f, f
	return &element{
		kind: protoreflect.MessageKind, wire: protowire.BytesType,
		known:      wrapperspb.File_google_protobuf_wrappers_proto.Messages().ByName(protoreflect.Name(name)),
		appendBody: s.append,
		setBody:    s.decode,
	}
}

// generated is the element of a struct whose pointer is a protobuf message.
func generated(t reflect.Type, path string) (*element, error) {
	md, err := descriptorOf(t)
	if err != nil {
		return nil, unsupported(path, t, err.Error())
	}
	return &element{
		kind: protoreflect.MessageKind, wire: protowire.BytesType, known: md,
		appendBody: func(b []byte, v reflect.Value, _ int) ([]byte, error) {
			return proto.MarshalOptions{}.MarshalAppend(b, v.Addr().Interface().(proto.Message))
		},
		setBody: func(d *decoder, v reflect.Value, body []byte) error {
			o := proto.UnmarshalOptions{RecursionLimit: maxDepth - d.depth}
			return o.Unmarshal(body, v.Addr().Interface().(proto.Message))
		},
	}, nil
}

// descriptorOf returns the descriptor that the type alone tells.
func descriptorOf(t reflect.Type) (md protoreflect.MessageDescriptor, err error) {
	defer func() {
		if recover() != nil || md == nil && err == nil { // a method of an embedded interface
			md, err = nil, errors.New("which message it is cannot be told by its type")
		}
	}()
	m := reflect.New(t).Interface().(proto.Message).ProtoReflect()
	if of := reflect.TypeOf(m.Interface()); of != reflect.PointerTo(t) {
		return nil, fmt.Errorf("it embeds the message %s, which would be sent in its place", of)
	}
	return m.Descriptor(), nil
}
