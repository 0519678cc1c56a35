package rpc

import (
	"errors"
	"testing"

	"google.golang.org/grpc/codes"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	"github.com/xinhari/xinhari/pkg/rpc/schema"
)

// FuzzEnvelope holds that any bytes are a message or the caller's fault, which
// grpc-go is not told of, and that an envelope that is used again has nothing
// of the message before.
func FuzzEnvelope(f *testing.F) {
	f.Add([]byte(`{"payload":{"body":"YQ=="}}`), false)
	f.Add([]byte{10, 3, 18, 1, 'a'}, true)
	f.Add([]byte("{"), false)
	f.Add([]byte{255}, true)
	errLost := errors.New("the connection is lost")
	f.Fuzz(func(t *testing.T, data []byte, lost bool) {
		for _, codec := range []Codec{JSON(), newProtoCodec(schema.New()), Raw("raw")} {
			want := codec.Unmarshal(mem.BufferSlice{mem.SliceBuffer(data)}, new(testgrpc.SimpleRequest))
			e := incomings.Get().(*incoming)
			e.codec = codec
			e.grpcDecode = func(v any) error {
				if err := (envelopeCodec{}).Unmarshal(mem.BufferSlice{mem.SliceBuffer(data)}, v); err != nil {
					t.Fatalf("grpc-go would answer Internal: %v", err)
				}
				if lost {
					return errLost
				}
				return nil
			}
			err := e.decode(new(testgrpc.SimpleRequest))
			switch {
			case lost && !errors.Is(err, errLost), !lost && want == nil && err != nil, !lost && want != nil && status.Code(err) != codes.InvalidArgument:
				t.Errorf("%T of %x: got %v, the codec says %v", codec, data, err, want)
			}
			e.codec = JSON()
			e.grpcDecode = func(v any) error {
				return envelopeCodec{}.Unmarshal(mem.BufferSlice{mem.SliceBuffer("{}")}, v)
			}
			if err := e.decode(new(testgrpc.SimpleRequest)); err != nil {
				t.Errorf("the next message: %v", err)
			}
			e.release()
		}
	})
}
