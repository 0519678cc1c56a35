// Package balancer picks an endpoint for each call.
//
// It is a balancing policy of grpc-go: grpc-go keeps the connections (one for
// each endpoint, to the first of its addresses that answers), and this package
// says which connected endpoint is next. Endpoints that the resolver drops
// leave the picker at once; grpc-go lets their calls finish.
//
// grpc-go's own round_robin stands on a parent that, on each change of any
// endpoint, makes the state of all of them anew; this one touches only what
// changed and copies one pointer for each connected endpoint. The figures are in
// docs/design.md.
package balancer

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"google.golang.org/grpc/attributes"
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/base"
	"google.golang.org/grpc/balancer/pickfirst"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/serviceconfig"
	"google.golang.org/grpc/status"
)

// Name is the name of the policy in a gRPC service config.
const Name = "xinhari"

// init registers the policy.
//
//nolint:gochecknoinits // grpc-go knows balancers only through a registry that is global to the process
func init() { balancer.Register(builder{}) }

// ServiceConfig returns the gRPC service config that asks for p.
func ServiceConfig(p Policy) (string, error) {
	if _, err := newChooser(p); err != nil {
		return "", err
	}
	data, err := json.Marshal(map[string]any{
		"loadBalancingConfig": []map[string]config{{Name: {Policy: p}}},
	})
	return string(data), err
}

// config is the policy's part of a service config.
type config struct {
	serviceconfig.LoadBalancingConfig `json:"-"`

	Policy Policy `json:"policy"`
}

type reasonKey struct{}

// WithReason returns s with the error that calls get while s has no
// endpoints: why there are none, and who was asked.
func WithReason(s resolver.State, reason error) resolver.State {
	if s.Attributes == nil {
		s.Attributes = attributes.New(reasonKey{}, reason)
	} else {
		s.Attributes = s.Attributes.WithValue(reasonKey{}, reason)
	}
	return s
}

func reasonOf(s resolver.State) error {
	if reason, ok := s.Attributes.Value(reasonKey{}).(error); ok {
		return reason
	}
	return errors.New("no endpoints are known")
}

type builder struct{}

func (builder) Name() string { return Name }

func (builder) ParseConfig(raw json.RawMessage) (serviceconfig.LoadBalancingConfig, error) {
	var c config
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, fmt.Errorf("balancer: %w", err)
	}
	if _, err := newChooser(c.Policy); err != nil {
		return nil, err
	}
	return c, nil
}

func (builder) Build(cc balancer.ClientConn, o balancer.BuildOptions) balancer.Balancer {
	return &parent{
		cc:       cc,
		options:  o,
		child:    balancer.Get(pickfirst.Name),
		children: map[string]*child{},
	}
}

// parent balances over children, one for each endpoint, each a pick_first
// over the endpoint's addresses.
type parent struct {
	cc      balancer.ClientConn
	options balancer.BuildOptions
	child   balancer.Builder

	// mu guards what follows. It is never held while a child is called: a
	// child calls back with its state and would wait for itself.
	mu       sync.Mutex
	policy   Policy
	chooser  chooser
	children map[string]*child
	order    []*child // the children in the order in which they came
	reason   error    // why there are no endpoints
	quiet    bool     // an update is under way and will publish once, at its end
	closed   bool
}

func (p *parent) UpdateClientConnState(s balancer.ClientConnState) error {
	cfg, ok := s.BalancerConfig.(config)
	if !ok {
		cfg = config{Policy: RoundRobin}
	}
	added, removed, err := p.diff(cfg, s.ResolverState)
	if err != nil {
		return err
	}
	for _, c := range removed {
		c.close()
	}
	for _, c := range added {
		c.open(s.ResolverState.Attributes)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.quiet = false
	p.publish()
	return nil
}

// diff notes which endpoints there are now and returns the children to open
// and to close. The parent is quiet until the caller has done both.
func (p *parent) diff(cfg config, s resolver.State) (added, removed []*child, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.chooser == nil || cfg.Policy != p.policy {
		if p.chooser, err = newChooser(cfg.Policy); err != nil {
			return nil, nil, err
		}
		p.policy = cfg.Policy
	}
	p.quiet = true
	p.reason = reasonOf(s)

	now := make(map[string]*child, len(s.Endpoints))
	for _, e := range s.Endpoints {
		key := endpointKey(e)
		if _, dup := now[key]; dup || key == "" {
			continue
		}
		c, ok := p.children[key]
		if !ok {
			c = &child{ClientConn: p.cc, parent: p, endpoint: e, state: balancer.State{ConnectivityState: connectivity.Connecting}}
			added = append(added, c)
		}
		now[key] = c
	}
	order := make([]*child, 0, len(now))
	for _, c := range p.order {
		if now[endpointKey(c.endpoint)] == c {
			order = append(order, c)
		} else {
			removed = append(removed, c)
		}
	}
	p.order = append(order, added...)
	p.children = now
	return added, removed, nil
}

// endpointKey identifies an endpoint by its addresses, in their order.
func endpointKey(e resolver.Endpoint) string {
	if len(e.Addresses) == 1 {
		return e.Addresses[0].Addr
	}
	addrs := make([]string, len(e.Addresses))
	for i, a := range e.Addresses {
		addrs[i] = a.Addr
	}
	return strings.Join(addrs, " ")
}

func (p *parent) ResolverError(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reason = err
	if len(p.order) == 0 {
		p.publish()
	}
}

// UpdateSubConnState is never called: the children's listeners are.
func (p *parent) UpdateSubConnState(balancer.SubConn, balancer.SubConnState) {}

func (p *parent) ExitIdle() {
	p.mu.Lock()
	children := slices.Clone(p.order)
	p.mu.Unlock()
	for _, c := range children {
		c.exitIdle()
	}
}

func (p *parent) Close() {
	p.mu.Lock()
	children := p.order
	p.order, p.children, p.closed = nil, nil, true
	p.mu.Unlock()
	for _, c := range children {
		c.close()
	}
}

// publish gives grpc-go a picker over the children that are connected. The
// caller holds mu.
func (p *parent) publish() {
	if p.quiet || p.closed {
		return
	}
	ready := make([]balancer.Picker, 0, len(p.order))
	waiting := false
	var last error
	for _, c := range p.order {
		switch c.state.ConnectivityState {
		case connectivity.Ready:
			ready = append(ready, c.state.Picker)
		case connectivity.TransientFailure:
			if c.state.Picker != nil {
				_, last = c.state.Picker.Pick(balancer.PickInfo{})
			}
		default: // connecting, or idle and about to be
			waiting = true
		}
	}
	// grpc-go makes Unavailable of the errors below, or waits if the call wants
	// to; a status it would give to a call that wants to wait as well.
	switch {
	case len(ready) > 0:
		p.cc.UpdateState(balancer.State{
			ConnectivityState: connectivity.Ready,
			Picker:            &picker{chooser: p.chooser, ready: ready},
		})
	case waiting:
		p.cc.UpdateState(balancer.State{
			ConnectivityState: connectivity.Connecting,
			Picker:            base.NewErrPicker(balancer.ErrNoSubConnAvailable),
		})
	case len(p.order) == 0:
		p.cc.UpdateState(balancer.State{
			ConnectivityState: connectivity.TransientFailure,
			Picker:            base.NewErrPicker(p.reason),
		})
	default:
		message := fmt.Sprintf("none of %d endpoints can be reached", len(p.order))
		if last != nil {
			message += ": " + status.Convert(last).Message()
		}
		p.cc.UpdateState(balancer.State{
			ConnectivityState: connectivity.TransientFailure,
			Picker:            base.NewErrPicker(errors.New(message)),
		})
	}
}

// picker picks among connected endpoints. It is immutable but for the
// chooser's count, which all pickers of a parent share.
type picker struct {
	chooser chooser
	ready   []balancer.Picker
}

func (p *picker) Pick(info balancer.PickInfo) (balancer.PickResult, error) {
	return p.ready[p.chooser.choose(len(p.ready))].Pick(info)
}
