package rpc

import (
	"google.golang.org/grpc/resolver"

	"github.com/xinhari/xinhari/pkg/balancer"
	"github.com/xinhari/xinhari/pkg/discovery"
)

const scheme = "xinhari"

// resolverBuilder makes grpc-go listen to the Conn that it belongs to.
type resolverBuilder struct{ conn *Conn }

func (resolverBuilder) Scheme() string { return scheme }

func (b resolverBuilder) Build(_ resolver.Target, cc resolver.ClientConn, _ resolver.BuildOptions) (resolver.Resolver, error) {
	c := b.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tell = cc
	if !c.closed {
		// grpc-go builds the resolver before it is ready to be told at once.
		c.watching.Go(func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.publish()
		})
	}
	return closedByConn{}, nil
}

// closedByConn is a resolver that has nothing to do: the Conn watches.
type closedByConn struct{}

func (closedByConn) ResolveNow(resolver.ResolveNowOptions) {}
func (closedByConn) Close()                                {}

// resolverState turns a snapshot into grpc-go's terms.
func resolverState(service discovery.Service, s discovery.Snapshot) resolver.State {
	endpoints := make([]resolver.Endpoint, len(s.Usable))
	for i, e := range s.Usable {
		endpoints[i].Addresses = make([]resolver.Address, len(e.Addresses))
		for j, a := range e.Addresses {
			endpoints[i].Addresses[j].Addr = a.String()
		}
	}
	state := resolver.State{Endpoints: endpoints}
	if len(endpoints) == 0 {
		state = balancer.WithReason(state, s.Reason(service))
	}
	return state
}
