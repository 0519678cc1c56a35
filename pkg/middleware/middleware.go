package middleware

import "context"

// Handler runs an operation and returns when it is over: for a stream, when it
// has ended. Of a stream that this process opened, the error that a Handler
// returns after the stream was open reaches nobody: the stream's user has had it.
type Handler func(ctx context.Context, o *Operation) error

// Middleware makes, of what comes next, a Handler that does something before
// and after it, or instead of it. It is called once, when a server or a
// connection is made; the Handler is called by many goroutines.
type Middleware func(next Handler) Handler

// Chain returns a Handler in which all surround the operation itself, the
// first outermost. It is nil if there are none.
func Chain(all ...Middleware) Handler {
	if len(all) == 0 {
		return nil
	}
	h := Handler(func(ctx context.Context, o *Operation) error { return o.Do(ctx) })
	for i := range all {
		h = all[len(all)-1-i](h)
	}
	return h
}
