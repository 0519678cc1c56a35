package rpc

import (
	"errors"
	"io"
	"iter"

	"google.golang.org/grpc"
)

// Receiver receives the messages of a stream, by one goroutine at a time.
type Receiver[M any] struct {
	stream interface{ RecvMsg(any) error }
}

// Receive returns the next message. It waits for one; io.EOF says that there
// are no more, and any other error is the call's.
func (r *Receiver[M]) Receive() (*M, error) {
	m := new(M)
	if err := r.stream.RecvMsg(m); err != nil {
		return nil, err
	}
	return m, nil
}

// All returns the messages that are still to come. It ends when there are no
// more, or after an error, which comes with a nil message.
func (r *Receiver[M]) All() iter.Seq2[*M, error] {
	return func(yield func(*M, error) bool) {
		for {
			m, err := r.Receive()
			if errors.Is(err, io.EOF) || !yield(m, err) || err != nil {
				return
			}
		}
	}
}

// Sender sends the messages of a stream, by one goroutine at a time.
type Sender[M any] struct {
	stream interface{ SendMsg(any) error }
}

// Send sends a message, and waits while the other side has no room for more.
// The message is encoded when Send returns; nil is an empty one. An error ends
// the call; a client's io.EOF says that the call is over, and Receive says why.
func (s *Sender[M]) Send(m *M) error { return s.stream.SendMsg(orEmpty(m)) }

// Stream receives messages of one type and sends those of another. Receiving
// and sending are apart: one goroutine may do the one while another does the
// other.
type Stream[In, Out any] struct {
	Receiver[In]
	Sender[Out]
}

func newStream[In, Out any](stream interface {
	RecvMsg(any) error
	SendMsg(any) error
}) *Stream[In, Out] {
	return &Stream[In, Out]{Receiver[In]{stream}, Sender[Out]{stream}}
}

// ClientStream is the client's side of a call that streams. The call lasts
// until it was received to its end or failed, or its context ends: a client
// that leaves it before must end that.
type ClientStream[In, Out any] struct {
	Stream[In, Out]
	stream grpc.ClientStream
}

// CloseSend says that no more messages will be sent.
func (s *ClientStream[In, Out]) CloseSend() error { return s.stream.CloseSend() }

// CloseAndReceive is CloseSend, and then Receive: the answer of a method where
// only the client streams.
func (s *ClientStream[In, Out]) CloseAndReceive() (*In, error) {
	if err := s.CloseSend(); err != nil {
		return nil, err
	}
	return s.Receive()
}
