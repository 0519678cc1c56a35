package rpc

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// clientStream gives a client's stream errors that are an Error. It costs a
// stream one allocation, and a message none.
type clientStream struct{ grpc.ClientStream }

// ownErrors wraps what a ClientConn's NewStream returned.
func ownErrors(s grpc.ClientStream) grpc.ClientStream { return &clientStream{s} }

func (s *clientStream) Header() (metadata.MD, error) {
	md, err := s.ClientStream.Header()
	return md, s.fromWire(err)
}

func (s *clientStream) CloseSend() error { return s.fromWire(s.ClientStream.CloseSend()) }

func (s *clientStream) SendMsg(m any) error { return s.fromWire(s.ClientStream.SendMsg(m)) }

func (s *clientStream) RecvMsg(m any) error { return s.fromWire(s.ClientStream.RecvMsg(m)) }

// fromWire asks for the stream's context only after an error: grpc-go takes
// the question for the end of retries.
func (s *clientStream) fromWire(err error) error {
	if err == nil {
		return nil
	}
	return fromWire(s.Context(), err)
}
