package balancer

import (
	"sync"

	"google.golang.org/grpc/attributes"
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/resolver"
)

// child is one endpoint. It stands between its pick_first and grpc-go, to
// take the state that is meant for the parent.
type child struct {
	balancer.ClientConn

	parent   *parent
	endpoint resolver.Endpoint
	state    balancer.State // guarded by parent.mu

	mu     sync.Mutex // serialises the calls of lb
	lb     balancer.Balancer
	closed bool
}

// open starts connecting.
func (c *child) open(attrs *attributes.Attributes) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lb = c.parent.child.Build(c, c.parent.options)
	// An error tells of an address list that is empty; ours never is.
	_ = c.lb.UpdateClientConnState(balancer.ClientConnState{
		ResolverState: resolver.State{Endpoints: []resolver.Endpoint{c.endpoint}, Attributes: attrs},
	})
}

func (c *child) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.lb != nil {
		c.lb.Close()
	}
}

func (c *child) exitIdle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed && c.lb != nil {
		c.lb.ExitIdle()
	}
}

// UpdateState implements balancer.ClientConn for the child's pick_first.
func (c *child) UpdateState(s balancer.State) {
	p := c.parent
	p.mu.Lock()
	c.state = s
	if p.children[endpointKey(c.endpoint)] == c {
		p.publish()
	}
	p.mu.Unlock()
	if s.ConnectivityState == connectivity.Idle {
		// The connection was lost: make a new one now and not at the next
		// call. pick_first holds its lock here, so it is called from outside.
		go c.exitIdle()
	}
}
