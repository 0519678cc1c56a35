package balancer

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/randomsubsetting"
	"google.golang.org/grpc/balancer/roundrobin"
	"google.golang.org/grpc/connectivity"
	estats "google.golang.org/grpc/experimental/stats"
	"google.golang.org/grpc/resolver"
)

// benchConn is a ClientConn whose connections are ready as soon as they are
// asked for, so that a benchmark sees the balancer alone.
type benchConn struct {
	balancer.ClientConn

	mu    sync.Mutex
	subs  map[string]*benchSubConn
	state balancer.State
}

func (c *benchConn) NewSubConn(addrs []resolver.Address, o balancer.NewSubConnOptions) (balancer.SubConn, error) {
	s := &benchSubConn{listener: o.StateListener}
	c.mu.Lock()
	c.subs[addrs[0].Addr] = s
	c.mu.Unlock()
	return s, nil
}

func (c *benchConn) UpdateState(s balancer.State) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state = s
}

func (c *benchConn) current() balancer.State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

func (c *benchConn) ResolveNow(resolver.ResolveNowOptions)   {}
func (c *benchConn) MetricsRecorder() estats.MetricsRecorder { return benchRecorder{} }

type benchSubConn struct {
	balancer.SubConn
	listener func(balancer.SubConnState)
	health   sync.WaitGroup
}

func (s *benchSubConn) Connect()  {}
func (s *benchSubConn) Shutdown() {}
func (s *benchSubConn) RegisterHealthListener(f func(balancer.SubConnState)) {
	s.health.Go(func() { f(balancer.SubConnState{ConnectivityState: connectivity.Ready}) })
}
func (s *benchSubConn) set(c connectivity.State) {
	s.listener(balancer.SubConnState{ConnectivityState: c})
	s.health.Wait()
}

func benchState(n, from int) balancer.ClientConnState {
	endpoints := make([]resolver.Endpoint, n)
	for i := range endpoints {
		endpoints[i].Addresses = []resolver.Address{{Addr: fmt.Sprintf("10.%d.%d.%d:8080", (from+i)>>16, (from+i)>>8&255, (from+i)&255)}}
	}
	return balancer.ClientConnState{ResolverState: resolver.State{Endpoints: endpoints}}
}

// BenchmarkChange is the time from a change to a new picker: of one
// connection's state, and of one endpoint of n by the resolver.
func BenchmarkChange(b *testing.B) {
	subset, err := balancer.Get(randomsubsetting.Name).(balancer.ConfigParser).ParseConfig(
		[]byte(`{"subsetSize": 100, "childPolicy": [{"round_robin": {}}]}`))
	if err != nil {
		b.Fatal(err)
	}
	for _, n := range []int{10, 1000, 10000} {
		for _, c := range []struct {
			name    string
			builder balancer.Builder
			config  balancer.ClientConnState
		}{
			{name: "own", builder: builder{}},
			{name: "endpointsharding", builder: balancer.Get(roundrobin.Name)},
			{name: "subset100+endpointsharding", builder: balancer.Get(randomsubsetting.Name), config: balancer.ClientConnState{BalancerConfig: subset}},
		} {
			open := func(b *testing.B) (*benchConn, balancer.Balancer) {
				cc := &benchConn{subs: map[string]*benchSubConn{}}
				lb := c.builder.Build(cc, balancer.BuildOptions{})
				s := benchState(n, 0)
				s.BalancerConfig = c.config.BalancerConfig
				if err := lb.UpdateClientConnState(s); err != nil {
					b.Fatal(err)
				}
				for _, s := range cc.subs {
					s.set(connectivity.Connecting)
					s.set(connectivity.Ready)
				}
				if cc.current().ConnectivityState != connectivity.Ready {
					b.Fatalf("state %v", cc.current().ConnectivityState)
				}
				return cc, lb
			}
			b.Run(fmt.Sprintf("%s/n=%d/connection", c.name, n), func(b *testing.B) {
				cc, _ := open(b)
				var one *benchSubConn
				for _, s := range cc.subs {
					one = s
					break
				}
				b.ReportAllocs()
				for b.Loop() {
					one.set(connectivity.Idle)
					one.set(connectivity.Connecting)
					one.set(connectivity.Ready)
				}
			})
			b.Run(fmt.Sprintf("%s/n=%d/resolver", c.name, n), func(b *testing.B) {
				_, lb := open(b)
				states := []balancer.ClientConnState{benchState(n, 0), benchState(n, 1)}
				states[0].BalancerConfig, states[1].BalancerConfig = c.config.BalancerConfig, c.config.BalancerConfig
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					i++
					if err := lb.UpdateClientConnState(states[i%2]); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkPick is the cost of a pick alone.
func BenchmarkPick(b *testing.B) {
	for _, p := range []Policy{RoundRobin, Random} {
		b.Run(string(p), func(b *testing.B) {
			cc := &benchConn{subs: map[string]*benchSubConn{}}
			lb := builder{}.Build(cc, balancer.BuildOptions{})
			s := benchState(100, 0)
			s.BalancerConfig = config{Policy: p}
			if err := lb.UpdateClientConnState(s); err != nil {
				b.Fatal(err)
			}
			for _, s := range cc.subs {
				s.set(connectivity.Connecting)
				s.set(connectivity.Ready)
			}
			info, picker := balancer.PickInfo{Ctx: context.Background()}, cc.current().Picker
			b.ReportAllocs()
			for b.Loop() {
				if _, err := picker.Pick(info); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

type benchRecorder struct{ estats.MetricsRecorder }

func (benchRecorder) RecordInt64Count(*estats.Int64CountHandle, int64, ...string) {}
