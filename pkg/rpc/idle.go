package rpc

import (
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// idleStreams ends streams on which no message passes for too long.
type idleStreams struct {
	after time.Duration // 0 = never
	idle  *status.Status
}

func newIdleStreams(after time.Duration) *idleStreams {
	return &idleStreams{after: after, idle: status.Newf(codes.DeadlineExceeded,
		"no message in %v, the most that ServerOptions.StreamIdleTimeout allows a stream to be quiet", after)}
}

func (s *idleStreams) wrapHandler(next grpc.StreamHandler) grpc.StreamHandler {
	if s.after == 0 {
		return next
	}
	return func(srv any, stream grpc.ServerStream) error {
		// grpc-go's own stream: a status written to it ends the call, and the
		// handler's context, while the handler still runs.
		end, ok := grpc.ServerTransportStreamFromContext(stream.Context()).(interface{ WriteStatus(*status.Status) error })
		if !ok {
			return status.Error(codes.Internal, "the stream cannot be ended when it is idle")
		}
		w := &watchedStream{ServerStream: stream, began: time.Now()}
		// Made with its first delay far away, so that timer is there when it fires.
		var timer *time.Timer
		timer = time.AfterFunc(time.Hour, func() {
			if left := s.after - (time.Since(w.began) - time.Duration(w.last.Load())); left > 0 {
				timer.Reset(left)
				return
			}
			_ = end.WriteStatus(s.idle) // an error is that it ended by itself
		})
		timer.Reset(s.after)
		defer timer.Stop()
		return next(srv, w)
	}
}

// watchedStream notes when the last message passed.
type watchedStream struct {
	grpc.ServerStream
	began time.Time
	last  atomic.Int64 // nanoseconds after began
}

func (w *watchedStream) note(err error) error {
	if err == nil {
		w.last.Store(int64(time.Since(w.began)))
	}
	return err
}

func (w *watchedStream) SendMsg(m any) error { return w.note(w.ServerStream.SendMsg(m)) }
func (w *watchedStream) RecvMsg(m any) error { return w.note(w.ServerStream.RecvMsg(m)) }
