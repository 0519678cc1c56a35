// Package kubelet serves the part of the kubelet's API that kubectl needs:
// logs, exec, attach and port forwarding.
//
// Callers show a client certificate; what they may do is asked of the API
// server, as kubelets do. In practice the only caller is the API server.
package kubelet

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/xinhari/xinhari/hack/devcluster/internal/node/console"
	"github.com/xinhari/xinhari/hack/devcluster/internal/node/logs"
	"github.com/xinhari/xinhari/hack/devcluster/internal/node/runtime"
)

// Port is where kubelets listen.
const Port = 10250

// Pods is what the API is about.
type Pods interface {
	// Log returns the log of a container's last run, or of the run before.
	Log(namespace, pod, container string, previous bool) (*logs.Log, error)
	// Container returns a running container.
	Container(namespace, pod, container string) (*runtime.Container, error)
	// Console returns where to attach to a running container.
	Console(namespace, pod, container string) (*console.Console, error)
	// Dial connects to a port of the pod's loopback address.
	Dial(ctx context.Context, namespace, pod string, port int) (net.Conn, error)
}

// Server serves the kubelet's API.
type Server struct {
	listener net.Listener
	http     *http.Server
	client   kubernetes.Interface
	pods     Pods
}

// Listen binds the address; Run serves.
func Listen(address netip.AddrPort, cert tls.Certificate, callers *x509.CertPool, client kubernetes.Interface, pods Pods) (*Server, error) {
	listener, err := tls.Listen("tcp", address.String(), &tls.Config{
		Certificates: []tls.Certificate{cert},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    callers,
		MinVersion:   tls.VersionTLS12,
		// Streams take over the connection, which HTTP/2 does not allow.
		NextProtos: []string{"http/1.1"},
	})
	if err != nil {
		return nil, fmt.Errorf("serve the kubelet API: %w", err)
	}
	s := &Server{listener: listener, client: client, pods: pods}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, "ok") })
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", s.logs)
	for _, form := range []string{"", "/{uid}"} {
		mux.HandleFunc("/exec/{namespace}/{pod}"+form+"/{container}", s.exec)
		mux.HandleFunc("/attach/{namespace}/{pod}"+form+"/{container}", s.attach)
		mux.HandleFunc("/portForward/{namespace}/{pod}"+form, s.portForward)
	}
	s.http = &http.Server{
		Handler:           s.authorized(mux),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          log.New(io.Discard, "", 0),
	}
	return s, nil
}

// Run serves until ctx ends, and cuts what is under way then.
func (s *Server) Run(ctx context.Context) {
	s.http.BaseContext = func(net.Listener) context.Context { return ctx }
	stop := context.AfterFunc(ctx, func() { s.http.Close() })
	defer stop()
	_ = s.http.Serve(s.listener) // Ends only by Close.
}

// authorized lets those through who may use the node's proxy resource, as
// with a kubelet.
func (s *Server) authorized(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller := r.TLS.VerifiedChains[0][0].Subject
		verb := "get"
		if r.Method != http.MethodGet {
			verb = "create"
		}
		review, err := s.client.AuthorizationV1().SubjectAccessReviews().Create(r.Context(), &authorizationv1.SubjectAccessReview{
			Spec: authorizationv1.SubjectAccessReviewSpec{
				User: caller.CommonName, Groups: append(caller.Organization, "system:authenticated"),
				ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: verb, Version: "v1", Resource: "nodes", Subresource: "proxy"},
			},
		}, metav1.CreateOptions{})
		if err != nil {
			http.Error(w, "ask who may do this: "+err.Error(), http.StatusInternalServerError)
			return
		}
		if !review.Status.Allowed {
			http.Error(w, fmt.Sprintf("%s may not %s nodes/proxy", caller.CommonName, verb), http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) logs(w http.ResponseWriter, r *http.Request) {
	options, previous, err := logOptions(r, time.Now())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	kept, err := s.pods.Log(r.PathValue("namespace"), r.PathValue("pod"), r.PathValue("container"), previous)
	if err != nil {
		// The API server passes the words of this status on, and of 404 only the number.
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	out := io.Writer(w)
	if options.Follow {
		out = flushing{w}
	}
	w.WriteHeader(http.StatusOK)
	// The status is sent: an error can only cut the answer short.
	_ = kept.Read(r.Context(), out, options)
}

// flushing passes each line on at once.
type flushing struct{ http.ResponseWriter }

func (f flushing) Write(p []byte) (int, error) {
	n, err := f.ResponseWriter.Write(p)
	if err == nil {
		err = http.NewResponseController(f.ResponseWriter).Flush()
	}
	return n, err
}

func logOptions(r *http.Request, now time.Time) (o logs.Options, previous bool, err error) {
	query := r.URL.Query()
	flag := func(name string) bool {
		value := query.Get(name)
		if value == "" {
			return false
		}
		set, parseErr := strconv.ParseBool(value)
		if parseErr != nil {
			err = errors.Join(err, fmt.Errorf("%s=%q is neither true nor false", name, value))
		}
		return set
	}
	number := func(name string, missing int64) int64 {
		value := query.Get(name)
		if value == "" {
			return missing
		}
		n, parseErr := strconv.ParseInt(value, 10, 64)
		if parseErr != nil || n < 0 {
			err = errors.Join(err, fmt.Errorf("%s=%q is not a number from 0", name, value))
		}
		return n
	}
	o = logs.Options{
		Follow:     flag("follow"),
		Timestamps: flag("timestamps"),
		Tail:       number("tailLines", -1),
		LimitBytes: number("limitBytes", 0),
	}
	previous = flag("previous")
	if seconds := number("sinceSeconds", -1); seconds >= 0 {
		o.Since = now.Add(-time.Duration(seconds) * time.Second)
	}
	if since := query.Get("sinceTime"); since != "" {
		var parseErr error
		if o.Since, parseErr = time.Parse(time.RFC3339, since); parseErr != nil {
			err = errors.Join(err, fmt.Errorf("sinceTime: %w", parseErr))
		}
	}
	switch query.Get("stream") {
	case "Stdout":
		o.Stream = "stdout"
	case "Stderr":
		o.Stream = "stderr"
	}
	return o, previous, err
}
