package traces_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/xinhari/xinhari/pkg/middleware"
	"github.com/xinhari/xinhari/pkg/middleware/traces"
)

// provider returns one whose spans are all kept, and what keeps them.
func provider(t testing.TB, o ...sdktrace.TracerProviderOption) (*sdktrace.TracerProvider, *tracetest.SpanRecorder) {
	t.Helper()
	spans := tracetest.NewSpanRecorder()
	p := sdktrace.NewTracerProvider(append(o, sdktrace.WithSpanProcessor(spans))...)
	t.Cleanup(func() {
		if err := p.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return p, spans
}

// headers are an operation's, of either side.
type headers map[string]string

func (h headers) Get(_ context.Context, name string) []string {
	if v, ok := h[name]; ok {
		return []string{v}
	}
	return nil
}

func (h headers) Set(ctx context.Context, name, value string) context.Context {
	h[name] = value
	return ctx
}

// seen is what a test wants to know of a span.
type seen struct {
	Name       string
	Kind       trace.SpanKind
	Attributes map[string]string
	Status     otelcodes.Code
	Text       string
}

func see(spans []sdktrace.ReadOnlySpan) []seen {
	var all []seen
	for _, s := range spans {
		one := seen{Name: s.Name(), Kind: s.SpanKind(), Attributes: map[string]string{}, Status: s.Status().Code, Text: s.Status().Description}
		for _, a := range s.Attributes() {
			one.Attributes[string(a.Key)] = a.Value.String()
		}
		all = append(all, one)
	}
	return all
}

func TestSpansFollowTheConventions(t *testing.T) {
	const method, topic = "shop.v1.Inventory/Reserve", "order-events"
	rpc := func(code string, more ...string) map[string]string {
		m := map[string]string{"rpc.system.name": "grpc", "rpc.method": method, "rpc.response.status_code": code}
		for i := 0; i < len(more); i += 2 {
			m[more[i]] = more[i+1]
		}
		return m
	}
	for _, c := range []struct {
		name string
		o    *middleware.Operation
		err  error
		want seen
	}{
		{
			"made", &middleware.Operation{Kind: middleware.Unary, Side: middleware.Client, Name: method, Service: "inventory.shop"}, nil,
			seen{method, trace.SpanKindClient, rpc("OK", "server.address", "inventory.shop"), otelcodes.Unset, ""},
		},
		{
			"made, any error", &middleware.Operation{Kind: middleware.BidiStream, Side: middleware.Client, Name: method, Service: "inventory.shop"},
			status.Error(codes.NotFound, "no such thing"),
			seen{method, trace.SpanKindClient, rpc("NOT_FOUND", "server.address", "inventory.shop", "error.type", "NOT_FOUND"), otelcodes.Error, "no such thing"},
		},
		{
			"served", &middleware.Operation{Kind: middleware.ServerStream, Side: middleware.Server, Name: method}, nil,
			seen{method, trace.SpanKindServer, rpc("OK"), otelcodes.Unset, ""},
		},
		{
			"served, the caller's fault", &middleware.Operation{Kind: middleware.Unary, Side: middleware.Server, Name: method},
			status.Error(codes.NotFound, "no such thing"),
			seen{method, trace.SpanKindServer, rpc("NOT_FOUND"), otelcodes.Unset, ""},
		},
		{
			"served, the server's fault", &middleware.Operation{Kind: middleware.Unary, Side: middleware.Server, Name: method}, errors.New("disk full"),
			seen{method, trace.SpanKindServer, rpc("UNKNOWN", "error.type", "UNKNOWN"), otelcodes.Error, "disk full"},
		},
		{
			"published", &middleware.Operation{Kind: middleware.Publish, Side: middleware.Client, Name: topic, Service: "orders.shop"}, nil,
			seen{"publish " + topic, trace.SpanKindProducer, map[string]string{
				"messaging.system": "xinhari", "messaging.operation.name": "publish", "messaging.operation.type": "send", "messaging.destination.name": topic,
			}, otelcodes.Unset, ""},
		},
		{
			"handled, with an error", &middleware.Operation{Kind: middleware.Subscribe, Side: middleware.Server, Name: topic, Service: "billing.shop"},
			fmt.Errorf("billing: %w", context.DeadlineExceeded),
			seen{"process " + topic, trace.SpanKindConsumer, map[string]string{
				"messaging.system": "xinhari", "messaging.operation.name": "process", "messaging.operation.type": "process",
				"messaging.destination.name": topic, "messaging.consumer.group.name": "billing.shop", "error.type": "DEADLINE_EXCEEDED",
			}, otelcodes.Error, "billing: context deadline exceeded"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, spans := provider(t)
			c.o.Do = func(context.Context) error { return c.err }
			if err := middleware.Chain(traces.New(p, traces.Options{}))(t.Context(), c.o); !errors.Is(err, c.err) {
				t.Errorf("the error became %v", err)
			}
			if diff := cmp.Diff([]seen{c.want}, see(spans.Ended())); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestTraceAndBaggageTravelInHeaders(t *testing.T) {
	p, spans := provider(t)
	chain := middleware.Chain(traces.New(p, traces.Options{}))
	h := headers{
		"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "vendor=1", "baggage": "tenant=blue",
	}
	out := headers{"traceparent": "00-11111111111111111111111111111111-1111111111111111-00"} // of somebody else
	served := &middleware.Operation{Kind: middleware.Subscribe, Side: middleware.Server, Name: "in", Headers: h}
	made := &middleware.Operation{Kind: middleware.Publish, Side: middleware.Client, Name: "out", Headers: out}
	made.Do = func(context.Context) error { return nil }
	served.Do = func(ctx context.Context) error {
		if id := traces.TraceID(ctx); id != "0af7651916cd43dd8448eb211c80319c" {
			t.Errorf("the handler is in the trace %q", id)
		}
		return chain(ctx, made)
	}
	if err := chain(t.Context(), served); err != nil {
		t.Fatal(err)
	}
	ended := spans.Ended() // the inner one first
	if got := ended[1].Parent().SpanID().String(); got != "b7ad6b7169203331" {
		t.Errorf("the parent of what is served is %s", got)
	}
	if ended[0].Parent().SpanID() != ended[1].SpanContext().SpanID() {
		t.Error("the parent of what is made is not what is served")
	}
	want := headers{
		"traceparent": "00-0af7651916cd43dd8448eb211c80319c-" + ended[0].SpanContext().SpanID().String() + "-01", "tracestate": "vendor=1", "baggage": "tenant=blue",
	}
	if diff := cmp.Diff(want, out); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
	if id := traces.TraceID(t.Context()); id != "" {
		t.Errorf("outside of a trace its ID is %q", id)
	}
}

// What is not sampled is passed on all the same, or its parts would be sampled
// one by one further on.
func TestWhatIsNotSampledIsPassedOn(t *testing.T) {
	p, spans := provider(t, sdktrace.WithSampler(sdktrace.NeverSample()))
	h := headers{}
	o := &middleware.Operation{Kind: middleware.Unary, Side: middleware.Client, Name: "A/B", Headers: h, Do: func(context.Context) error { return nil }}
	if err := middleware.Chain(traces.New(p, traces.Options{}))(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if parent := h["traceparent"]; len(parent) != 55 || parent[53:] != "00" {
		t.Errorf("traceparent is %q", parent)
	}
	if n := len(spans.Ended()); n != 0 {
		t.Errorf("%d spans", n)
	}
}

// A sampler may decide by what it is told at the beginning.
func TestSamplersSeeTheAttributes(t *testing.T) {
	s := &sampler{}
	p, _ := provider(t, sdktrace.WithSampler(s))
	o := &middleware.Operation{Kind: middleware.Unary, Side: middleware.Client, Name: "A/B", Service: "a.b", Do: func(context.Context) error { return nil }}
	if err := middleware.Chain(traces.New(p, traces.Options{}))(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	want := []attribute.KeyValue{attribute.String("rpc.method", "A/B"), attribute.String("rpc.system.name", "grpc"), attribute.String("server.address", "a.b")}
	if attribute.NewSet(want...) != attribute.NewSet(s.saw...) {
		t.Errorf("it saw %v, want %v", s.saw, want)
	}
}

type sampler struct{ saw []attribute.KeyValue }

func (s *sampler) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	s.saw = p.Attributes
	return sdktrace.SamplingResult{Decision: sdktrace.Drop}
}

func (*sampler) Description() string { return "a sampler of the test" }

func TestASpanEndsWhateverHappens(t *testing.T) {
	p, spans := provider(t)
	chain := middleware.Chain(traces.New(p, traces.Options{}))
	o := &middleware.Operation{Kind: middleware.Unary, Side: middleware.Server, Name: "A/B"}
	for name, do := range map[string]func(context.Context) error{
		"a panic":            func(context.Context) error { panic("oops") },
		"an ended goroutine": func(context.Context) error { runtime.Goexit(); return nil },
	} {
		spans.Reset()
		o.Do = do
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer func() { _ = recover() }()
			_ = chain(context.Background(), o)
		}()
		<-done
		if ended := see(spans.Ended()); len(ended) != 1 || ended[0].Status != otelcodes.Error || ended[0].Attributes["error.type"] != "INTERNAL" {
			t.Errorf("%s: %+v", name, ended)
		}
	}
}

func BenchmarkMiddleware(b *testing.B) {
	never, _ := provider(b, sdktrace.WithSampler(sdktrace.NeverSample()))
	always := sdktrace.NewTracerProvider()
	for name, p := range map[string]trace.TracerProvider{"nobody listens": noop.NewTracerProvider(), "not sampled": never, "sampled": always} {
		b.Run(name, func(b *testing.B) {
			chain := middleware.Chain(traces.New(p, traces.Options{}))
			o := &middleware.Operation{Side: middleware.Client, Kind: middleware.Unary, Name: "shop.v1.Inventory/Reserve", Service: "inventory.shop", Headers: headers{}}
			o.Do = func(context.Context) error { return nil }
			b.ReportAllocs()
			for b.Loop() {
				if err := chain(b.Context(), o); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
