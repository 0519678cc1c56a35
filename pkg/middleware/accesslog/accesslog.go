// Package accesslog writes one line for each operation, when it is over.
//
// A line says what was done, for whom, how it ended and how long it took; it
// never holds messages, or headers but the caller's x-request-id. What
// succeeded is written at level info. Of served operations, those that failed by
// the server's own fault are errors and those that the caller is to blame for
// are info; those made that failed are warnings.
package accesslog

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/xinhari/xinhari/pkg/identity"
	"github.com/xinhari/xinhari/pkg/middleware"
)

// Options are the options of New; the zero value is good.
type Options struct {
	// TraceID returns the ID of the trace that an operation is part of, "" if
	// it is of none; nil takes it from the header traceparent.
	TraceID func(context.Context) string
}

// longest is how much is written of what a caller may have chosen.
const longest = 256

// New returns the middleware that writes to logger. Where the logger's level
// is above error it costs next to nothing.
func New(logger *slog.Logger, o Options) middleware.Middleware {
	return func(next middleware.Handler) middleware.Handler {
		return func(ctx context.Context, op *middleware.Operation) error {
			if !logger.Enabled(ctx, slog.LevelError) {
				return next(ctx, op)
			}
			began := time.Now()
			err := next(ctx, op)
			code := middleware.Code(err)
			level := levelOf(op, code)
			if !logger.Enabled(ctx, level) {
				return err
			}
			l := line{attrs: make([]slog.Attr, 0, 12)}
			l.add("kind", op.Kind.String())
			l.add("side", op.Side.String())
			l.add("name", op.Name)
			l.add("service", op.Service)
			if op.Side == middleware.Server {
				if p, ok := identity.PeerFromContext(ctx); ok {
					l.add("peer", p.String())
				}
			}
			l.add("code", middleware.CodeName(code))
			l.attrs = append(l.attrs, slog.Duration("duration", time.Since(began)))
			if op.Kind.Streams() {
				received, sent := op.Messages()
				l.attrs = append(l.attrs, slog.Uint64("received", received), slog.Uint64("sent", sent))
			}
			if err != nil {
				l.add("error", message(err))
			}
			if id := op.Header(ctx, "x-request-id"); len(id) > 0 {
				l.add("request_id", id[0])
			}
			l.add("trace_id", o.traceID(ctx, op))
			logger.LogAttrs(ctx, level, "operation", l.attrs...)
			return err
		}
	}
}

// levelOf returns the level of an operation that ended with a code.
func levelOf(o *middleware.Operation, code codes.Code) slog.Level {
	switch {
	case !o.Failed(code):
		return slog.LevelInfo
	case o.Side == middleware.Client:
		return slog.LevelWarn
	}
	return slog.LevelError
}

// message is what an error says, without the code that is told beside it.
func message(err error) string {
	if s, ok := status.FromError(err); ok {
		return s.Message()
	}
	return err.Error()
}

// line are the attributes of a line.
type line struct{ attrs []slog.Attr }

// add adds a text, unless it is empty.
func (l *line) add(key, value string) {
	if len(value) > longest {
		value = strings.ToValidUTF8(value[:longest], "") + "…"
	}
	if value != "" {
		l.attrs = append(l.attrs, slog.String(key, value))
	}
}

func (o *Options) traceID(ctx context.Context, op *middleware.Operation) string {
	if o.TraceID != nil {
		return o.TraceID(ctx)
	}
	return parentTrace(op.Header(ctx, "traceparent"))
}

// parentTrace returns the trace ID of a header traceparent, version 00-fe
// (https://www.w3.org/TR/trace-context/#traceparent-header-field-values).
func parentTrace(values []string) string {
	if len(values) != 1 {
		return ""
	}
	parts := strings.SplitN(values[0], "-", 4)
	if len(parts) != 4 || len(parts[0]) != 2 || len(parts[1]) != 32 || strings.Trim(parts[1], "0123456789abcdef") != "" {
		return ""
	}
	return parts[1]
}
