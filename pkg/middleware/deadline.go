package middleware

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

var (
	errTooLate = status.Error(codes.DeadlineExceeded, "the deadline passed before the operation began")
	errGone    = status.Error(codes.Canceled, "the operation was cancelled before it began")
)

// Deadline gives operations that bring no deadline one, d after they begin;
// streams, which may well last, keep none, and 0 gives none to anything. What
// is over before it begins, by whosever deadline, is refused without being run.
//
// It ends the operation's context, and so what heeds that: a handler that does
// not runs on, and its answer counts. It panics if d is negative.
func Deadline(d time.Duration) Middleware {
	if d < 0 {
		panic("middleware: a negative deadline")
	}
	return func(next Handler) Handler {
		return func(ctx context.Context, o *Operation) error {
			deadline, ok := ctx.Deadline()
			switch {
			case ok && time.Until(deadline) <= 0: // a context's timer may be late
				return errTooLate
			case ctx.Err() != nil:
				return errGone
			}
			if ok || d == 0 || o.Kind.Streams() {
				return next(ctx, o)
			}
			ctx, cancel := context.WithTimeout(ctx, d)
			defer cancel()
			return next(ctx, o)
		}
	}
}
