package faults

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xinhari/xinhari/hack/devcluster/internal/network"
)

// bare is a queue without a device.
func bare(faults ...Fault) *queue {
	q := &queue{
		at:     members(1)[0],
		random: rand.New(rand.NewPCG(1, 2)),
		wake:   make(chan struct{}, 1),
		last:   map[netip.Addr]time.Time{},
	}
	for _, f := range faults {
		q.shapes.add(f)
	}
	return q
}

// datagram is the beginning of a packet, and a mark.
func datagram(from, to netip.Addr, mark byte) []byte {
	data := make([]byte, 21)
	data[0], data[20] = 0x45, mark
	copy(data[12:], from.AsSlice())
	copy(data[16:], to.AsSlice())
	return data
}

func (q *queue) all(now time.Time) (marks []byte) {
	for {
		data, _ := q.due(now)
		if data == nil {
			return marks
		}
		marks = append(marks, data[20])
	}
}

func TestQueueHoldsAndKeepsTheOrder(t *testing.T) {
	slow, other := pod("10.244.1.2"), netip.MustParseAddr("10.244.1.3")
	to := netip.MustParseAddr("10.244.2.2")
	q := bare(Fault{Verb: Slow, Of: slow, Delay: 50 * time.Millisecond, Jitter: 40 * time.Millisecond})
	now := time.Now()
	var want []byte
	for i := range byte(100) {
		q.take(datagram(slow.Addr, to, i), now)
		want = append(want, i)
	}
	q.take(datagram(other, to, 200), now)
	q.take([]byte("no packet"), now)
	if diff := cmp.Diff([]byte{200}, q.all(now)); diff != "" {
		t.Errorf("at once (-want +got):\n%s", diff)
	}
	if got := q.all(now.Add(9 * time.Millisecond)); got != nil {
		t.Errorf("sooner than the delay without its jitter: %v", got)
	}
	if diff := cmp.Diff(want, q.all(now.Add(90*time.Millisecond))); diff != "" {
		t.Errorf("after the longest delay (-want +got):\n%s", diff)
	}
}

func TestQueueLosesAShare(t *testing.T) {
	from, to := pod("10.244.1.2"), netip.MustParseAddr("10.244.2.2")
	q := bare(Fault{Verb: Lose, Of: from, Share: 0.2}, Fault{Verb: Lose, Of: node(1), Share: 0.5})
	now := time.Now()
	count := func(to netip.Addr) int {
		for range 10000 {
			q.take(datagram(from.Addr, to, 1), now)
		}
		return len(q.all(now))
	}
	if got := count(netip.MustParseAddr("10.244.1.9")); got < 7800 || got > 8200 {
		t.Errorf("%d of 10000 stay, want 80 %% of what does not leave the node", got)
	}
	if got := count(to); got < 3800 || got > 4200 {
		t.Errorf("%d of 10000 stay, want 80 %% of 50 %% of what leaves the node", got)
	}
}

func TestQueueIsBounded(t *testing.T) {
	from, to := pod("10.244.1.2"), netip.MustParseAddr("10.244.2.2")
	q := bare(Fault{Verb: Slow, Of: from, Delay: time.Second})
	for range queuePackets + 10 {
		q.take(datagram(from.Addr, to, 1), time.Now())
	}
	if got := len(q.packets); got != queuePackets {
		t.Errorf("%d packets are held, want %d", got, queuePackets)
	}
}

func TestShapesOfNodesConcernWhatLeavesThem(t *testing.T) {
	var s shapes
	s.add(Fault{Verb: Slow, Of: node(1), Delay: 10})
	s.add(Fault{Verb: Slow, Of: pod("10.244.1.2"), Delay: 5})
	tests := []struct {
		name, from, to string
		want           time.Duration
	}{
		{"a pod to far away", "10.244.1.3", "10.244.2.2", 10},
		{"a slow pod to far away", "10.244.1.2", "10.244.2.2", 15},
		{"a slow pod to another of the node", "10.244.1.2", "10.244.1.3", 5},
		{"a slow pod to its node", "10.244.1.2", "10.245.0.11", 5},
		{"the node to far away", "10.245.0.11", "10.96.0.1", 10},
	}
	for _, test := range tests {
		got, lost := s.of(netip.MustParseAddr(test.from), netip.MustParseAddr(test.to), network.NodeRange(1), network.NodeAddr(1), nil)
		if got != test.want || lost {
			t.Errorf("%s: held %v, lost %v, want %v", test.name, got, lost, test.want)
		}
	}
}
