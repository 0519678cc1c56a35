package runtime

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// admin serves the probes and the metrics, by plain HTTP: the kubelet and
// Prometheus cannot do mutual TLS. It serves nothing else. Without a certificate
// that lasts the process is not ready, whatever it was before.
type admin struct {
	ready   atomic.Bool
	server  *http.Server
	serving sync.WaitGroup
}

func startAdmin(ctx context.Context, address string, valid func() bool, metrics http.Handler) (*admin, error) {
	var lc net.ListenConfig
	lis, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("xinhari: listen for probes: %w: choose another XINHARI_ADMIN_ADDRESS or Options.AdminAddress; "+
			"%q is none, for all but one of several Services in one process", err, off)
	}
	a := &admin{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !a.ready.Load() || !valid() {
			say(w, http.StatusServiceUnavailable, "not ready")
			return
		}
		say(w, http.StatusOK, "ok")
	})
	mux.Handle("GET /metrics", metrics)
	a.server = &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      10 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
	a.serving.Go(func() { _ = a.server.Serve(lis) })
	return a, nil
}

func say(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n"))
}

// close ends the server; a probe in flight is answered first, for a second.
func (a *admin) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := a.server.Shutdown(ctx); errors.Is(err, context.DeadlineExceeded) {
		_ = a.server.Close()
	}
	a.serving.Wait()
}
