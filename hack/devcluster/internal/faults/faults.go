// Package faults breaks the cluster's network on purpose: it cuts pods and
// nodes off, and slows or loses what they send.
//
// A fault is in effect where the packets of a pod or a node pass: in the
// network namespace of the node, as policy rules of the kernel, which drop
// packets without a word to either side. No connection is closed by that.
// What is slow or lossy goes through a TUN device to a queue in this process
// and back. Packets of pods without a fault take their ordinary way.
//
// Faults are about addresses, and those are pods' only for a time: a fault
// ends with its pod.
//
// What a pod sends to a ClusterIP is cut from the endpoint behind it as well,
// as long as the proxy speaks from the caller's network.Alias.
package faults

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/xinhari/xinhari/hack/devcluster/internal/netns"
)

// ErrUnknown says that no pod has an address.
var ErrUnknown = errors.New("no pod has this address")

// Verbs of faults.
const (
	Cut  = "cut"  // all packets of Of are dropped, or those from and to From
	Slow = "slow" // packets that leave Of are held for Delay
	Lose = "lose" // a Share of the packets that leave Of is lost
)

// MaxDelay is how long packets can be held at most.
const MaxDelay = time.Minute

// Fault is one that is, or is to be, in effect.
type Fault struct {
	Verb   string
	Of     Side
	From   *Side         // of Cut; nil: all
	Delay  time.Duration // of Slow
	Jitter time.Duration // of Slow: the delay is up to this shorter or longer
	Share  float64       // of Lose, 0 … 1
}

// Member is a node.
type Member struct {
	Name      string
	Addr      netip.Addr
	Pods      netip.Prefix // range of the addresses of its pods
	Namespace *netns.Namespace
	// Part parts the node from all others, or joins it again.
	Part func(parted bool) error
}

// Set is the faults of a cluster. Its methods may be called concurrently.
type Set struct {
	log   *slog.Logger
	nodes []Member

	mu     sync.Mutex
	faults []Fault
	states []*state // of nodes, by index
}

// New returns an empty set. It does nothing to the nodes until the first fault.
func New(nodes []Member, log *slog.Logger) *Set {
	s := &Set{log: log, nodes: nodes}
	for i := range nodes {
		s.states = append(s.states, &state{at: nodes[i], gone: s.gone})
	}
	return s
}

// Close ends all faults.
func (s *Set) Close() error {
	s.mu.Lock()
	err := s.become(nil)
	for _, state := range s.states {
		state.close()
	}
	s.mu.Unlock()
	for _, state := range s.states {
		state.watching.Wait()
	}
	return err
}

// Add puts a fault into effect. Of a side there is one Slow and one Lose,
// which ends with a Delay or a Share of 0. A side that is a pod without
// presence is ErrUnknown.
func (s *Set) Add(f Fault) error {
	if err := s.check(f); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, side := range f.sides() {
		if err := s.present(side); err != nil {
			return err
		}
	}
	next := slices.DeleteFunc(slices.Clone(s.faults), func(old Fault) bool { return old.replacedBy(f) })
	if f.Verb == Cut || f.Delay > 0 || f.Share > 0 {
		next = append(next, f)
	}
	return s.become(next)
}

// Heal ends all faults of a side, or the cut between two, or, without any,
// all. Where there are none it does nothing.
func (s *Set) Heal(sides ...Side) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.become(slices.DeleteFunc(slices.Clone(s.faults), func(f Fault) bool { return f.healedBy(sides) }))
}

// End ends the one fault that Add makes of the same verb and sides, and no
// other of theirs. Where there is none it does nothing.
func (s *Set) End(f Fault) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.become(slices.DeleteFunc(slices.Clone(s.faults), func(old Fault) bool { return old.replacedBy(f) }))
}

// List returns the faults in effect, in the order in which they began.
func (s *Set) List() []Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.faults)
}

func (s *Set) check(f Fault) error {
	for _, side := range f.sides() {
		if !side.Addr.Is4() {
			return fmt.Errorf("%s is no IPv4 address, and the cluster has no others", side)
		}
	}
	if f.Verb == Cut && f.From != nil {
		return checkPair(f.Of, *f.From, s.nodes)
	}
	if _, ok := f.Of.home(s.nodes); !ok {
		return fmt.Errorf("%s is no pod and no node", f.Of)
	}
	switch {
	case f.Delay < 0 || f.Delay > MaxDelay || f.Jitter < 0 || f.Jitter > f.Delay:
		return fmt.Errorf("a delay is 0 to %v, and its jitter not more than the delay", MaxDelay)
	case !(f.Share >= 0 && f.Share <= 1): // not a number is neither
		return errors.New("a share is 0 % to 100 %")
	}
	return nil
}

// present fails where a side is a pod that is not there, and has its end
// noticed from here on.
func (s *Set) present(side Side) error {
	if side.Kind != Pod {
		return nil
	}
	i, ok := side.home(s.nodes)
	if !ok {
		return fmt.Errorf("%s: %w", side, ErrUnknown)
	}
	if err := s.states[i].watch(); err != nil {
		return err
	}
	has, err := s.states[i].hasPod(side.Addr)
	if err == nil && !has {
		err = fmt.Errorf("%s: %w", side, ErrUnknown)
	}
	return err
}

// become puts the faults into effect instead of those before. After an error
// those before are, as far as possible.
func (s *Set) become(next []Fault) error {
	for i, p := range plans(s.nodes, next) {
		if err := s.states[i].become(p); err != nil {
			for j, before := range plans(s.nodes, s.faults) {
				err = errors.Join(err, s.states[j].become(before))
			}
			return fmt.Errorf("%s: %w", s.nodes[i].Name, err)
		}
	}
	s.faults = next
	return nil
}

// gone ends the faults of pods that are no more.
func (s *Set) gone(ctx context.Context, isGone func(netip.Addr) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	next := slices.DeleteFunc(slices.Clone(s.faults), func(f Fault) bool {
		return slices.ContainsFunc(f.sides(), func(side Side) bool { return side.Kind == Pod && isGone(side.Addr) })
	})
	if len(next) == len(s.faults) {
		return
	}
	s.log.Info("faults end with their pods", "before", len(s.faults), "now", len(next))
	if err := s.become(next); err != nil {
		s.log.Error("end faults", "error", err)
	}
}

func (f Fault) sides() []Side {
	if f.From == nil {
		return []Side{f.Of}
	}
	return []Side{f.Of, *f.From}
}

// replacedBy reports whether the fault ends where another begins.
func (f Fault) replacedBy(other Fault) bool {
	if f.Verb != other.Verb {
		return false
	}
	if f.Verb != Cut {
		return f.Of.same(other.Of)
	}
	return len(f.sides()) == len(other.sides()) && f.healedBy(other.sides())
}

func (f Fault) healedBy(sides []Side) bool {
	if len(sides) > 1 && f.From == nil {
		return false
	}
	for _, side := range sides {
		if !slices.ContainsFunc(f.sides(), side.same) {
			return false
		}
	}
	return true
}
