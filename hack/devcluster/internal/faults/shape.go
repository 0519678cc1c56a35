package faults

import (
	"math/rand/v2"
	"net/netip"
	"time"
)

// shape is what becomes of packets.
type shape struct {
	delay, jitter time.Duration
	loss          float64 // share, 0 … 1
}

func (s shape) zero() bool { return s == shape{} }

// wait draws how long a packet is held.
func (s shape) wait(random *rand.Rand) time.Duration {
	if s.jitter == 0 {
		return s.delay
	}
	return max(0, s.delay-s.jitter+time.Duration(random.Int64N(int64(2*s.jitter)+1)))
}

// shapes are those of one node.
type shapes struct {
	pods map[netip.Addr]shape
	node shape // of what leaves the node
}

func (s *shapes) empty() bool { return len(s.pods) == 0 && s.node.zero() }

func (s *shapes) add(f Fault) {
	if s.pods == nil {
		s.pods = map[netip.Addr]shape{}
	}
	have := s.node
	if f.Of.Kind == Pod {
		have = s.pods[f.Of.Addr]
	}
	switch f.Verb {
	case Slow:
		have.delay, have.jitter = f.Delay, f.Jitter
	case Lose:
		have.loss = f.Share
	}
	if f.Of.Kind == Pod {
		s.pods[f.Of.Addr] = have
		return
	}
	s.node = have
}

// of is what becomes of a packet: it is lost, or held for some time.
func (s *shapes) of(from, to netip.Addr, inside netip.Prefix, node netip.Addr, random *rand.Rand) (hold time.Duration, lost bool) {
	pod := s.pods[from]
	hold = pod.wait(random)
	lost = pod.loss > 0 && random.Float64() < pod.loss
	if !s.node.zero() && to != node && !inside.Contains(to) {
		hold += s.node.wait(random)
		lost = lost || s.node.loss > 0 && random.Float64() < s.node.loss
	}
	return hold, lost
}
