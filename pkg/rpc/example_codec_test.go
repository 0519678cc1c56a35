package rpc_test

import (
	"context"
	"fmt"
	"log"

	"github.com/fxamacker/cbor/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"

	"github.com/xinhari/xinhari/pkg/rpc"
)

// cborCodec is the content type application/cbor, by a library.
type cborCodec struct{}

func (cborCodec) Name() string { return "cbor" }

func (cborCodec) Marshal(v any) (mem.BufferSlice, error) {
	data, err := cbor.Marshal(v)
	if err != nil {
		return nil, err
	}
	return mem.BufferSlice{mem.SliceBuffer(data)}, nil
}

func (cborCodec) Unmarshal(data mem.BufferSlice, v any) error {
	return cbor.Unmarshal(data.Materialize(), v)
}

// A content type is one entry in the tables of a server and of its callers;
// the handlers do not notice.
func ExampleCodec() {
	addr, stop := serve(rpc.ServerOptions{Codecs: []rpc.Codec{cborCodec{}}}, func(s *rpc.Server) error {
		return rpc.Handle(s, "Inventory/Count", func(_ context.Context, sku *string) (*int64, error) {
			count := int64(1)<<53 + int64(len(*sku))
			return &count, nil
		})
	})
	defer stop()
	conn, disconnect := connect(addr, rpc.ConnOptions{Codecs: []rpc.Codec{cborCodec{}}})
	defer disconnect()

	sku := "teapot"
	count, err := rpc.Call[int64](context.Background(), conn, "Inventory/Count", &sku, grpc.CallContentSubtype("cbor"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(*count)
	// Output: 9007199254740998
}
