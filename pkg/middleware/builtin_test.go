package middleware_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/xinhari/xinhari/pkg/middleware"
)

// kinds are all of them, with the sides that each has.
func kinds() []*middleware.Operation {
	var all []*middleware.Operation
	for k := middleware.Unary; k <= middleware.BidiStream; k++ {
		all = append(all, &middleware.Operation{Kind: k, Side: middleware.Client, Name: "A/B"}, &middleware.Operation{Kind: k, Side: middleware.Server, Name: "A/B"})
	}
	return append(all, &middleware.Operation{Kind: middleware.Publish, Side: middleware.Client, Name: "t"}, &middleware.Operation{Kind: middleware.Subscribe, Side: middleware.Server, Name: "t"})
}

type worse struct{}

func (worse) Error() string { panic("again") }

func TestRecoveryFromAPanicOfEveryKind(t *testing.T) {
	const secret = "hunter2"
	for _, value := range []any{secret, errors.New(secret), http.ErrAbortHandler, worse{}, struct{ s string }{secret}} {
		for _, o := range kinds() {
			t.Run(fmt.Sprintf("%T/%s/%s", value, o.Side, o.Kind), func(t *testing.T) {
				var log bytes.Buffer
				counted := 0
				chain := middleware.Chain(middleware.Recovery(middleware.RecoveryOptions{
					Logger:   slog.New(slog.NewTextHandler(&log, nil)),
					Panicked: func(*middleware.Operation) { counted++ },
				}))
				o.Do = func(context.Context) error { panic(value) }
				err := chain(t.Context(), o)
				if status.Code(err) != codes.Internal || strings.Contains(err.Error(), secret) {
					t.Errorf("the caller gets %v", err)
				}
				if counted != 1 {
					t.Errorf("counted %d", counted)
				}
				said := log.String()
				if !strings.Contains(said, "level=ERROR") || !strings.Contains(said, "builtin_test.go") || !strings.Contains(said, o.Kind.String()) {
					t.Errorf("the log has neither level, kind nor stack: %s", said)
				}
				if _, unprintable := value.(worse); !unprintable && value != any(http.ErrAbortHandler) && !strings.Contains(said, secret) {
					t.Errorf("the log does not have the value: %s", said)
				}
			})
		}
	}
}

func TestRecoveryLeavesOthersAlone(t *testing.T) {
	chain := middleware.Chain(middleware.Recovery(middleware.RecoveryOptions{Panicked: func(*middleware.Operation) { t.Error("counted") }}))
	for _, want := range []error{nil, io.EOF} {
		if err := chain(t.Context(), &middleware.Operation{Do: func(context.Context) error { return want }}); !errors.Is(err, want) {
			t.Errorf("%v became %v", want, err)
		}
	}
}

func TestRecoveryTellsOfAGoroutineThatEnds(t *testing.T) {
	var log bytes.Buffer
	counted := 0
	chain := middleware.Chain(middleware.Recovery(middleware.RecoveryOptions{
		Logger:   slog.New(slog.NewTextHandler(&log, nil)),
		Panicked: func(*middleware.Operation) { counted++ },
	}))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = chain(context.Background(), &middleware.Operation{Do: func(context.Context) error { runtime.Goexit(); return nil }})
		t.Error("the goroutine goes on")
	}()
	<-done
	if counted != 1 || !strings.Contains(log.String(), "Goexit") {
		t.Errorf("counted %d, said %s", counted, log.String())
	}
}

func TestDeadline(t *testing.T) {
	for _, o := range kinds() {
		t.Run(fmt.Sprintf("%s/%s", o.Side, o.Kind), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const d = 3 * time.Second
				began := time.Now()
				chain := middleware.Chain(middleware.Deadline(d))
				deadline := func(ctx context.Context) (left time.Duration) {
					o.Do = func(ctx context.Context) error {
						if end, ok := ctx.Deadline(); ok {
							left = end.Sub(began)
						}
						return nil
					}
					if err := chain(ctx, o); err != nil {
						t.Error(err)
					}
					return left
				}
				want := d
				if o.Kind.Streams() {
					want = 0
				}
				if got := deadline(t.Context()); got != want {
					t.Errorf("without one of its own it has %v, want %v", got, want)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				if got := deadline(ctx); got != 10*time.Second {
					t.Errorf("its own of 10s became %v", got)
				}
			})
		})
	}
}

func TestDeadlineEndsWhatTakesTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		o := &middleware.Operation{Kind: middleware.Unary, Side: middleware.Server, Do: func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}}
		err := middleware.Chain(middleware.Deadline(time.Second))(t.Context(), o)
		if middleware.Code(err) != codes.DeadlineExceeded || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestDeadlineRefusesWhatIsOver(t *testing.T) {
	passed, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, o := range kinds() {
		for _, d := range []time.Duration{0, time.Second} {
			o.Do = func(context.Context) error { t.Errorf("%s was run", o.Kind); return nil }
			chain := middleware.Chain(middleware.Deadline(d))
			if err := chain(passed, o); status.Code(err) != codes.DeadlineExceeded {
				t.Errorf("%s past its deadline: %v", o.Kind, err)
			}
			if err := chain(cancelled, o); status.Code(err) != codes.Canceled {
				t.Errorf("%s that was cancelled: %v", o.Kind, err)
			}
		}
	}
}

// fine is an error that says that there is none.
type fine struct{}

func (fine) Error() string              { return "fine" }
func (fine) GRPCStatus() *status.Status { return status.New(codes.OK, "") }

func TestCode(t *testing.T) {
	for _, c := range []struct {
		err  error
		want codes.Code
		name string
	}{
		{nil, codes.OK, "OK"},
		{io.EOF, codes.Unknown, "UNKNOWN"},
		{context.Canceled, codes.Canceled, "CANCELLED"},
		{fmt.Errorf("asking: %w", context.DeadlineExceeded), codes.DeadlineExceeded, "DEADLINE_EXCEEDED"},
		{status.Error(codes.ResourceExhausted, ""), codes.ResourceExhausted, "RESOURCE_EXHAUSTED"},
		{fmt.Errorf("asking: %w", status.Error(codes.NotFound, "")), codes.NotFound, "NOT_FOUND"},
		{status.Error(99, ""), 99, "_OTHER"},
		{fine{}, codes.Unknown, "UNKNOWN"},
	} {
		if got := middleware.Code(c.err); got != c.want || middleware.CodeName(got) != c.name {
			t.Errorf("%v has the code %v, %s", c.err, got, middleware.CodeName(got))
		}
	}
}

// The names are grpc-go's own, which it reads but does not write.
func TestCodeNamesAreGRPCs(t *testing.T) {
	for c := codes.OK; c <= codes.Unauthenticated; c++ {
		var read codes.Code
		if err := read.UnmarshalJSON([]byte(`"` + middleware.CodeName(c) + `"`)); err != nil || read != c {
			t.Errorf("%v is called %s: %v", c, middleware.CodeName(c), err)
		}
	}
}
