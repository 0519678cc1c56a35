package schema

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// number returns the element of the numbers of a Go kind, or nil.
func number(k reflect.Kind) *element {
	switch k {
	case reflect.Bool:
		return &element{
			kind: protoreflect.BoolKind, wire: protowire.VarintType,
			bits:    func(v reflect.Value) uint64 { return protowire.EncodeBool(v.Bool()) },
			setBits: func(v reflect.Value, x uint64) error { v.SetBool(protowire.DecodeBool(x)); return nil },
		}
	case reflect.Int8, reflect.Int16, reflect.Int32:
		return signed(protoreflect.Int32Kind, func(x uint64) int64 { return int64(int32(x)) })
	case reflect.Int, reflect.Int64:
		return signed(protoreflect.Int64Kind, func(x uint64) int64 { return int64(x) })
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		return unsigned(protoreflect.Uint32Kind, func(x uint64) uint64 { return uint64(uint32(x)) })
	case reflect.Uint, reflect.Uint64:
		return unsigned(protoreflect.Uint64Kind, func(x uint64) uint64 { return x })
	case reflect.Float32:
		return &element{
			kind: protoreflect.FloatKind, wire: protowire.Fixed32Type,
			bits: func(v reflect.Value) uint64 { return uint64(math.Float32bits(float32(v.Float()))) },
			setBits: func(v reflect.Value, x uint64) error {
				v.SetFloat(float64(math.Float32frombits(uint32(x))))
				return nil
			},
		}
	case reflect.Float64:
		return &element{
			kind: protoreflect.DoubleKind, wire: protowire.Fixed64Type,
			bits:    func(v reflect.Value) uint64 { return math.Float64bits(v.Float()) },
			setBits: func(v reflect.Value, x uint64) error { v.SetFloat(math.Float64frombits(x)); return nil },
		}
	}
	return nil
}

// signed has cut make of the bits what every protobuf implementation does: more
// than 32 of them are cut off.
func signed(k protoreflect.Kind, cut func(uint64) int64) *element {
	return &element{
		kind: k, wire: protowire.VarintType,
		bits: func(v reflect.Value) uint64 { return uint64(v.Int()) },
		setBits: func(v reflect.Value, x uint64) error {
			n := cut(x)
			if v.OverflowInt(n) {
				return fmt.Errorf("%d is out of the range of %s", n, v.Type())
			}
			v.SetInt(n)
			return nil
		},
	}
}

func unsigned(k protoreflect.Kind, cut func(uint64) uint64) *element {
	return &element{
		kind: k, wire: protowire.VarintType,
		bits: func(v reflect.Value) uint64 { return v.Uint() },
		setBits: func(v reflect.Value, x uint64) error {
			n := cut(x)
			if v.OverflowUint(n) {
				return fmt.Errorf("%d is out of the range of %s", n, v.Type())
			}
			v.SetUint(n)
			return nil
		},
	}
}

var errUTF8 = errors.New("the string is no valid UTF-8")

func stringElement() *element {
	return &element{
		kind: protoreflect.StringKind, wire: protowire.BytesType,
		size: reflect.Value.Len,
		zero: func(v reflect.Value) bool { return v.Len() == 0 },
		appendBody: func(b []byte, v reflect.Value, _ int) ([]byte, error) {
			s := v.String()
			if !utf8.ValidString(s) {
				return b, errUTF8
			}
			return append(b, s...), nil
		},
		setBody: func(_ *decoder, v reflect.Value, body []byte) error {
			if !utf8.Valid(body) {
				return errUTF8
			}
			v.SetString(string(body))
			return nil
		},
	}
}

func bytesElement() *element {
	return &element{
		kind: protoreflect.BytesKind, wire: protowire.BytesType,
		size: reflect.Value.Len,
		zero: func(v reflect.Value) bool { return v.Len() == 0 },
		appendBody: func(b []byte, v reflect.Value, _ int) ([]byte, error) {
			return append(b, v.Bytes()...), nil
		},
		setBody: func(_ *decoder, v reflect.Value, body []byte) error {
			v.SetBytes(append([]byte{}, body...))
			return nil
		},
	}
}

// appendNumber appends bits as the wire type has them.
func appendNumber(b []byte, wire protowire.Type, bits uint64) []byte {
	switch wire {
	case protowire.Fixed32Type:
		return protowire.AppendFixed32(b, uint32(bits))
	case protowire.Fixed64Type:
		return protowire.AppendFixed64(b, bits)
	default:
		return appendVarint(b, bits)
	}
}

// consumeNumber is appendNumber's inverse; n is negative if b has none.
func consumeNumber(b []byte, wire protowire.Type) (bits uint64, n int) {
	switch wire {
	case protowire.Fixed32Type:
		x, n := protowire.ConsumeFixed32(b)
		return uint64(x), n
	case protowire.Fixed64Type:
		return protowire.ConsumeFixed64(b)
	default:
		return protowire.ConsumeVarint(b)
	}
}
