package rpc

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// clientStream gives a client's stream errors that are an Error. It costs a
// stream one allocation, and a message none.
type clientStream struct {
	grpc.ClientStream
	ctx context.Context // the caller's: grpc-go ends its own with the stream
}

// open opens the stream, which has its context already.
func (s *clientStream) open(c *Conn, desc *grpc.StreamDesc, method string, opts []grpc.CallOption) error {
	if err := c.wait(s.ctx); err != nil {
		return fromWire(s.ctx, err)
	}
	opts, err := c.ownCodec(opts)
	if err != nil {
		return fromWire(s.ctx, err)
	}
	s.ClientStream, err = c.cc.NewStream(s.ctx, desc, method, opts...)
	return fromWire(s.ctx, err)
}

func (s *clientStream) Header() (metadata.MD, error) {
	md, err := s.ClientStream.Header()
	return md, fromWire(s.ctx, err)
}

func (s *clientStream) CloseSend() error { return fromWire(s.ctx, s.ClientStream.CloseSend()) }

func (s *clientStream) SendMsg(m any) error { return fromWire(s.ctx, s.ClientStream.SendMsg(m)) }

func (s *clientStream) RecvMsg(m any) error { return fromWire(s.ctx, s.ClientStream.RecvMsg(m)) }
