package runtimetest

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/nettest"

	"github.com/xinhari/xinhari/pkg/discovery"
)

// pair is two hosts and a connection between them.
type pair struct {
	*Network
	lis            net.Listener
	client, server net.Conn
}

func newPair(t testing.TB) pair {
	t.Helper()
	n := New(t)
	a, b := n.newHost(discovery.Service{Namespace: "default", Name: "a"}), n.newHost(discovery.Service{Namespace: "default", Name: "b"})
	lis, err := b.Listen(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	client, err := a.Dial(t.Context(), lis.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := lis.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return pair{n, lis, client, server}
}

// What net.Conn promises holds, also over a slow network.
func TestConnections(t *testing.T) {
	for name, d := range map[string]time.Duration{"at once": 0, "after a delay": time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
				p := newPair(t)
				p.Between("a", "b").Delay(d)
				return p.client, p.server, func() { _, _, _ = p.client.Close(), p.server.Close(), p.lis.Close() }, nil
			})
		})
	}
}

// A connection lives through what its network does, as TCP's do.
func TestFaultsOfAConnection(t *testing.T) {
	hello := []byte("hello")
	send := func(t *testing.T, to net.Conn) {
		t.Helper()
		if _, err := to.Write(hello); err != nil {
			t.Fatal(err)
		}
	}
	// receive returns when what was sent arrives, and how it went.
	receive := func(from net.Conn) (time.Duration, error) {
		began, p := time.Now(), make([]byte, len(hello))
		_, err := io.ReadFull(from, p)
		return time.Since(began), err
	}
	for _, c := range []struct {
		name string
		do   func(*testing.T, pair) (time.Duration, error)
		took time.Duration
		want error
	}{
		{"a delay", func(t *testing.T, p pair) (time.Duration, error) {
			p.Between("a", "b").Delay(time.Second)
			send(t, p.client)
			return receive(p.server)
		}, time.Second, nil},
		{"a delay of the other way", func(t *testing.T, p pair) (time.Duration, error) {
			p.OneWay("b", "a").Delay(time.Second)
			send(t, p.client)
			return receive(p.server)
		}, 0, nil},
		{"less delay does not overtake", func(t *testing.T, p pair) (time.Duration, error) {
			p.Between("a", "b").Delay(time.Second)
			send(t, p.client)
			p.Between("a", "b").Heal()
			send(t, p.client)
			first, err := receive(p.server)
			second, err2 := receive(p.server)
			return first + second, errors.Join(err, err2)
		}, time.Second, nil},
		{"a short partition", func(t *testing.T, p pair) (time.Duration, error) {
			p.Around("b").Partition()
			send(t, p.client)
			time.AfterFunc(lossTimeout-1, p.Everywhere().Heal)
			return receive(p.server)
		}, lossTimeout - 1, nil},
		{"a partition, seen by who sends", func(t *testing.T, p pair) (time.Duration, error) {
			p.Between("a", "b").Partition()
			send(t, p.client)
			return receive(p.client)
		}, lossTimeout, syscall.ETIMEDOUT},
		{"a partition of the way back, seen by who sends", func(t *testing.T, p pair) (time.Duration, error) {
			p.OneWay("b", "a").Partition()
			send(t, p.client)
			if _, err := receive(p.server); err != nil {
				t.Fatal(err)
			}
			return receive(p.client)
		}, lossTimeout, syscall.ETIMEDOUT},
		{"a partition, seen by who waits, once it is over", func(t *testing.T, p pair) (time.Duration, error) {
			p.Between("a", "b").Partition()
			send(t, p.client)
			time.AfterFunc(time.Hour, p.Between("b", "a").Heal)
			return receive(p.server)
		}, time.Hour, syscall.ECONNRESET},
		{"a partition of an idle connection", func(t *testing.T, p pair) (time.Duration, error) {
			p.Between("a", "b").Partition()
			time.Sleep(time.Hour)
			p.Between("a", "b").Heal()
			send(t, p.client)
			return receive(p.server)
		}, 0, nil},
		{"a partition that comes while bytes are under way", func(t *testing.T, p pair) (time.Duration, error) {
			p.Between("a", "b").Delay(time.Second)
			send(t, p.client)
			p.Between("a", "b").Partition()
			return receive(p.client)
		}, lossTimeout, syscall.ETIMEDOUT},
		{"a write that nobody reads in a partition", func(t *testing.T, p pair) (time.Duration, error) {
			p.Between("a", "b").Partition()
			began := time.Now()
			_, err := p.client.Write(make([]byte, 2*window))
			return time.Since(began), err
		}, lossTimeout, syscall.ETIMEDOUT},
		{"a close in a partition", func(t *testing.T, p pair) (time.Duration, error) {
			p.Between("a", "b").Partition()
			if err := p.client.Close(); err != nil {
				t.Fatal(err)
			}
			time.AfterFunc(time.Minute, p.Between("a", "b").Heal)
			return receive(p.server)
		}, time.Minute, io.EOF},
		{"a break", func(t *testing.T, p pair) (time.Duration, error) {
			time.AfterFunc(time.Second, p.Between("a", "b").Break)
			return receive(p.server)
		}, time.Second, syscall.ECONNRESET},
		{"a close before everything was read", func(t *testing.T, p pair) (time.Duration, error) {
			send(t, p.client)
			if err := p.client.Close(); err != nil {
				t.Fatal(err)
			}
			_, err := receive(p.server)
			took, end := receive(p.server)
			return took, errors.Join(err, end)
		}, 0, io.EOF},
		{"a write to who has closed", func(t *testing.T, p pair) (time.Duration, error) {
			if err := p.client.Close(); err != nil {
				t.Fatal(err)
			}
			send(t, p.server)
			_, err := p.server.Write(hello)
			return 0, err
		}, 0, syscall.ECONNRESET},
		{"a dial over a slow network", func(t *testing.T, p pair) (time.Duration, error) {
			p.OneWay("a", "b").Delay(time.Second)
			p.OneWay("b", "a").Delay(time.Second / 2)
			return dial(t.Context(), p)
		}, 3 * time.Second / 2, nil},
		{"a dial in a partition", func(t *testing.T, p pair) (time.Duration, error) {
			p.OneWay("b", "a").Partition()
			return dial(t.Context(), p)
		}, dialTimeout, syscall.ETIMEDOUT},
		{"a dial in a partition that ends", func(t *testing.T, p pair) (time.Duration, error) {
			p.Around("a").Partition()
			time.AfterFunc(time.Second, p.Around("a").Heal)
			return dial(t.Context(), p)
		}, time.Second, nil},
		{"a dial in a partition by who has less time", func(t *testing.T, p pair) (time.Duration, error) {
			p.Around("a").Partition()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			return dial(ctx, p)
		}, time.Second, context.DeadlineExceeded},
		{"a dial that is refused", func(t *testing.T, p pair) (time.Duration, error) {
			p.OneWay("a", "b").Refuse()
			return dial(t.Context(), p)
		}, 0, syscall.ECONNREFUSED},
		{"a dial to who no longer listens", func(t *testing.T, p pair) (time.Duration, error) {
			if err := p.lis.Close(); err != nil {
				t.Fatal(err)
			}
			return dial(t.Context(), p)
		}, 0, syscall.ECONNREFUSED},
		{"a refusal breaks what there is", func(t *testing.T, p pair) (time.Duration, error) {
			p.Everywhere().Refuse()
			return receive(p.client)
		}, 0, syscall.ECONNRESET},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t)
				took, err := c.do(t, p)
				if took != c.took || !errors.Is(err, c.want) {
					t.Errorf("after %v: error %v; want %v, %v", took, err, c.took, c.want)
				}
				_, _, _ = p.client.Close(), p.server.Close(), p.lis.Close()
				if _, err := p.client.Read(nil); !errors.Is(err, net.ErrClosed) {
					t.Errorf("a read after the close: %v", err)
				}
				if len(p.wires) != 0 {
					t.Errorf("%d connections are left", len(p.wires))
				}
			})
		})
	}
}

func dial(ctx context.Context, p pair) (time.Duration, error) {
	began := time.Now()
	conn, err := p.client.(*end).host.Dial(ctx, p.lis.Addr().String())
	took := time.Since(began)
	if err == nil {
		other, _ := p.lis.Accept()
		_, _ = conn.Close(), other.Close()
	}
	return took, err
}

func TestWhatWasSaidLastHolds(t *testing.T) {
	a, b, c := discovery.Service{Namespace: "x", Name: "a"}, discovery.Service{Namespace: "x", Name: "b"}, discovery.Service{Namespace: "x", Name: "c"}
	n := New(t)
	between, oneWay, around, everywhere := &Link{n, ways{a: a, b: b}}, &Link{n, ways{a: a, b: b, oneWay: true}}, &Link{n, ways{a: a}}, n.Everywhere()
	at := func(s time.Duration) faults { return faults{delay: s} }
	for i, step := range []struct {
		say                func()
		ab, ba, ac, bc, ca faults
		left               int // statements that are kept
	}{
		{func() { everywhere.Delay(1) }, at(1), at(1), at(1), at(1), at(1), 1},
		{func() { around.Delay(2) }, at(2), at(2), at(2), at(1), at(2), 2},
		{func() { between.Delay(3) }, at(3), at(3), at(2), at(1), at(2), 3},
		{func() { oneWay.Delay(4) }, at(4), at(3), at(2), at(1), at(2), 4},
		{func() { oneWay.Heal() }, at(0), at(3), at(2), at(1), at(2), 4},
		{func() { between.Delay(5) }, at(5), at(5), at(2), at(1), at(2), 4},
		{func() { between.Heal() }, at(0), at(0), at(2), at(1), at(2), 3},
		{func() { around.Partition() }, faults{cut: true}, faults{cut: true}, faults{delay: 2, cut: true}, at(1), faults{delay: 2, cut: true}, 4},
		{func() { around.Heal() }, at(0), at(0), at(0), at(1), at(0), 2},
		{func() { everywhere.Heal() }, at(0), at(0), at(0), at(0), at(0), 0},
	} {
		step.say()
		for _, way := range []struct {
			from, to discovery.Service
			want     faults
		}{{a, b, step.ab}, {b, a, step.ba}, {a, c, step.ac}, {b, c, step.bc}, {c, a, step.ca}} {
			if got := n.faults(way.from, way.to); got != way.want {
				t.Errorf("step %d: from %s to %s: %+v, want %+v", i, way.from.Name, way.to.Name, got, way.want)
			}
		}
		if len(n.said) != step.left {
			t.Errorf("step %d: %d statements are kept, want %d", i, len(n.said), step.left)
		}
	}
}
