// Package control is how commands inside a running cluster reach its
// supervisor: HTTP over a unix socket in the cluster's folder. Who can open the
// socket may do everything.
package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Cluster is what the supervisor offers.
type Cluster interface {
	// Component does start, stop or pause with a component of the control plane.
	Component(ctx context.Context, name, verb string) error
	// Pod does cut or heal with the network of a pod, which is given by name or by address.
	Pod(ctx context.Context, namespace, name, verb string) error
}

// Serve answers on the socket until ctx ends.
func Serve(ctx context.Context, socket string, c Cluster) error {
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /components/{name}/{verb}", func(w http.ResponseWriter, r *http.Request) {
		answer(w, c.Component(r.Context(), r.PathValue("name"), r.PathValue("verb")))
	})
	mux.HandleFunc("POST /pods/{namespace}/{name}/{verb}", func(w http.ResponseWriter, r *http.Request) {
		answer(w, c.Pod(r.Context(), r.PathValue("namespace"), r.PathValue("name"), r.PathValue("verb")))
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func answer(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
	}
}

// Client asks a supervisor.
type Client struct{ http *http.Client }

// NewClient returns a client of the supervisor behind socket.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	return &Client{http: &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

// Component is Cluster.Component.
func (c *Client) Component(ctx context.Context, name, verb string) error {
	return c.post(ctx, "components", name, verb)
}

// Pod is Cluster.Pod.
func (c *Client) Pod(ctx context.Context, namespace, name, verb string) error {
	return c.post(ctx, "pods", namespace, name, verb)
}

func (c *Client) post(ctx context.Context, path ...string) error {
	for i := range path {
		path[i] = url.PathEscape(path[i])
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://devcluster/"+strings.Join(path, "/"), nil)
	if err != nil {
		return err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return fmt.Errorf("ask the cluster: %w", err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return errors.New(strings.TrimSpace(string(text)))
	}
	return nil
}
