package runtime_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/xinhari/xinhari/pkg/middleware"
	xinhari "github.com/xinhari/xinhari/pkg/runtime"
	"github.com/xinhari/xinhari/pkg/runtime/runtimetest"
)

// buffer is written by several goroutines.
type buffer struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.Write(p)
}

func (b *buffer) lines() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Split(strings.TrimSpace(b.all.String()), "\n")
}

// value sums the metric's values that have all of the labels, "name=value";
// of histograms, the counts.
func value(t *testing.T, r prometheus.Gatherer, metric string, labels ...string) (sum float64) {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != metric {
			continue
		}
		for _, m := range f.GetMetric() {
			has := map[string]bool{}
			for _, l := range m.GetLabel() {
				has[l.GetName()+"="+l.GetValue()] = true
			}
			all := true
			for _, l := range labels {
				all = all && has[l]
			}
			if all {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return sum
}

func TestATraceGoesOverThreeHops(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	network := runtimetest.New(t)
	names := []string{"gateway", "orders", "inventory", "stock"}
	services := make([]*xinhari.Service, len(names))
	for i, name := range names {
		services[i] = network.Service(name, xinhari.Options{TracerProvider: provider})
		greet(t, services[i], func(ctx context.Context, h *hello) (*hello, error) {
			if i == len(names)-1 {
				return nil, status.Error(codes.NotFound, "sold out")
			}
			name, err := call(ctx, services[i], names[i+1])
			return &hello{Name: name}, err
		})
	}
	network.Start(services...)
	ctx, root := provider.Tracer("test").Start(t.Context(), "root")
	if _, err := call(ctx, services[0], "orders"); status.Code(err) != codes.NotFound {
		t.Fatal(err)
	}
	root.End()

	var got []string
	parent := trace.SpanID{}
	ended := spans.Ended()
	for range ended {
		for _, s := range ended {
			if s.Parent().SpanID() != parent {
				continue
			}
			got = append(got, fmt.Sprintf("%s %s, %s", s.SpanKind(), s.Name(), s.Status().Code))
			if s.SpanContext().TraceID() != root.SpanContext().TraceID() {
				t.Errorf("%s is of another trace", s.Name())
			}
			parent = s.SpanContext().SpanID()
			break
		}
	}
	want := []string{"internal root, Unset"}
	for range 3 {
		want = append(want, "client Greeter/Hello, Error", "server Greeter/Hello, Unset")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("from the root on (-want +got):\n%s", diff)
	}
}

// Two Services in one process have nothing of each other, and count their own.
func TestEachServiceHasMetricsOfItsOwn(t *testing.T) {
	network := runtimetest.New(t)
	caller, callee := network.Service("caller", xinhari.Options{}), network.Service("callee", xinhari.Options{})
	own := prometheus.NewGauge(prometheus.GaugeOpts{Name: "shop_orders_open", Help: "Orders that are open."})
	registries := map[string]*prometheus.Registry{"caller": caller.Metrics(), "callee": callee.Metrics()}
	for name, r := range registries {
		if err := r.Register(own); err != nil { // the same one, in both
			t.Errorf("%s: %v", name, err)
		}
	}
	greet(t, callee, func(_ context.Context, h *hello) (*hello, error) {
		if h.Name == "Joe" {
			panic("no Joes")
		}
		return h, nil
	})
	network.Start(caller, callee)
	const calls = 3
	for range calls {
		if _, err := call(t.Context(), caller, "callee"); status.Code(err) != codes.Internal || strings.Contains(err.Error(), "Joes") {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		of, metric string
		labels     []string
		want       float64
	}{
		{"caller", "rpc_client_call_duration_seconds", []string{"rpc_method=Greeter/Hello", "server_address=callee.default", "rpc_response_status_code=INTERNAL"}, calls},
		{"caller", "rpc_server_call_duration_seconds", nil, 0},
		{"callee", "rpc_server_call_duration_seconds", []string{"rpc_method=Greeter/Hello", "rpc_response_status_code=INTERNAL", "error_type=INTERNAL"}, calls},
		{"callee", "rpc_client_call_duration_seconds", nil, 0},
		{"callee", "xinhari_panics_total", []string{"name=Greeter/Hello"}, calls},
		{"caller", "xinhari_panics_total", nil, 0},
		{"callee", "xinhari_operations_in_flight", nil, 0},
	} {
		if got := value(t, registries[c.of], c.metric, c.labels...); got != c.want {
			t.Errorf("%s of %s%v is %v, want %v", c.metric, c.of, c.labels, got, c.want)
		}
	}
	if value(t, registries["callee"], "xinhari_certificate_expiry_seconds") <= 0 {
		t.Error("the runtime's own metrics are not beside the program's")
	}
}

func TestMetricsAreServedAtTheAdminPort(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	_ = free.Close()
	s := newService(t, "measured", xinhari.Options{AdminAddress: address})
	greet(t, s, echo)
	s.Metrics().MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "shop_orders_open", Help: "Orders that are open."}, func() float64 { return 7 }))
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := call(t.Context(), s, "measured"); err != nil {
		t.Fatal(err)
	}
	_, text := get(t, "http://"+address+"/metrics")
	for _, want := range []string{
		"shop_orders_open 7\n",
		`rpc_server_call_duration_seconds_count{error_type="",rpc_method="Greeter/Hello",rpc_response_status_code="OK",rpc_system_name="grpc"} 1`,
		`rpc_client_call_duration_seconds_bucket{error_type="",rpc_method="Greeter/Hello",rpc_response_status_code="OK",rpc_system_name="grpc",server_address="measured.default",le="10"} 1`,
		"go_goroutines ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("want %s in\n%s", want, text)
		}
	}
}

// From the outermost: trace, metrics, log, recovery, admission, the user's.
func TestTheOrderOfWhatSurroundsACall(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	var log buffer
	network := runtimetest.New(t)
	var callee, caller *xinhari.Service
	looked := make(chan string, 2)
	look := func(next middleware.Handler) middleware.Handler { // the user's
		return func(ctx context.Context, o *middleware.Operation) error {
			if trace.SpanFromContext(ctx).SpanContext().IsValid() {
				looked <- "in a trace"
			}
			panic("the user's")
		}
	}
	o := xinhari.Options{TracerProvider: provider, AccessLog: slog.New(slog.NewJSONHandler(&log, nil)), Middleware: []middleware.Middleware{look}}
	callee, caller = network.Service("callee", o), network.Service("caller", xinhari.Options{TracerProvider: provider})
	metrics := callee.Metrics()
	greet(t, callee, echo)
	network.Start(callee, caller)
	if _, err := call(t.Context(), caller, "callee"); status.Code(err) != codes.Internal {
		t.Fatal(err)
	}
	if got := <-looked; got != "in a trace" {
		t.Error(got)
	}
	if got := value(t, metrics, "rpc_server_call_duration_seconds", "rpc_response_status_code=INTERNAL"); got != 1 {
		t.Errorf("measured %v, want the panic as an error", got)
	}
	line := map[string]any{}
	if err := json.Unmarshal([]byte(log.lines()[0]), &line); err != nil {
		t.Fatal(err)
	}
	traced := spans.Ended()[0].SpanContext().TraceID().String()
	for key, want := range map[string]any{
		"level": "ERROR", "code": "INTERNAL", "peer": "spiffe://local/ns/default/sa/caller", "service": "callee.default", "trace_id": traced, "error": "the handler panicked",
	} {
		if line[key] != want {
			t.Errorf("the log's %s is %v, want %v", key, line[key], want)
		}
	}
	for _, s := range spans.Ended() {
		if s.Status().Code.String() != "Error" {
			t.Errorf("the span %s ended with %s", s.Name(), s.Status().Code)
		}
	}
}

// A panic in a stream's handler, in a Service as it comes.
func TestAServiceOutlivesAPanickingStream(t *testing.T) {
	network := runtimetest.New(t)
	caller, callee := network.Service("caller", xinhari.Options{}), network.Service("callee", xinhari.Options{})
	testgrpc.RegisterTestServiceServer(callee, panickingStreams{})
	greet(t, callee, echo)
	network.Start(caller, callee)
	stream, err := testgrpc.NewTestServiceClient(caller.Conn("callee")).FullDuplexCall(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&testgrpc.StreamingOutputCallRequest{}); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.Internal {
		t.Errorf("the caller gets %v", err)
	}
	if _, err := call(t.Context(), caller, "callee"); err != nil {
		t.Errorf("a call after that: %v", err)
	}
}

type panickingStreams struct {
	testgrpc.UnimplementedTestServiceServer
}

func (panickingStreams) FullDuplexCall(testgrpc.TestService_FullDuplexCallServer) error {
	panic("oops")
}
