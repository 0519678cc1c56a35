package metrics_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/xinhari/xinhari/pkg/middleware"
	"github.com/xinhari/xinhari/pkg/middleware/metrics"
)

func newMetrics(t testing.TB, o metrics.Options) (*metrics.Metrics, *prometheus.Registry) {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	m, err := metrics.New(r, o)
	if err != nil {
		t.Fatal(err)
	}
	return m, r
}

// run runs an operation through all.
func run(o *middleware.Operation, err error, all ...middleware.Middleware) error {
	o.Do = func(context.Context) error { return err }
	return middleware.Chain(all...)(context.Background(), o)
}

func TestMetricsOfEveryKind(t *testing.T) {
	call := func(side middleware.Side, kind middleware.Kind) *middleware.Operation {
		return &middleware.Operation{Side: side, Kind: kind, Name: "shop.Inventory/Get", Service: "inventory.shop"}
	}
	topic := func(side middleware.Side, kind middleware.Kind) *middleware.Operation {
		return &middleware.Operation{Side: side, Kind: kind, Name: "order-events", Service: "orders.shop"}
	}
	const rpc = `rpc_method="shop.Inventory/Get",rpc_response_status_code=`
	const events = `messaging_destination_name="order-events",messaging_operation_name=`
	for _, c := range []struct {
		name string
		o    *middleware.Operation
		err  error
		want string // the count of the histogram
	}{
		{"served", call(middleware.Server, middleware.Unary), nil,
			`rpc_server_call_duration_seconds_count{error_type="",` + rpc + `"OK",rpc_system_name="grpc"} 1`},
		{"served, the caller's fault", call(middleware.Server, middleware.Unary), status.Error(codes.NotFound, "no"),
			`rpc_server_call_duration_seconds_count{error_type="",` + rpc + `"NOT_FOUND",rpc_system_name="grpc"} 1`},
		{"served, the server's fault", call(middleware.Server, middleware.BidiStream), errors.New("oops"),
			`rpc_server_call_duration_seconds_count{error_type="UNKNOWN",` + rpc + `"UNKNOWN",rpc_system_name="grpc"} 1`},
		{"made", call(middleware.Client, middleware.ClientStream), nil,
			`rpc_client_call_duration_seconds_count{error_type="",` + rpc + `"OK",rpc_system_name="grpc",server_address="inventory.shop"} 1`},
		{"made, failed", call(middleware.Client, middleware.Unary), fmt.Errorf("asking: %w", status.Error(codes.NotFound, "no")),
			`rpc_client_call_duration_seconds_count{error_type="NOT_FOUND",` + rpc + `"NOT_FOUND",rpc_system_name="grpc",server_address="inventory.shop"} 1`},
		{"a code that there is not", call(middleware.Server, middleware.Unary), status.Error(77, "?"),
			`rpc_server_call_duration_seconds_count{error_type="_OTHER",` + rpc + `"_OTHER",rpc_system_name="grpc"} 1`},
		{"published", topic(middleware.Client, middleware.Publish), nil,
			`messaging_client_operation_duration_seconds_count{error_type="",` + events + `"publish",messaging_system="xinhari"} 1`},
		{"not published", topic(middleware.Client, middleware.Publish), context.DeadlineExceeded,
			`messaging_client_operation_duration_seconds_count{error_type="DEADLINE_EXCEEDED",` + events + `"publish",messaging_system="xinhari"} 1`},
		{"handled", topic(middleware.Server, middleware.Subscribe), nil,
			`messaging_process_duration_seconds_count{error_type="",` + events + `"process",messaging_system="xinhari"} 1`},
		{"not handled", topic(middleware.Server, middleware.Subscribe), status.Error(codes.NotFound, "no"),
			`messaging_process_duration_seconds_count{error_type="NOT_FOUND",` + events + `"process",messaging_system="xinhari"} 1`},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, r := newMetrics(t, metrics.Options{})
			if err := run(c.o, c.err, m.Middleware); !errors.Is(err, c.err) {
				t.Errorf("the error became %v", err)
			}
			if text := exposed(t, r); !strings.Contains(text, c.want+"\n") {
				t.Errorf("want the line\n%s\nin\n%s", c.want, text)
			}
			families, err := r.Gather()
			if err != nil {
				t.Fatal(err)
			}
			if problems, err := promlint.NewWithMetricFamilies(families).Lint(); err != nil || len(problems) > 0 {
				t.Errorf("%v %v", problems, err)
			}
		})
	}
}

func TestMetricsOfWhatIsUnderWay(t *testing.T) {
	m, r := newMetrics(t, metrics.Options{})
	const labels = `kind="bidi_stream",name="A/B",service="a.b",side="server"`
	o := &middleware.Operation{Side: middleware.Server, Kind: middleware.BidiStream, Name: "A/B", Service: "a.b"}
	o.Do = func(context.Context) error {
		for range 3 {
			if err := o.Received("message"); err != nil {
				return err
			}
		}
		if err := o.Sent("message"); err != nil {
			return err
		}
		text := exposed(t, r)
		for _, want := range []string{
			"xinhari_operations_in_flight{" + labels + "} 1\n",
			`xinhari_stream_messages_total{direction="received",` + labels + "} 3\n",
			`xinhari_stream_messages_total{direction="sent",` + labels + "} 1\n",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("while the stream is open: want %sin\n%s", want, text)
			}
		}
		return o.Sent("message")
	}
	if err := middleware.Chain(m.Middleware)(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	text := exposed(t, r)
	for _, want := range []string{
		"xinhari_operations_in_flight{" + labels + "} 0\n",
		`xinhari_stream_messages_total{direction="received",` + labels + "} 3\n",
		`xinhari_stream_messages_total{direction="sent",` + labels + "} 2\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("want %sin\n%s", want, text)
		}
	}
}

func TestMetricsOfPanicsAndEndedGoroutines(t *testing.T) {
	m, r := newMetrics(t, metrics.Options{})
	chain := middleware.Chain(m.Middleware, middleware.Recovery(middleware.RecoveryOptions{Panicked: m.Panicked}))
	o := &middleware.Operation{Side: middleware.Server, Kind: middleware.Unary, Name: "A/B"}
	o.Do = func(context.Context) error { panic("oops") }
	if err := chain(t.Context(), o); status.Code(err) != codes.Internal {
		t.Errorf("a panic became %v", err)
	}
	o.Do = func(context.Context) error { runtime.Goexit(); return nil }
	done := make(chan struct{})
	go func() { defer close(done); _ = chain(context.Background(), o) }()
	<-done
	text := exposed(t, r)
	for _, want := range []string{
		`xinhari_operations_in_flight{kind="unary",name="A/B",service="",side="server"} 0`,
		`xinhari_panics_total{kind="unary",name="A/B",service="",side="server"} 2`,
		`rpc_server_call_duration_seconds_count{error_type="INTERNAL",rpc_method="A/B",rpc_response_status_code="INTERNAL",rpc_system_name="grpc"} 2`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("want %s\nin\n%s", want, text)
		}
	}
}

func TestTheNumberOfNamesIsBounded(t *testing.T) {
	m, r := newMetrics(t, metrics.Options{MaxNames: 3})
	var wg sync.WaitGroup
	for user := range 4 {
		wg.Go(func() {
			for i := range 100 {
				name := fmt.Sprintf("Made/Up%d", i)
				_ = run(&middleware.Operation{Side: middleware.Client, Kind: middleware.Unary, Name: name, Service: fmt.Sprint(user)}, nil, m.Middleware)
			}
		})
	}
	wg.Wait()
	text := exposed(t, r)
	if n := strings.Count(text, "rpc_client_call_duration_seconds_count{"); n != 4 {
		t.Errorf("%d series, want those of 3 names and one for all others", n)
	}
	if !strings.Contains(text, `{error_type="",rpc_method="_OTHER",rpc_response_status_code="OK",rpc_system_name="grpc",server_address="_OTHER"} 397`) {
		t.Errorf("the others are not counted as such:\n%s", text)
	}
}

func TestNewRefuses(t *testing.T) {
	r := prometheus.NewRegistry()
	if _, err := metrics.New(r, metrics.Options{}); err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]struct {
		to prometheus.Registerer
		o  metrics.Options
	}{
		"a registry that has them": {r, metrics.Options{}},
		"a negative bound":         {prometheus.NewRegistry(), metrics.Options{MaxNames: -1}},
		"buckets that do not grow": {prometheus.NewRegistry(), metrics.Options{Buckets: []float64{1, 1}}},
	} {
		if _, err := metrics.New(o.to, o.o); err == nil {
			t.Errorf("%s is no error", name)
		}
	}
}

// exposed is what Prometheus would read, but for the histograms' buckets.
func exposed(t *testing.T, r *prometheus.Registry) string {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			name, value := f.GetName(), m.GetGauge().GetValue()+m.GetCounter().GetValue()
			if h := m.GetHistogram(); h != nil {
				name, value = name+"_count", float64(h.GetSampleCount())
			}
			fmt.Fprintf(&text, "%s{%s} %g\n", name, strings.Join(labels, ","), value)
		}
	}
	return text.String()
}

func BenchmarkMiddleware(b *testing.B) {
	m, _ := newMetrics(b, metrics.Options{})
	chain := middleware.Chain(m.Middleware)
	o := &middleware.Operation{Side: middleware.Client, Kind: middleware.Unary, Name: "shop.v1.Inventory/Reserve", Service: "inventory.shop"}
	o.Do = func(context.Context) error { return nil }
	for i := range 50 {
		_ = run(&middleware.Operation{Side: middleware.Client, Kind: middleware.Unary, Name: fmt.Sprintf("shop.v1.Inventory/Get%d", i)}, nil, m.Middleware)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := chain(b.Context(), o); err != nil {
			b.Fatal(err)
		}
	}
}
