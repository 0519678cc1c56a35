// Package control is how commands inside a running cluster reach its
// supervisor: HTTP over a unix socket in the cluster's folder. Who can open the
// socket may do everything.
package control

import (
	"bytes"
	"context"
	"encoding/json"
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
	// Component does start, stop or pause with a component of the control plane or a node.
	Component(ctx context.Context, name, verb string) error
	// Fault puts a fault into effect.
	Fault(ctx context.Context, f Fault) error
	// Heal ends all faults of one side, the cut between two, or all faults.
	Heal(ctx context.Context, h Healing) error
	// Faults are those in effect.
	Faults(ctx context.Context) ([]Fault, error)
}

// Fault is a fault of the network. A side is a pod, as [pod/]NAME or
// [pod/]NAMESPACE/NAME, a node, as [node/]NAME, kube-apiserver, or an address.
type Fault struct {
	Verb      string        `json:"verb"`                // cut, slow or lose
	Namespace string        `json:"namespace,omitempty"` // of pods that are given without one
	Of        string        `json:"of"`
	From      string        `json:"from,omitempty"` // of cut; empty: all
	Delay     time.Duration `json:"delay,omitempty"`
	Jitter    time.Duration `json:"jitter,omitempty"`
	Percent   float64       `json:"percent,omitempty"`
}

// Healing says which faults are to end.
type Healing struct {
	Namespace   string   `json:"namespace,omitempty"` // of pods that are given without one
	Sides       []string `json:"sides,omitempty"`     // as in Fault, up to two
	MissingIsOK bool     `json:"missingIsOK,omitempty"`
	Verb        string   `json:"verb,omitempty"` // only the fault that this verb makes with the same sides; empty: all
}

// Serve answers on the socket until ctx ends.
func Serve(ctx context.Context, socket string, c Cluster) error {
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /components/{name}/{verb}", func(w http.ResponseWriter, r *http.Request) {
		answer(w, nil, c.Component(r.Context(), r.PathValue("name"), r.PathValue("verb")))
	})
	mux.HandleFunc("GET /faults", func(w http.ResponseWriter, r *http.Request) {
		list, err := c.Faults(r.Context())
		answer(w, list, err)
	})
	mux.HandleFunc("POST /faults", func(w http.ResponseWriter, r *http.Request) {
		var f Fault
		if err := json.NewDecoder(r.Body).Decode(&f); err != nil {
			answer(w, nil, err)
			return
		}
		answer(w, nil, c.Fault(r.Context(), f))
	})
	mux.HandleFunc("DELETE /faults", func(w http.ResponseWriter, r *http.Request) {
		var h Healing
		if err := json.NewDecoder(r.Body).Decode(&h); err != nil {
			answer(w, nil, err)
			return
		}
		answer(w, nil, c.Heal(r.Context(), h))
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// answer writes a result, if there is one, or the error.
func answer(w http.ResponseWriter, result any, err error) {
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
	case result != nil:
		_ = json.NewEncoder(w).Encode(result) // a caller that left hears nothing
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
	return c.ask(ctx, http.MethodPost, "components/"+url.PathEscape(name)+"/"+url.PathEscape(verb), nil, nil)
}

// Fault is Cluster.Fault.
func (c *Client) Fault(ctx context.Context, f Fault) error {
	return c.ask(ctx, http.MethodPost, "faults", f, nil)
}

// Heal is Cluster.Heal.
func (c *Client) Heal(ctx context.Context, h Healing) error {
	return c.ask(ctx, http.MethodDelete, "faults", h, nil)
}

// Faults is Cluster.Faults.
func (c *Client) Faults(ctx context.Context) ([]Fault, error) {
	var list []Fault
	err := c.ask(ctx, http.MethodGet, "faults", nil, &list)
	return list, err
}

// ask sends a body, if there is one, and reads the result, if one is wanted.
func (c *Client) ask(ctx context.Context, method, path string, body, result any) error {
	var content bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&content).Encode(body); err != nil {
			return err
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://devcluster/"+path, &content)
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
	if result == nil {
		return nil
	}
	return json.Unmarshal(text, result)
}
