package load_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"

	"github.com/xinhari/xinhari/test/bench/internal/load"
	"github.com/xinhari/xinhari/test/bench/internal/subject"
)

func TestEveryShapeCallsEveryServerOfEverySubject(t *testing.T) {
	for _, kind := range []subject.Kind{subject.Bare, subject.Own} {
		for _, shape := range []load.Shape{load.Unary, load.Stream} {
			t.Run(string(kind)+"/"+string(shape), func(t *testing.T) {
				var echoes [3]load.Echo
				var servers []netip.AddrPort
				for i := range echoes {
					servers = append(servers, serve(t, kind, &echoes[i]))
				}
				conn := dial(t, kind, servers)
				if err := load.Connect(t.Context(), conn, len(servers)); err != nil {
					t.Fatal(err)
				}
				var connected [3]uint64
				for i := range echoes {
					connected[i] = echoes[i].Calls()
				}
				l := open(t, conn, load.Spec{Shape: shape, Payload: 1000, Concurrency: 6, Deadline: 10 * time.Second})
				r, err := l.Run(t.Context(), 200*time.Millisecond)
				if err != nil {
					t.Fatal(err)
				}
				if r.Calls < 6 || r.Elapsed < 200*time.Millisecond || r.P50 <= 0 || r.P99 < r.P50 || r.P99 > r.Elapsed {
					t.Errorf("Run = %+v", r)
				}
				if err := l.Close(); err != nil {
					t.Error(err)
				}
				for i := range echoes {
					if n := echoes[i].Calls() - connected[i]; n == 0 {
						t.Errorf("server %d was not called", i)
					}
				}
			})
		}
	}
}

// mute answers without the payload.
type mute struct {
	testgrpc.UnimplementedTestServiceServer
}

func (mute) UnaryCall(context.Context, *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
	return &testgrpc.SimpleResponse{}, nil
}

func TestWrongAnswersEndTheRun(t *testing.T) {
	for _, c := range []struct {
		name string
		impl testgrpc.TestServiceServer
		want string
	}{
		{"an error", testgrpc.UnimplementedTestServiceServer{}, "Unimplemented"},
		{"no payload", mute{}, "0 bytes, want 8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := open(t, dial(t, subject.Bare, []netip.AddrPort{serve(t, subject.Bare, c.impl)}),
				load.Spec{Shape: load.Unary, Payload: 8, Concurrency: 2, Deadline: time.Second})
			began := time.Now()
			_, err := l.Run(t.Context(), 20*time.Second)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Run = %v, want %q", err, c.want)
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("the run went on for %v", took)
			}
		})
	}
}

func serve(t *testing.T, kind subject.Kind, impl testgrpc.TestServiceServer) netip.AddrPort {
	t.Helper()
	addr, stop, err := subject.Serve(t.Context(), kind, impl)
	if err != nil {
		t.Fatal(err)
	}
	cleanup(t, stop)
	return addr
}

func dial(t *testing.T, kind subject.Kind, servers []netip.AddrPort) grpc.ClientConnInterface {
	t.Helper()
	conn, stop, err := subject.Dial(t.Context(), kind, servers)
	if err != nil {
		t.Fatal(err)
	}
	cleanup(t, stop)
	return conn
}

func open(t *testing.T, conn grpc.ClientConnInterface, spec load.Spec) *load.Load {
	t.Helper()
	l, err := load.Open(t.Context(), conn, spec)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func cleanup(t *testing.T, stop subject.Stop) {
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := stop(ctx); err != nil {
			t.Error(err)
		}
	})
}
