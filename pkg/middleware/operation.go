package middleware

import (
	"context"
	"sync/atomic"
)

// Kind says what an operation is.
type Kind uint8

// The kinds of operations.
const (
	Unary        Kind = iota + 1 // one message, one answer
	ClientStream                 // many messages, one answer
	ServerStream                 // one message, many answers
	BidiStream                   // many of both
	Publish                      // a message is published
	Subscribe                    // a message is handled
)

// String implements fmt.Stringer.
func (k Kind) String() string {
	switch k {
	case Unary:
		return "unary"
	case ClientStream:
		return "client_stream"
	case ServerStream:
		return "server_stream"
	case BidiStream:
		return "bidi_stream"
	case Publish:
		return "publish"
	case Subscribe:
		return "subscribe"
	}
	return "unknown"
}

// Side says whether this process asks or answers.
type Side uint8

// The two sides. To publish is a client's, to handle a message a server's.
const (
	Client Side = iota + 1
	Server
)

// String implements fmt.Stringer.
func (s Side) String() string {
	switch s {
	case Client:
		return "client"
	case Server:
		return "server"
	}
	return "unknown"
}

// Operation is a call, or a message that is published or handled. It is valid
// until the outermost Handler has returned, and one goroutine at a time may
// call its methods, but for Messages.
//
// The fields and methods up to SetHeader are for middleware; the rest is for
// packages that run operations.
type Operation struct {
	// What is touched with each message stands together, to be in one cache line.
	receivedCount, sentCount atomic.Uint64
	received, sent           []func(any) error

	Kind Kind
	Side Side

	// Name is the method, "shop.v1.Inventory/Reserve", or the topic.
	Name string

	// Service is whose method it is, as its callers know it: "inventory.shop".
	Service string

	// Do is the operation itself. It is set by who runs it.
	Do func(context.Context) error

	// Headers read and write what goes with the messages. It is set by who
	// runs the operation.
	Headers Headers
}

// Headers are what goes with an operation's messages, by name in lower case.
type Headers interface {
	// Get returns the values that came in with a served operation, or that
	// are to go out with another. The caller does not change them.
	Get(ctx context.Context, name string) []string

	// Set replaces what goes out with an operation of the Client side: it
	// returns the context to go on with.
	Set(ctx context.Context, name, value string) context.Context
}

// Header returns the values of a header of the request or message; name is in
// lower case.
func (o *Operation) Header(ctx context.Context, name string) []string {
	if o.Headers == nil {
		return nil
	}
	return o.Headers.Get(ctx, name)
}

// SetHeader returns a context for the next Handler, with a header to go out
// with an operation of the Client side; of the Server side it changes nothing.
// name is in lower case.
func (o *Operation) SetHeader(ctx context.Context, name, value string) context.Context {
	if o.Headers == nil || o.Side != Client {
		return ctx
	}
	return o.Headers.Set(ctx, name, value)
}

// OnReceive has each message that arrives passed to f: requests of a served
// operation, answers of another. An error of f ends the operation with it.
// Messages on their way to the operation pass middleware from the outermost
// to the innermost, and those that come back the other way. It is called
// before the next Handler is.
func (o *Operation) OnReceive(f func(message any) error) { o.received = append(o.received, f) }

// OnSend has each message that leaves passed to f, as OnReceive says.
func (o *Operation) OnSend(f func(message any) error) { o.sent = append(o.sent, f) }

// Watched reports whether any middleware has messages passed to it. It is known
// once Do is called.
func (o *Operation) Watched() bool { return len(o.received)+len(o.sent) > 0 }

// Messages returns how many messages arrived, and how many left, up to now.
// Any goroutine may call it.
func (o *Operation) Messages() (received, sent uint64) {
	return o.receivedCount.Load(), o.sentCount.Load()
}

// Received is called by who runs the operation with each message that arrived.
func (o *Operation) Received(message any) error {
	o.receivedCount.Add(1)
	if len(o.received) == 0 {
		return nil
	}
	return pass(o.received, message, o.Side == Server)
}

// Sent is called by who runs the operation with each message, before it leaves.
func (o *Operation) Sent(message any) error {
	if len(o.sent) > 0 {
		if err := pass(o.sent, message, o.Side == Client); err != nil {
			return err
		}
	}
	o.sentCount.Add(1)
	return nil
}

// pass gives message to all in order, or in the reverse one on its way back.
func pass(to []func(any) error, message any, forth bool) error {
	if forth {
		for _, f := range to {
			if err := f(message); err != nil {
				return err
			}
		}
		return nil
	}
	for i := len(to) - 1; i >= 0; i-- { // slices.Backward would call a function for each
		if err := to[i](message); err != nil {
			return err
		}
	}
	return nil
}

// Reset makes o ready for another operation, of whom nothing is known yet but
// Do and Headers.
func (o *Operation) Reset() {
	clear(o.received)
	clear(o.sent)
	*o = Operation{Do: o.Do, Headers: o.Headers, received: o.received[:0], sent: o.sent[:0]}
}
