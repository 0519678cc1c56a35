package rpc

import (
	"google.golang.org/grpc/encoding"
	grpcproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/xinhari/xinhari/pkg/rpc/schema"
)

// protoCodec is the codec of protobuf: grpc-go's own for protobuf messages,
// which it registers itself, and a schema for all other Go types.
type protoCodec struct {
	encoding.CodecV2
	types *schema.Types
}

func newProtoCodec(types *schema.Types) Codec {
	return protoCodec{encoding.GetCodecV2(grpcproto.Name), types}
}

func (c protoCodec) Marshal(v any) (mem.BufferSlice, error) {
	if _, ok := v.(proto.Message); ok {
		return c.CodecV2.Marshal(v)
	}
	data, err := c.types.Marshal(v)
	if err != nil {
		return nil, err
	}
	return mem.BufferSlice{mem.SliceBuffer(data)}, nil
}

func (c protoCodec) Unmarshal(data mem.BufferSlice, v any) error {
	if _, ok := v.(proto.Message); ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	buf := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer buf.Free()
	return c.types.Unmarshal(buf.ReadOnlyData(), v)
}
