package rpc

import (
	"context"
	"fmt"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	"github.com/xinhari/xinhari/pkg/middleware"
)

// grpc-go chooses a server's codec by content subtype from a registry that is
// global to the process, and takes an unknown subtype for protobuf. So each
// server gets the one codec below, which knows nothing, and every message
// passes through grpc-go in an envelope that carries the codec of its call.

// envelope is a message together with the codec of its call.
type envelope struct {
	codec   Codec
	message any

	// What a unary call needs besides. Its functions are made once for each
	// envelope rather than once for each call.
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

	// malformed is the codec's error. grpc-go is not told: it would answer
	// Internal at once, as if it were the server's fault.
	malformed error
}

// envelopes recycles the envelopes of unary calls.
//
//nolint:gochecknoglobals // a pool holds no state, and envelopes fit every server
var envelopes = sync.Pool{New: func() any {
	e := &envelope{}
	e.decode = func(v any) error {
		e.message = v
		err := e.grpcDecode(e)
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
func (e *envelope) run(ctx context.Context) error {
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
func (e *envelope) release() {
	e.operation.Reset()
	e.encoded.Free()
	e.encoded = nil
	e.codec, e.message, e.table, e.handler, e.srv, e.grpcDecode, e.interceptor = nil, nil, nil, nil, nil, nil, nil
	envelopes.Put(e)
}

// takeMalformed returns, once, what was wrong with the last message received.
func (e *envelope) takeMalformed() error {
	if e.malformed == nil {
		return nil
	}
	err := e.malformed
	e.malformed = nil
	return status.Error(codes.InvalidArgument, "the message cannot be decoded: "+err.Error())
}

// envelopeCodec is the codec that grpc-go sees.
type envelopeCodec struct{}

// Name is the content subtype of answers to calls that named none.
func (envelopeCodec) Name() string { return "proto" }

func (envelopeCodec) Marshal(v any) (mem.BufferSlice, error) {
	e, ok := v.(*envelope)
	if !ok {
		return nil, fmt.Errorf("rpc: a %T left its handler without a codec", v)
	}
	if e.decode == nil {
		return e.codec.Marshal(e.message)
	}
	data := e.encoded // a unary call's answer: nobody looks at it again
	e.encoded = nil
	e.release()
	return data, nil
}

func (envelopeCodec) Unmarshal(data mem.BufferSlice, v any) error {
	e, ok := v.(*envelope)
	if !ok {
		return fmt.Errorf("rpc: a %T reached its handler without a codec", v)
	}
	e.malformed = e.codec.Unmarshal(data, e.message)
	return nil
}
