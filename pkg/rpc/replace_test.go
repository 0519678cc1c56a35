package rpc_test

import (
	"context"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/peer"

	"github.com/xinhari/xinhari/internal/watchtest"
	"github.com/xinhari/xinhari/pkg/identity"
	"github.com/xinhari/xinhari/pkg/identity/localsource"
	"github.com/xinhari/xinhari/pkg/rpc"
)

// source runs a source of the service of namespace default, with a CA in dir
// and certificates that live for life.
func source(t testing.TB, name, dir string, life time.Duration) *identity.Source {
	t.Helper()
	s, err := localsource.New(name, localsource.Options{Dir: dir, Life: life})
	if err != nil {
		t.Fatal(err)
	}
	watchtest.Run(t, s.Run)
	select {
	case <-s.Ready():
	case <-time.After(10 * time.Second):
		t.Fatalf("no credentials: %v", s.Err())
	}
	return s
}

func mutual(s *identity.Source) identity.Transport {
	return identity.MutualTLS(s.Current, identity.MutualTLSOptions{})
}

// Certificates of three seconds are renewed, connections replaced, and no
// call, however many are in flight, and no stream notices.
func TestConnectionsAreReplacedUnderLoad(t *testing.T) {
	const life, load = 3 * time.Second, 12 * time.Second
	dir := filepath.Join(t.TempDir(), "ca")
	var mu sync.Mutex
	peers := map[string]bool{} // addresses of clients
	seen := func(ctx context.Context) {
		p, _ := peer.FromContext(ctx)
		mu.Lock()
		defer mu.Unlock()
		peers[p.Addr.String()] = true
	}
	server := newServer(t, rpc.ServerOptions{
		Transport: mutual(source(t, "test", dir, life)),
		GRPC: []grpc.ServerOption{grpc.ChainUnaryInterceptor(func(ctx context.Context, r any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			seen(ctx)
			return next(ctx, r)
		})},
	}, nil)
	conn := ownConn(t, rpc.ConnOptions{Transport: mutual(source(t, "caller", dir, life))}, server.addr)

	ctx, cancel := context.WithTimeout(t.Context(), load+20*time.Second)
	defer cancel()
	end := time.Now().Add(load)
	var calls, streams atomic.Int64
	var running sync.WaitGroup
	for range 8 {
		running.Go(func() {
			for time.Now().Before(end) {
				if _, err := rpc.Call[echoRequest](ctx, conn, "Echo/Echo", &echoRequest{Text: "x"}); err != nil {
					t.Errorf("call %d: %v", calls.Load(), err)
					return
				}
				calls.Add(1)
				time.Sleep(2 * time.Millisecond)
			}
		})
	}
	running.Go(func() { // streams of a sixth of a certificate's life
		for time.Now().Before(end) {
			stream, err := testgrpc.NewTestServiceClient(conn).FullDuplexCall(ctx)
			for i := 0; err == nil && i < 5; i++ {
				err = stream.Send(&testgrpc.StreamingOutputCallRequest{})
				if err == nil {
					_, err = stream.Recv()
				}
				time.Sleep(life / 30)
			}
			if err == nil {
				err = stream.CloseSend()
			}
			if err != nil {
				t.Errorf("stream %d: %v", streams.Load(), err)
				return
			}
			streams.Add(1)
		}
	})
	running.Wait()
	mu.Lock()
	defer mu.Unlock()
	if want := int(load / life); len(peers) < want {
		t.Errorf("%d connections in %v with certificates of %v: want at least %d", len(peers), load, life, want)
	}
	t.Logf("%d calls, %d streams, %d connections", calls.Load(), streams.Load(), len(peers))
}
