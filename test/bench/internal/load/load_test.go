package load_test

import (
	"context"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/xinhari/xinhari/pkg/identity/localsource"
	"github.com/xinhari/xinhari/test/bench/internal/bare"
	"github.com/xinhari/xinhari/test/bench/internal/load"
	"github.com/xinhari/xinhari/test/bench/internal/material"
	"github.com/xinhari/xinhari/test/bench/internal/own"
	"github.com/xinhari/xinhari/test/bench/internal/role"
)

func TestEveryShapeCallsEveryServerOfEverySubject(t *testing.T) {
	setUp(t)
	for name, subject := range map[string]role.Subject{"bare": bare.Subject(), "own": own.Subject()} {
		for _, shape := range []load.Shape{load.Unary, load.Stream, load.JSON, load.Dial} {
			t.Run(name+"/"+string(shape), func(t *testing.T) {
				var echoes [3]load.Echo
				var servers []netip.AddrPort
				for i := range echoes {
					servers = append(servers, serve(t, subject, &echoes[i]))
				}
				conn := dial(t, subject, servers)
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
type mute struct{ load.Echo }

func (*mute) UnaryCall(context.Context, *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
	return &testgrpc.SimpleResponse{}, nil
}

// broken answers with an error.
type broken struct{ load.Echo }

func (*broken) UnaryCall(context.Context, *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
	return nil, status.Error(codes.DataLoss, "broken")
}

func TestWrongAnswersEndTheRun(t *testing.T) {
	setUp(t)
	subject := bare.Subject()
	for _, c := range []struct {
		name string
		impl load.Service
		want string
	}{
		{"an error", &broken{}, "DataLoss"},
		{"no payload", &mute{}, "0 bytes, want 8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := open(t, dial(t, subject, []netip.AddrPort{serve(t, subject, c.impl)}),
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

// setUp makes certificates for both sides of all subjects.
func setUp(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca")
	t.Setenv(localsource.EnvDir, ca)
	t.Setenv(bare.EnvFolder, dir)
	if err := material.Write(t.Context(), dir, ca, bare.Server, bare.Client); err != nil {
		t.Fatal(err)
	}
}

func serve(t *testing.T, s role.Subject, impl load.Service) netip.AddrPort {
	t.Helper()
	addr, stop, err := s.Serve(t.Context(), impl)
	if err != nil {
		t.Fatal(err)
	}
	cleanup(t, stop)
	return addr
}

func dial(t *testing.T, s role.Subject, servers []netip.AddrPort) load.Client {
	t.Helper()
	conn, stop, err := s.Dial(t.Context(), servers)
	if err != nil {
		t.Fatal(err)
	}
	cleanup(t, stop)
	return conn
}

func open(t *testing.T, conn load.Client, spec load.Spec) *load.Load {
	t.Helper()
	l, err := load.Open(t.Context(), conn, spec)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func cleanup(t *testing.T, stop role.Stop) {
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := stop(ctx); err != nil {
			t.Error(err)
		}
	})
}
