package faults

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/xinhari/xinhari/hack/devcluster/internal/network"
)

// Priorities of the rules, in the order in which the kernel asks them.
const (
	prioritySilent   = 100 // what the node itself sends: drop it without an error for the sender
	priorityDrop     = 200
	priorityDropFrom = 201
	priorityDropTo   = 202
	priorityDropCall = 203
	priorityBack     = 300 // what comes back from the queue is only routed
	priorityPods     = 400 // of pods that are slow or lossy: into the queue
	priorityInside   = 500 // what does not leave a node that is: is only routed
	priorityNode     = 600 // of such a node: into the queue
	priorityLocal    = 900 // where the table of local addresses goes, which is first elsewhere
)

// Tables of routes.
const (
	tableNowhere = 100 // everything is lost
	tableQueue   = 101 // everything goes through the queue
)

// kubeletPort is where nodes are called by the API server, which has no
// address of its own for that.
const kubeletPort = 10250

// rule is one of the kernel's rules of a node: what of matching packets
// becomes. A zero field matches all.
type rule struct {
	priority int
	iif      string
	from, to netip.Prefix
	tcpPort  uint16 // of the receiver
	table    int    // 0: see skip, else it is looked up
	skip     bool   // go on at priorityLocal; else, without a table, the packet is lost
}

func silent(to netip.Prefix) rule {
	return rule{priority: prioritySilent, iif: "lo", to: to, table: tableNowhere}
}

// drop loses what matches. Rules of one priority have the same fields: to the
// kernel, a field that is missing of one that it adds or deletes fits any rule,
// so that with "from a" there could be no "from a to b", or the wrong one goes.
func drop(from, to netip.Prefix) rule {
	r := rule{priority: priorityDrop, from: from, to: to}
	switch {
	case !to.IsValid():
		r.priority = priorityDropFrom
	case !from.IsValid():
		r.priority = priorityDropTo
	}
	return r
}

// plan is what is to be in effect at one node.
type plan struct {
	rules  []rule // sorted by priority, without doubles
	parted bool   // the node is off from all others
	shapes shapes
}

// plans are those of all nodes for the faults.
func plans(nodes []Member, faults []Fault) []plan {
	all := make([]plan, len(nodes))
	for _, f := range faults {
		if f.Verb == Cut {
			planCut(nodes, all, f)
			continue
		}
		if i, ok := f.Of.home(nodes); ok {
			all[i].shapes.add(f)
		}
	}
	for i := range all {
		p := &all[i]
		p.rules = append(p.rules, p.shapes.rules(nodes[i])...)
		slices.SortStableFunc(p.rules, func(a, b rule) int { return a.priority - b.priority })
		p.rules = distinct(p.rules)
	}
	return all
}

func planCut(nodes []Member, all []plan, f Fault) {
	first, atFirst := f.Of.home(nodes)
	if f.From == nil {
		if f.Of.Kind == Node {
			all[first].parted = true
		} else if atFirst {
			addr := netip.PrefixFrom(f.Of.Addr, 32)
			all[first].rules = append(all[first].rules, silent(addr), drop(addr, netip.Prefix{}), drop(netip.Prefix{}, addr))
		}
		return
	}
	second, atSecond := f.From.home(nodes)
	// Between a node and a pod of it, the pod's side has all that passes.
	within := atFirst && atSecond && first == second
	if atFirst && (!within || f.Of.Kind == Pod) {
		all[first].rules = append(all[first].rules, pairRules(nodes, nodes[first], f.Of, *f.From)...)
	}
	if atSecond && (!within || f.From.Kind == Pod) {
		all[second].rules = append(all[second].rules, pairRules(nodes, nodes[second], *f.From, f.Of)...)
	}
}

// pairRules cut one side, which is at the node, off from another.
func pairRules(nodes []Member, at Member, one, other Side) []rule {
	var rules []rule
	for _, r := range other.ranges(nodes) {
		if one.Kind == Node {
			rules = append(rules, silent(r), drop(at.Pods, r), drop(r, netip.Prefix{}))
			continue
		}
		addr := netip.PrefixFrom(one.Addr, 32)
		rules = append(rules, drop(addr, r), drop(r, addr))
		if r.Contains(at.Addr) {
			rules = append(rules, silent(addr))
		}
	}
	if one.Kind == Node && other.Kind == Server {
		call := drop(netip.PrefixFrom(network.Cluster(), 32), netip.PrefixFrom(at.Addr, 32))
		call.priority, call.tcpPort = priorityDropCall, kubeletPort
		rules = append(rules, call)
	}
	return rules
}

// rules bring the packets that are to be slow or lost into the queue.
func (s *shapes) rules(at Member) []rule {
	if s.empty() {
		return nil
	}
	rules := []rule{{priority: priorityBack, iif: queueDevice, skip: true}}
	for addr := range s.pods {
		rules = append(rules, rule{priority: priorityPods, from: netip.PrefixFrom(addr, 32), table: tableQueue})
	}
	if s.node.zero() {
		return rules
	}
	self, loopback := netip.PrefixFrom(at.Addr, 32), netip.PrefixFrom(netip.AddrFrom4([4]byte{127}), 8)
	for _, to := range []netip.Prefix{at.Pods, self, loopback} {
		rules = append(rules, rule{priority: priorityInside, iif: "lo", to: to, skip: true})
	}
	for _, to := range []netip.Prefix{at.Pods, self} {
		rules = append(rules, rule{priority: priorityInside, from: at.Pods, to: to, skip: true})
	}
	return append(rules,
		rule{priority: priorityNode, iif: "lo", table: tableQueue},
		rule{priority: priorityNode, from: at.Pods, table: tableQueue})
}

func distinct(rules []rule) []rule {
	seen := map[rule]bool{}
	return slices.DeleteFunc(rules, func(r rule) bool {
		if seen[r] {
			return true
		}
		seen[r] = true
		return false
	})
}

// action is the kernel's name of what a rule does.
func (r rule) action() uint8 {
	if r.table == 0 && !r.skip {
		return unix.RTN_BLACKHOLE
	}
	return 0
}
