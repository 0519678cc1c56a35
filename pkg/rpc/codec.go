package rpc

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	grpcproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/xinhari/xinhari/pkg/rpc/schema"
)

// A Codec encodes and decodes the messages of one content type: Name "json"
// serves application/grpc+json and application/json. It is grpc-go's own
// interface, so codecs written for grpc-go serve here too; but they are given
// to a server or a client and never registered globally.
type Codec = encoding.CodecV2

// JSON returns the codec of content type application/json. Protobuf messages are
// encoded as protojson says (https://protobuf.dev/programming-guides/json/),
// all other Go values as encoding/json does: a 64-bit integer of a Go type
// keeps all its digits. Unknown fields are ignored, so that a server may be
// older than its clients.
func JSON() Codec { return jsonCodec{} }

type jsonCodec struct{}

func (jsonCodec) Name() string { return "json" }

func (jsonCodec) Marshal(v any) (mem.BufferSlice, error) {
	var data []byte
	var err error
	if m, ok := v.(proto.Message); ok {
		data, err = protojson.Marshal(m)
	} else {
		data, err = json.Marshal(v)
	}
	if err != nil {
		return nil, err
	}
	return mem.BufferSlice{mem.SliceBuffer(data)}, nil
}

func (jsonCodec) Unmarshal(data mem.BufferSlice, v any) error {
	buf := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer buf.Free()
	raw := buf.ReadOnlyData()
	if len(raw) == 0 {
		return nil // an empty message, as in proto
	}
	if m, ok := v.(proto.Message); ok {
		return protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(raw, m)
	}
	return json.Unmarshal(raw, v)
}

// codecs are the codecs of one server or client by content subtype.
type codecs map[string]Codec

// newCodecs returns proto, by types for Go types, JSON and the extra ones. An extra codec may take
// the place of a built-in one, but two extra ones of one name are an error.
func newCodecs(extra []Codec, types *schema.Types) (codecs, error) {
	table := codecs{grpcproto.Name: newProtoCodec(types), jsonCodec{}.Name(): JSON()}
	seen := map[string]bool{}
	for _, c := range extra {
		if c == nil {
			return nil, fmt.Errorf("rpc: a nil codec")
		}
		name := c.Name()
		if name == "" || name != strings.ToLower(name) {
			return nil, fmt.Errorf("rpc: codec name %q: want a lower-case content subtype such as %q", name, "cbor")
		}
		if seen[name] {
			return nil, fmt.Errorf("rpc: two codecs are called %q", name)
		}
		seen[name] = true
		table[name] = c
	}
	return table, nil
}

// lookup returns the codec of a content subtype; none is proto, as gRPC has it.
func (t codecs) lookup(subtype string) (Codec, error) {
	if subtype == "" {
		subtype = grpcproto.Name
	}
	if c, ok := t[subtype]; ok {
		return c, nil
	}
	return nil, status.Errorf(codes.Unimplemented, "content type application/grpc+%s is not known here; known: %s",
		subtype, strings.Join(t.names(), ", "))
}

func (t codecs) names() []string { return slices.Sorted(maps.Keys(t)) }
