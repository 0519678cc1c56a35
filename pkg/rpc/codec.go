package rpc

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	grpcproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/status"

	"github.com/xinhari/xinhari/pkg/rpc/schema"
)

// A Codec encodes and decodes the messages of one content type: Name "json"
// serves application/grpc+json and application/json. It is grpc-go's own
// interface, so codecs written for grpc-go serve here too; but they are given
// to a server or a client and never registered globally.
type Codec = encoding.CodecV2

// codecs are the codecs of one server or client by content subtype.
type codecs map[string]Codec

// newCodecs returns proto, by types for Go types, JSON, raw bytes and the extra
// ones. An extra codec may take the place of a built-in one, but two extra ones
// of one name are an error.
func newCodecs(extra []Codec, types *schema.Types) (codecs, error) {
	table := codecs{}
	for _, c := range []Codec{newProtoCodec(types), JSON(), Raw(rawSubtype)} {
		table[c.Name()] = c
	}
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
