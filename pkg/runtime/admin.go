package runtime

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// admin serves the probes and the metrics, by plain HTTP: the kubelet and
// Prometheus cannot do mutual TLS. It serves nothing else. Without a certificate
// that lasts the process is not ready, whatever it was before.
type admin struct {
	ready   atomic.Pointer[func() []outcome] // asks the program's checks; nil: not started, or stopping
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
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		_, verbose := r.URL.Query()["verbose"]
		a.readyz(w, valid(), verbose)
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

// readyz says ok; or, for people, which of the checks fail, as Kubernetes' API
// server does: why is in the log and not for everybody.
func (a *admin) readyz(w http.ResponseWriter, valid, verbose bool) {
	outcomes := []outcome{{name: "serving"}, {name: "certificate"}}
	if ask := a.ready.Load(); ask != nil {
		outcomes = append(outcomes, (*ask)()...)
	} else {
		outcomes[0].err = errNotServing
	}
	if !valid {
		outcomes[1].err = errNoCertificate
	}
	var list strings.Builder
	status, verdict := http.StatusOK, "ok"
	for _, o := range outcomes {
		if o.err == nil {
			fmt.Fprintf(&list, "[+]%s ok\n", o.name)
		} else {
			fmt.Fprintf(&list, "[-]%s failed: the reason is in the log\n", o.name)
			status, verdict = http.StatusServiceUnavailable, "not ready"
		}
	}
	if status == http.StatusOK && !verbose {
		list.Reset()
	}
	say(w, status, list.String()+verdict)
}

var (
	errNotServing    = errors.New("it starts or stops")
	errNoCertificate = errors.New("there is no certificate that lasts")
)

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
