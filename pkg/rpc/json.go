package rpc

import (
	"encoding/json"
	"sync"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// JSON returns the codec of content type application/json. Protobuf messages are
// encoded as protojson says (https://protobuf.dev/programming-guides/json/),
// all other Go values as encoding/json does: a 64-bit integer of a Go type
// keeps all its digits, in a field of type any it becomes a float64, as there,
// and in one of type json.Number or json.RawMessage it is kept. Unknown fields
// are ignored, so that a server may be older than its clients.
func JSON() Codec { return jsonCodec{} }

type jsonCodec struct{}

func (jsonCodec) Name() string { return "json" }

func (jsonCodec) Marshal(v any) (mem.BufferSlice, error) {
	if m, ok := v.(proto.Message); ok {
		return marshalProtoJSON(m)
	}
	w := jsonWriters.Get().(*jsonWriter)
	err := w.encoder.Encode(v)
	data := w.data
	w.data = nil
	jsonWriters.Put(w)
	return data, err
}

func (jsonCodec) Unmarshal(data mem.BufferSlice, v any) error {
	buf := data.MaterializeToBuffer(&buffers)
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

// jsonWriter takes what its encoder writes, in one piece, into memory that
// grpc-go hands back once it is sent. json.Marshal would make new memory for
// each message, and for large ones that is what costs most.
type jsonWriter struct {
	encoder *json.Encoder
	data    mem.BufferSlice
}

func (w *jsonWriter) Write(p []byte) (int, error) {
	w.data = pooled(p[:len(p)-1]) // without the newline that an Encoder adds
	return len(p), nil
}

// jsonWriters recycles writers with their encoders, which hold nothing of a
// message once they have written it.
//
//nolint:gochecknoglobals // a pool holds no state
var jsonWriters = sync.Pool{New: func() any {
	w := &jsonWriter{}
	w.encoder = json.NewEncoder(w)
	return w
}}

// maxScratch is the most that the scratch memory of an encoding keeps: one
// large message does not fill the pool for good.
const maxScratch = 64 << 10

// scratches recycles the memory that protojson writes to.
//
//nolint:gochecknoglobals // a pool holds no state
var scratches = sync.Pool{New: func() any { return new([]byte) }}

func marshalProtoJSON(m proto.Message) (mem.BufferSlice, error) {
	scratch := scratches.Get().(*[]byte)
	defer scratches.Put(scratch)
	text, err := protojson.MarshalOptions{}.MarshalAppend((*scratch)[:0], m)
	if err != nil {
		return nil, err
	}
	if cap(text) <= maxScratch {
		*scratch = text
	}
	return pooled(text), nil
}

// pooled copies p: into memory that is used again, or, if it is less than
// grpc-go would hand back, into new memory of just its size.
func pooled(p []byte) mem.BufferSlice {
	if mem.IsBelowBufferPoolingThreshold(len(p)) {
		return mem.BufferSlice{mem.SliceBuffer(append([]byte(nil), p...))}
	}
	return mem.BufferSlice{mem.Copy(p, &buffers)}
}
