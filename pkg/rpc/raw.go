package rpc

import (
	"fmt"
	"strings"

	"google.golang.org/grpc/mem"
)

// rawSubtype is the content subtype under which every server and client takes
// raw bytes: application/grpc+raw.
const rawSubtype = "raw"

// Raw returns a codec whose messages are bytes as they are, *[]byte or, to
// send, []byte, under a content subtype: "raw", which servers and clients have
// without being told, or that which the bytes already are encoded in, so that
// a gateway hands on what it does not understand.
//
// What is sent is not copied: it must not be changed before the call is over.
func Raw(subtype string) Codec { return rawCodec(strings.ToLower(subtype)) }

type rawCodec string

func (c rawCodec) Name() string { return string(c) }

func (c rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	switch v := v.(type) {
	case *[]byte:
		if v != nil {
			return mem.BufferSlice{mem.SliceBuffer(*v)}, nil
		}
	case []byte:
		return mem.BufferSlice{mem.SliceBuffer(v)}, nil
	}
	return nil, c.wrongType(v)
}

func (c rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	p, ok := v.(*[]byte)
	if !ok || p == nil {
		return c.wrongType(v)
	}
	*p = data.Materialize()
	return nil
}

func (c rawCodec) wrongType(v any) error {
	return fmt.Errorf("rpc: the codec %q takes messages of type *[]byte, not %T: call with the content type that the method has, such as json or proto", string(c), v)
}
