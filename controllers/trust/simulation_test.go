package trust

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
)

var began = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

// cluster is a model of all that a rotation touches. One step of the operator is one write, so that whatever happens between
// two steps also happens between a crash and a restart.
type cluster struct {
	now       time.Time
	wanted    *Issuer
	signing   *Issuer
	next      []string
	retired   []string
	state     State
	request   string
	published []string // the bundle of the state object
	processes []*process
	earlier   []*Issuer // that were wanted
	serial    int
	careful   bool // nothing was forced, hurried or lost, so that nobody may fail to trust anybody
	wrote     []string
}

// process is a runtime.
type process struct {
	name   string
	trusts []string
	holder *Holder
	away   bool // neither learns nor asks: cut off, or dead and not known to be
}

func newCluster() *cluster {
	c := &cluster{now: began, careful: true}
	c.settleDown()
	return c
}

// issuer makes an issuer of a new key under roots.
func (c *cluster) issuer(own bool, roots ...string) *Issuer {
	c.serial++
	return &Issuer{
		ID: fmt.Sprintf("issuer-%012d", c.serial), Subject: fmt.Sprintf("CN=%d", c.serial), Roots: roots, Own: own,
		Began: c.now.Add(-time.Hour), Ends: c.now.Add(10 * 365 * 24 * time.Hour),
	}
}

func (c *cluster) root() string { c.serial++; return fmt.Sprintf("root%012d", c.serial) }

// hash names a bundle, whatever its order.
func hash(roots []string) string {
	sorted := slices.Sorted(slices.Values(union(roots)))
	return fmt.Sprintf("%x", sha256.Sum256([]byte(strings.Join(sorted, ","))))
}

func (c *cluster) bundle() []string {
	var own []string
	if c.signing != nil {
		own = c.signing.Roots
	}
	return union(own, c.next, c.retired)
}

func (c *cluster) facts() Facts {
	f := Facts{
		Now: c.now, State: c.state, Request: c.request, Wanted: c.wanted, MayMake: true, Secret: "xinhari-system/xinhari-ca", Signing: c.signing,
		Next: c.next, Retired: c.retired, Known: c.published, Hash: hash(c.bundle()), Settle: 30 * time.Second,
	}
	for _, p := range c.processes {
		if p.holder != nil {
			f.Holders = append(f.Holders, p.holder)
		}
	}
	return f
}

// operate has the operator do its next write, and returns whether there was one.
func (c *cluster) operate() bool {
	out := Step(c.facts())
	c.wrote = append(c.wrote, fmt.Sprintf("%v %s next=%v retired=%v", out.Action, out.State.Phase, out.Next, out.Retired))
	switch out.Action {
	case Make:
		c.wanted = c.issuer(true, c.root())
	case Sign:
		c.signing, c.next, c.retired = c.wanted, out.Next, out.Retired
	case Trust:
		c.next, c.retired = out.Next, out.Retired
	case Rest:
		if cmp.Equal(c.state, out.State) && !out.Acted && slices.Equal(c.published, c.bundle()) {
			return false
		}
		if out.Anew {
			for _, p := range c.processes {
				if p.holder != nil && p.holder.Bundle == short(out.State.BundleHash) {
					again := *p.holder
					again.Bundle = disowned
					p.holder = &again
				}
			}
		}
		c.state, c.published = out.State, c.bundle()
		if out.Acted {
			c.request = ""
		}
	}
	return true
}

// settleDown has the operator work until it rests.
func (c *cluster) settleDown() {
	for range 50 {
		if !c.operate() {
			return
		}
	}
	panic("the operator never rests:\n" + strings.Join(c.wrote[len(c.wrote)-10:], "\n"))
}

// renew has a process learn what is published and ask anew.
func (c *cluster) renew(p *process, life time.Duration) {
	signs := c.signing
	if !signs.usable() {
		signs = c.wanted
	}
	p.trusts = c.published
	if !signs.usable() || len(p.trusts) == 0 {
		return
	}
	p.holder = &Holder{Namespace: "shop", Pod: p.name, Bundle: short(hash(p.trusts)), Roots: signs.Roots, Issued: c.now, Ends: c.now.Add(life)}
}

// learn has a process trust what is published, without getting a certificate.
func (p *process) learn(published []string) {
	if len(published) > 0 {
		p.trusts = published
	}
}

// broken says who does not trust whom, of those whose certificates have not run out.
func (c *cluster) broken() string {
	for _, p := range c.processes {
		for _, q := range c.processes {
			if p.holder != nil && q.holder != nil && p.holder.Ends.After(c.now) && q.holder.Ends.After(c.now) && !overlap(p.trusts, q.holder.Roots) {
				return fmt.Sprintf("%s trusts %v and not %s, whose certificate is under %v", p.name, p.trusts, q.name, q.holder.Roots)
			}
		}
	}
	return ""
}

// happen does one of what can happen to a cluster.
func (c *cluster) happen(choose func(n int) int) string {
	pick := func() *process {
		if len(c.processes) == 0 {
			return nil
		}
		return c.processes[choose(len(c.processes))]
	}
	switch choose(24) {
	case 0, 1, 2, 3, 4, 5:
		c.operate()
		return "operate"
	case 6:
		c.settleDown()
		return "settle down"
	case 7, 8:
		c.now = c.now.Add(time.Duration(choose(60)) * time.Second)
		return "seconds"
	case 9:
		c.now = c.now.Add(time.Duration(choose(10)) * time.Hour)
		return "hours"
	case 10, 11:
		if len(c.processes) < 6 {
			p := &process{name: fmt.Sprintf("p%d", c.serial)}
			c.serial++
			c.renew(p, 24*time.Hour)
			c.processes = append(c.processes, p)
		}
		return "start"
	case 12, 13, 14, 15:
		if p := pick(); p != nil && !p.away {
			c.renew(p, 24*time.Hour)
		}
		return "renew"
	case 16:
		// What a process learned, it acknowledges when it can: not at all while it is cut off.
		if p := pick(); p != nil && !p.away {
			p.learn(c.published)
			p.away = choose(2) == 0
		}
		return "learn"
	case 17:
		if p := pick(); p != nil {
			p.away = !p.away
		}
		return "away"
	case 18:
		if p := pick(); p != nil && choose(2) == 0 {
			c.processes = slices.DeleteFunc(c.processes, func(q *process) bool { return p == q })
		}
		return "pod gone"
	case 19:
		if c.wanted != nil {
			c.earlier = append(c.earlier, c.wanted)
		}
		switch choose(7) {
		case 5, 6:
			if len(c.earlier) > 0 {
				c.wanted = c.earlier[choose(len(c.earlier))]
			}
		case 0:
			c.wanted = c.issuer(false, c.root())
		case 1:
			c.wanted = c.issuer(true, c.root())
		case 2: // an intermediate under what is trusted, or some of it
			all := c.bundle()
			sort.Strings(all)
			if len(all) > 0 {
				c.wanted = c.issuer(false, all[choose(len(all))])
			}
		case 3:
			c.wanted = c.issuer(false, c.root(), c.root())
		case 4:
			if c.signing != nil {
				c.wanted = c.signing
			}
		}
		return "wanted"
	case 20:
		if choose(2) == 0 {
			c.wanted = nil
		} else if c.wanted != nil {
			broken := *c.wanted
			broken.Problem = "broken"
			c.wanted = &broken
		}
		return "wanted breaks"
	case 21:
		c.request = xinhariv1alpha1.RotationStart
		return "start a rotation"
	case 22:
		if choose(3) == 0 {
			c.state = State{} // and so the bundle is published anew before anyone could learn of another
			return "state lost"
		}
		return ""
	default:
		if c.careful {
			return ""
		}
		switch choose(4) {
		case 0:
			c.signing, c.next, c.retired = nil, nil, nil
		case 1:
			c.request = xinhariv1alpha1.RotationForce
		case 2:
			if c.signing != nil {
				broken := *c.signing
				broken.Problem = "broken"
				c.signing = &broken
			}
		case 3:
			c.request = "restart"
		}
		return "harm"
	}
}

// end has all go well, and returns what does not.
func (c *cluster) end() string {
	if c.wanted != nil && c.wanted.Problem != "" {
		c.wanted = c.issuer(false, c.root())
	}
	for range 12 {
		c.settleDown()
		for _, p := range c.processes {
			if !p.away {
				c.renew(p, 24*time.Hour)
			}
		}
		c.settleDown()
		c.now = c.now.Add(10 * time.Hour)
	}
	c.settleDown()
	if c.state.Phase != Stable || c.signing.ID != c.wanted.ID || !slices.Equal(slices.Sorted(slices.Values(c.published)), slices.Sorted(slices.Values(c.wanted.Roots))) {
		return fmt.Sprintf("after all went well: %s, %s signs and %s is wanted, %v are trusted", c.state.Phase, c.signing.ID, c.wanted.ID, c.published)
	}
	return ""
}

func simulate(choose func(n int) int, events int, careful bool) string {
	c := newCluster()
	c.careful = careful
	var story []string
	for range events {
		story = append(story, c.happen(choose))
		if problem := c.broken(); careful && problem != "" {
			return problem + "\n" + strings.Join(story, ", ") + "\n" + strings.Join(c.wrote, "\n")
		}
	}
	return c.end()
}

// TestSimulation holds that no order of events, with the operator dying after any write, has anybody not trust anybody, and
// that each rotation ends.
func TestSimulation(t *testing.T) {
	for seed := range uint64(1000) {
		random := rand.New(rand.NewPCG(seed, 1))
		if problem := simulate(random.IntN, 250, seed%2 == 0); problem != "" {
			t.Fatalf("seed %d: %s", seed, problem)
		}
	}
}

// FuzzSimulation is TestSimulation with events that the fuzzer chooses.
func FuzzSimulation(f *testing.F) {
	f.Add([]byte("10 processes, then some"), true)
	f.Add([]byte{10, 0, 11, 0, 19, 0, 6, 12, 0, 6, 8, 40, 6}, false)
	f.Fuzz(func(t *testing.T, events []byte, careful bool) {
		at := 0
		choose := func(n int) int {
			if at == len(events) {
				return 0
			}
			at++
			return int(events[at-1]) % n
		}
		if problem := simulate(choose, min(len(events), 400), careful); problem != "" {
			t.Fatal(problem)
		}
	})
}

func BenchmarkStep(b *testing.B) {
	for _, n := range []int{2000, 20000} {
		b.Run(fmt.Sprintf("%d holders", n), func(b *testing.B) {
			c := newCluster()
			for i := range n {
				p := &process{name: fmt.Sprintf("p%d", i)}
				c.renew(p, 24*time.Hour)
				c.processes = append(c.processes, p)
			}
			c.request = xinhariv1alpha1.RotationStart
			c.settleDown()
			f := c.facts()
			if f.State.Phase != Distributing {
				b.Fatal(f.State.Phase)
			}
			b.ReportAllocs()
			for b.Loop() {
				Step(f)
			}
		})
	}
}
