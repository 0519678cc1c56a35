package rpc

import (
	"context"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	"github.com/xinhari/xinhari/pkg/middleware"
)

// incoming is a unary call that is served, on its way through the middleware.
// Its functions are made once for each rather than once for each call.
type incoming struct {
	envelope // first of the request, then of the answer

	operation   middleware.Operation
	table       codecs
	handler     grpc.MethodHandler
	srv         any
	grpcDecode  func(any) error
	interceptor grpc.UnaryServerInterceptor
	decode      func(any) error

	// encoded is the answer, once it is encoded. That is done where middleware
	// still sees how it goes, and not by grpc-go afterwards.
	encoded mem.BufferSlice
}

// incomings recycles them: a call costs no allocation more than without.
//
//nolint:gochecknoglobals // a pool holds no state, and what it has fits every server
var incomings = sync.Pool{New: func() any {
	e := &incoming{}
	e.decode = func(v any) error {
		e.message = v
		err := e.grpcDecode(&e.envelope)
		e.message = nil
		if err != nil {
			return err
		}
		if err := e.takeMalformed(); err != nil {
			return err
		}
		return e.operation.Received(v)
	}
	e.operation.Do, e.operation.Headers = e.run, served{}
	return e
}}

var errNoAnswer = status.Error(codes.Internal, "the call ended without an error and without an answer")

// run is a unary call: what the method answers becomes the message.
func (e *incoming) run(ctx context.Context) error {
	var err error
	if e.codec, err = e.table.lookup(contentSubtype(ctx)); err != nil {
		return err
	}
	answer, err := e.handler(e.srv, ctx, e.decode, e.interceptor)
	if err != nil {
		return err
	}
	if answer == nil {
		return errNoAnswer
	}
	if err := e.operation.Sent(answer); err != nil {
		return err
	}
	if e.encoded, err = e.codec.Marshal(answer); err != nil {
		return status.Error(codes.Internal, "the answer cannot be encoded: "+err.Error())
	}
	e.message = answer
	return nil
}

// release hands e back. The caller must be the last one to know e.
func (e *incoming) release() {
	e.operation.Reset()
	e.encoded.Free()
	e.encoded = nil
	e.codec, e.message, e.table, e.handler, e.srv, e.grpcDecode, e.interceptor = nil, nil, nil, nil, nil, nil, nil
	incomings.Put(e)
}
