package rpc

import (
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
)

// grpc-go chooses a server's codec by content subtype from a registry that is
// global to the process, and takes an unknown subtype for protobuf. So each
// server gets the one codec below, which knows nothing, and every message
// passes through grpc-go in an envelope that carries the codec of its call.

// envelope is a message together with the codec of its call.
type envelope struct {
	codec   Codec
	message any

	// malformed is the codec's error. grpc-go is not told: it would answer
	// Internal at once, as if it were the server's fault.
	malformed error
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
	switch e := v.(type) {
	case *envelope:
		return e.codec.Marshal(e.message)
	case *incoming:
		data := e.encoded // nobody looks at it again
		e.encoded = nil
		e.release()
		return data, nil
	}
	return nil, fmt.Errorf("rpc: a %T left its handler without a codec", v)
}

func (envelopeCodec) Unmarshal(data mem.BufferSlice, v any) error {
	e, ok := v.(*envelope)
	if !ok {
		return fmt.Errorf("rpc: a %T reached its handler without a codec", v)
	}
	e.malformed = e.codec.Unmarshal(data, e.message)
	return nil
}
