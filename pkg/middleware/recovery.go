package middleware

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// RecoveryOptions are the options of Recovery; the zero value is good.
type RecoveryOptions struct {
	// Logger is told of each panic, with its value and stack; nil is silent.
	Logger *slog.Logger

	// Panicked is called for each panic, for counting; nil is not to.
	Panicked func(*Operation)
}

// errPanicked says nothing of the panic: what it holds is not the caller's.
var (
	errPanicked       = status.Error(codes.Internal, "the handler panicked")
	errPanickedCaller = status.Error(codes.Internal, "a panic on the way to the service")
)

// Recovery makes an error of codes.Internal of a panic in what it surrounds,
// so that the process lives. The caller learns that there was one; its value
// and stack go to the logger. No panic is excepted, http.ErrAbortHandler
// included: a call of which nobody hears would hang.
//
// Out of its reach are panics in goroutines that a handler started, and what Go
// itself calls fatal, such as a map that is written twice at once. A function
// given to OnSend or OnReceive runs, for a stream that this process opened, in
// the goroutine that sends or receives, and panics there. A handler that ends
// its goroutine (runtime.Goexit, as t.FailNow does) leaves nobody to answer: it
// is logged and counted like a panic, and its caller waits until its deadline.
func Recovery(options RecoveryOptions) Middleware {
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	return func(next Handler) Handler {
		return func(ctx context.Context, o *Operation) (err error) {
			returned := false
			defer func() {
				if !returned {
					err = options.recovered(ctx, o, recover())
				}
			}()
			err = next(ctx, o)
			returned = true
			return err
		}
	}
}

// recovered deals with a panic of the given value; nil stands for a goroutine
// that ended.
func (r *RecoveryOptions) recovered(ctx context.Context, o *Operation, value any) error {
	what := "a panic"
	if value == nil {
		what = "a handler ended its goroutine (runtime.Goexit): nobody answers its caller"
	}
	// The operation may log by itself what it was given: only what is wrong is told here.
	r.Logger.ErrorContext(ctx, what, "kind", o.Kind.String(), "side", o.Side.String(), "name", o.Name,
		"panic", text(value), "stack", string(debug.Stack()))
	if r.Panicked != nil {
		r.Panicked(o)
	}
	if o.Side == Client {
		return errPanickedCaller
	}
	return errPanicked
}

// text formats a panic's value, even one whose own method panics.
func text(value any) (s string) {
	defer func() {
		if recover() != nil {
			s = fmt.Sprintf("a %T that cannot be printed", value)
		}
	}()
	if err, ok := value.(error); ok {
		return err.Error()
	}
	return fmt.Sprint(value)
}
