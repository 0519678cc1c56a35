package accesslog_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/xinhari/xinhari/pkg/identity"
	"github.com/xinhari/xinhari/pkg/middleware"
	"github.com/xinhari/xinhari/pkg/middleware/accesslog"
)

type headers map[string]string

func (h headers) Get(_ context.Context, name string) []string {
	if v, ok := h[name]; ok {
		return []string{v}
	}
	return nil
}

func (h headers) Set(ctx context.Context, name, value string) context.Context { return ctx }

// logged is what is written of o, without its time and duration.
func logged(ctx context.Context, t *testing.T, o *middleware.Operation, level slog.Level, options accesslog.Options) map[string]any {
	t.Helper()
	var out bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: level}))
	_ = middleware.Chain(accesslog.New(logger, options))(ctx, o)
	if out.Len() == 0 {
		return nil
	}
	line := map[string]any{}
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
	if d, ok := line["duration"].(float64); !ok || d < 0 || d > float64(time.Minute) {
		t.Errorf("duration is %v", line["duration"])
	}
	delete(line, "time")
	delete(line, "duration")
	delete(line, "msg")
	return line
}

func TestLinesOfEveryKind(t *testing.T) {
	id, err := identity.ParseID("spiffe://cluster.local/ns/shop/sa/orders")
	if err != nil {
		t.Fatal(err)
	}
	from := peer.NewContext(t.Context(), &peer.Peer{AuthInfo: identity.TLSInfo{Peer: identity.Peer{ID: id, NotAfter: time.Now().Add(time.Hour)}}})
	const secret = "hunter2"
	in := headers{
		"authorization": "Bearer " + secret, "x-request-id": "7\n8", "cookie": secret,
		"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	}
	type attrs = map[string]any
	for _, c := range []struct {
		name string
		o    *middleware.Operation
		err  error
		want attrs
	}{
		{
			"unary, served", &middleware.Operation{Kind: middleware.Unary, Side: middleware.Server, Name: "A/B", Service: "a.shop", Headers: in}, nil,
			attrs{"level": "INFO", "kind": "unary", "side": "server", "name": "A/B", "service": "a.shop", "code": "OK",
				"peer": id.String(), "request_id": "7\n8", "trace_id": "0af7651916cd43dd8448eb211c80319c"},
		},
		{
			"served, the caller's fault", &middleware.Operation{Kind: middleware.Unary, Side: middleware.Server, Name: "A/B"}, status.Error(codes.NotFound, "none"),
			attrs{"level": "INFO", "kind": "unary", "side": "server", "name": "A/B", "code": "NOT_FOUND", "error": "none", "peer": id.String()},
		},
		{
			"served, the server's fault", &middleware.Operation{Kind: middleware.Unary, Side: middleware.Server, Name: "A/B"}, errors.New(strings.Repeat("x", 300)),
			attrs{"level": "ERROR", "kind": "unary", "side": "server", "name": "A/B", "code": "UNKNOWN", "error": strings.Repeat("x", 256) + "…", "peer": id.String()},
		},
		{
			"a stream, made", &middleware.Operation{Kind: middleware.BidiStream, Side: middleware.Client, Name: "A/B", Service: "a.shop"}, nil,
			attrs{"level": "INFO", "kind": "bidi_stream", "side": "client", "name": "A/B", "service": "a.shop", "code": "OK", "received": 2.0, "sent": 1.0},
		},
		{
			"made, failed", &middleware.Operation{Kind: middleware.ClientStream, Side: middleware.Client, Name: "A/B"}, context.Canceled,
			attrs{"level": "WARN", "kind": "client_stream", "side": "client", "name": "A/B", "code": "CANCELLED", "error": "context canceled", "received": 2.0, "sent": 1.0},
		},
		{
			"published", &middleware.Operation{Kind: middleware.Publish, Side: middleware.Client, Name: "events"}, nil,
			attrs{"level": "INFO", "kind": "publish", "side": "client", "name": "events", "code": "OK"},
		},
		{
			"not handled", &middleware.Operation{Kind: middleware.Subscribe, Side: middleware.Server, Name: "events"}, status.Error(codes.NotFound, "none"),
			attrs{"level": "ERROR", "kind": "subscribe", "side": "server", "name": "events", "code": "NOT_FOUND", "error": "none", "peer": id.String()},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.o.Do = func(context.Context) error {
				for _, err := range []error{c.o.Received(secret), c.o.Received(secret), c.o.Sent(secret)} {
					if err != nil {
						return err
					}
				}
				return c.err
			}
			if diff := cmp.Diff(c.want, logged(from, t, c.o, slog.LevelInfo, accesslog.Options{})); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestALevelThatIsOffWritesNothing(t *testing.T) {
	o := &middleware.Operation{Kind: middleware.Unary, Side: middleware.Server, Name: "A/B", Do: func(context.Context) error { return nil }}
	if line := logged(t.Context(), t, o, slog.LevelWarn, accesslog.Options{}); line != nil {
		t.Errorf("written: %v", line)
	}
	o.Do = func(context.Context) error { return errors.New("oops") }
	if line := logged(t.Context(), t, o, slog.LevelWarn, accesslog.Options{}); line["level"] != "ERROR" {
		t.Errorf("written: %v", line)
	}
}

func TestTheTraceIsTheOneAskedFor(t *testing.T) {
	for name, c := range map[string]struct {
		header string
		o      accesslog.Options
		want   any
	}{
		"of the header":      {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", accesslog.Options{}, "0af7651916cd43dd8448eb211c80319c"},
		"of a bad header":    {"00-0af7651916cd43dd8448eb211c80319X-b7ad6b7169203331-01", accesslog.Options{}, nil},
		"of a short header":  {"00-0af7-b7ad6b7169203331-01", accesslog.Options{}, nil},
		"of TraceID":         {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", accesslog.Options{TraceID: func(context.Context) string { return "abc" }}, "abc"},
		"of TraceID, if any": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", accesslog.Options{TraceID: func(context.Context) string { return "" }}, nil},
	} {
		o := &middleware.Operation{Kind: middleware.Unary, Side: middleware.Server, Headers: headers{"traceparent": c.header}, Do: func(context.Context) error { return nil }}
		if got := logged(t.Context(), t, o, slog.LevelInfo, c.o)["trace_id"]; got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestWhatIsNotWrittenCostsNoAllocation(t *testing.T) {
	for _, level := range []slog.Level{slog.LevelWarn, slog.LevelError + 1} {
		chain := middleware.Chain(accesslog.New(slog.New(slog.NewJSONHandler(&bytes.Buffer{}, &slog.HandlerOptions{Level: level})), accesslog.Options{}))
		o := &middleware.Operation{Kind: middleware.Unary, Side: middleware.Server, Name: "A/B", Do: func(context.Context) error { return nil }}
		if n := testing.AllocsPerRun(100, func() { _ = chain(t.Context(), o) }); n > 0 {
			t.Errorf("%v allocations at level %v", n, level)
		}
	}
}
