package rpc_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"

	"github.com/xinhari/xinhari/pkg/middleware"
	"github.com/xinhari/xinhari/pkg/middleware/accesslog"
	"github.com/xinhari/xinhari/pkg/middleware/metrics"
	"github.com/xinhari/xinhari/pkg/middleware/traces"
	"github.com/xinhari/xinhari/pkg/rpc"
)

// looking are sets of observers, by name: none; what a Service in a cluster
// has by default; that and an access log, in JSON; and all, with a trace of
// each call, sampled or not.
func looking(tb testing.TB, name string) []middleware.Middleware {
	tb.Helper()
	if name == "none" {
		return nil
	}
	m, err := metrics.New(prometheus.NewRegistry(), metrics.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	recovery := middleware.Recovery(middleware.RecoveryOptions{Panicked: m.Panicked})
	log := accesslog.New(slog.New(slog.NewJSONHandler(io.Discard, nil)), accesslog.Options{TraceID: traces.TraceID})
	trace := func(s sdktrace.Sampler) middleware.Middleware {
		return traces.New(sdktrace.NewTracerProvider(sdktrace.WithSampler(s)), traces.Options{})
	}
	switch name {
	case "defaults":
		return []middleware.Middleware{m.Middleware, recovery}
	case "log":
		return []middleware.Middleware{m.Middleware, log, recovery}
	case "unsampled":
		return []middleware.Middleware{trace(sdktrace.NeverSample()), m.Middleware, log, recovery}
	case "sampled":
		return []middleware.Middleware{trace(sdktrace.AlwaysSample()), m.Middleware, log, recovery}
	}
	tb.Fatalf("there is no set %q", name)
	return nil
}

// observed is a client of a server, both with a set of observers.
func observed(tb testing.TB, name string) testgrpc.TestServiceClient {
	tb.Helper()
	all := looking(tb, name)
	s, err := rpc.NewServer(rpc.ServerOptions{Service: "test.default", Anonymous: everyone, Observers: all})
	if err != nil {
		tb.Fatal(err)
	}
	testgrpc.RegisterTestServiceServer(s, benchService{})
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	go func() { _ = s.Serve(lis) }()
	tb.Cleanup(func() { _ = s.Shutdown(context.Background()) })
	client := testgrpc.NewTestServiceClient(ownConn(tb, rpc.ConnOptions{Middleware: all}, netip.MustParseAddrPort(lis.Addr().String())))
	if _, err := client.UnaryCall(tb.Context(), &testgrpc.SimpleRequest{}, grpc.WaitForReady(true)); err != nil {
		tb.Fatal(err)
	}
	return client
}

// BenchmarkObservers is a unary call of 64 bytes over loopback, client and
// server in one process, with observers at both. The processor's time is told
// as well: that of the clock has the machine's idling in it.
func BenchmarkObservers(b *testing.B) {
	for _, name := range []string{"none", "defaults", "log", "unsampled", "sampled"} {
		b.Run(name, func(b *testing.B) {
			client := observed(b, name)
			request := &testgrpc.SimpleRequest{Payload: &testgrpc.Payload{Body: make([]byte, 64)}}
			b.ReportAllocs()
			b.SetParallelism(32) // times 2 processors
			before := processorTime(b)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := client.UnaryCall(b.Context(), request); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(processorTime(b)-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

// processorTime is this process', in nanoseconds.
func processorTime(b *testing.B) int64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

func TestTheDefaultObserversCostNoAllocation(t *testing.T) {
	request := &testgrpc.SimpleRequest{}
	allocations := func(name string) float64 {
		client := observed(t, name)
		return testing.AllocsPerRun(2000, func() {
			if _, err := client.UnaryCall(t.Context(), request); err != nil {
				t.Fatal(err)
			}
		})
	}
	without, with := allocations("none"), allocations("defaults")
	if with > without+1 { // pools are emptied now and then
		t.Errorf("%v allocations a call with the defaults, %v without", with, without)
	}
}
