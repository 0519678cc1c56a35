package balancer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/status"
)

// open returns a balancer over n endpoints that are all connected.
func open(t *testing.T, p Policy, n int) (*benchConn, balancer.Balancer) {
	t.Helper()
	cc := &benchConn{subs: map[string]*benchSubConn{}}
	lb := builder{}.Build(cc, balancer.BuildOptions{})
	s := benchState(n, 0)
	s.BalancerConfig = config{Policy: p}
	if err := lb.UpdateClientConnState(s); err != nil {
		t.Fatal(err)
	}
	for _, s := range cc.subs {
		s.set(connectivity.Connecting)
		s.set(connectivity.Ready)
	}
	return cc, lb
}

// picks counts n picks by endpoint, from 8 goroutines.
func picks(t *testing.T, cc *benchConn, n int) map[balancer.SubConn]int {
	t.Helper()
	var mu sync.Mutex
	count := map[balancer.SubConn]int{}
	var pickers sync.WaitGroup
	for range 8 {
		pickers.Go(func() {
			own := map[balancer.SubConn]int{}
			for range n / 8 {
				r, err := cc.current().Picker.Pick(balancer.PickInfo{Ctx: context.Background()})
				if err != nil {
					t.Error(err)
					return
				}
				own[r.SubConn]++
			}
			mu.Lock()
			defer mu.Unlock()
			for s, n := range own {
				count[s] += n
			}
		})
	}
	pickers.Wait()
	return count
}

func TestRoundRobinGivesEachTheSame(t *testing.T) {
	cc, _ := open(t, RoundRobin, 4)
	for s, n := range picks(t, cc, 4000) {
		if n != 1000 {
			t.Errorf("%p was picked %d times of 4000, want 1000", s, n)
		}
	}
}

func TestRandomUsesAll(t *testing.T) {
	cc, _ := open(t, Random, 4)
	count := picks(t, cc, 8000)
	for s, n := range count {
		if n < 1700 || n > 2300 { // 2000 ± 7 standard deviations
			t.Errorf("%p was picked %d times of 8000", s, n)
		}
	}
	if len(count) != 4 {
		t.Errorf("%d endpoints were picked, want 4", len(count))
	}
}

func TestAnEndpointThatIsNotConnectedIsNotPicked(t *testing.T) {
	cc, _ := open(t, RoundRobin, 3)
	gone := cc.subs["10.0.0.0:8080"]
	gone.set(connectivity.Idle)
	count := picks(t, cc, 800)
	if count[gone] != 0 || len(count) != 2 {
		t.Errorf("picked %v", count)
	}
	gone.set(connectivity.Connecting)
	gone.set(connectivity.Ready)
	if count := picks(t, cc, 800); count[gone] == 0 {
		t.Error("the endpoint is not picked again")
	}
}

func TestAnEndpointThatTheResolverDropsIsNotPicked(t *testing.T) {
	cc, lb := open(t, RoundRobin, 3)
	gone := cc.subs["10.0.0.0:8080"]
	s := benchState(2, 1) // endpoints 1 and 2
	s.BalancerConfig = config{Policy: RoundRobin}
	kept := []balancer.SubConn{cc.subs["10.0.0.1:8080"], cc.subs["10.0.0.2:8080"]}
	if err := lb.UpdateClientConnState(s); err != nil {
		t.Fatal(err)
	}
	count := picks(t, cc, 800)
	if count[gone] != 0 {
		t.Error("the endpoint is still picked")
	}
	for _, k := range kept {
		if count[k] != 400 {
			t.Errorf("an endpoint that stayed was picked %d times of 800: its connection was not kept", count[k])
		}
	}
	gone.set(connectivity.Ready) // a late word of a closed connection
	if count := picks(t, cc, 800); count[gone] != 0 {
		t.Error("a dropped endpoint came back")
	}
}

func TestWithoutEndpointsTheReasonIsTheError(t *testing.T) {
	cc, lb := open(t, RoundRobin, 1)
	state := WithReason(resolver.State{}, errors.New("mDNS does not know it"))
	if err := lb.UpdateClientConnState(balancer.ClientConnState{ResolverState: state}); err != nil {
		t.Fatal(err)
	}
	_, err := cc.current().Picker.Pick(balancer.PickInfo{Ctx: context.Background()})
	if err == nil || !strings.Contains(err.Error(), "mDNS does not know it") {
		t.Errorf("got %v", err)
	}
	if _, ok := status.FromError(err); ok {
		t.Errorf("got %v, a status: a call that wants to wait would not", err)
	}
}

func TestPickAllocatesNothing(t *testing.T) {
	for _, p := range []Policy{RoundRobin, Random} {
		cc, _ := open(t, p, 100)
		info := balancer.PickInfo{Ctx: context.Background()}
		if n := testing.AllocsPerRun(100, func() { _, _ = cc.current().Picker.Pick(info) }); n != 0 {
			t.Errorf("%s: %v allocations a pick", p, n)
		}
	}
}

func TestUnknownPoliciesAreErrors(t *testing.T) {
	if _, err := ServiceConfig("Fastest"); err == nil {
		t.Error("ServiceConfig: no error")
	}
	if _, err := (builder{}).ParseConfig([]byte(`{"policy":"Fastest"}`)); err == nil {
		t.Error("ParseConfig: no error")
	}
	for _, p := range []Policy{RoundRobin, Random} {
		got, err := ServiceConfig(p)
		if want := fmt.Sprintf(`{"loadBalancingConfig":[{"xinhari":{"policy":%q}}]}`, p); err != nil || got != want {
			t.Errorf("got %s, %v, want %s", got, err, want)
		}
	}
}
