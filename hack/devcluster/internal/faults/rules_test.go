package faults

import (
	"net/netip"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xinhari/xinhari/hack/devcluster/internal/network"
)

func members(n int) []Member {
	var list []Member
	for i := range n {
		list = append(list, Member{Name: "node-" + strconv.Itoa(i+1), Addr: network.NodeAddr(i + 1), Pods: network.NodeRange(i + 1)})
	}
	return list
}

func pod(addr string) Side { return Side{Kind: Pod, Addr: netip.MustParseAddr(addr)} }

func node(i int) Side { return Side{Kind: Node, Addr: network.NodeAddr(i)} }

func server() *Side { return &Side{Kind: Server, Addr: netip.MustParseAddr("10.96.0.1")} }

// String is a rule as `ip rule` has it, for messages of tests.
func (r rule) String() string {
	text := strconv.Itoa(r.priority) + ":"
	if r.iif != "" {
		text += " iif " + r.iif
	}
	if r.from.IsValid() {
		text += " from " + r.from.String()
	}
	if r.to.IsValid() {
		text += " to " + r.to.String()
	}
	if r.tcpPort != 0 {
		text += " port " + strconv.Itoa(int(r.tcpPort))
	}
	switch {
	case r.skip:
		return text + " skip"
	case r.table != 0:
		return text + " table " + strconv.Itoa(r.table)
	}
	return text + " drop"
}

func TestPlans(t *testing.T) {
	a, b, far := pod("10.244.1.2"), pod("10.244.1.3"), pod("10.244.2.2")
	second, first := node(2), node(1)
	tests := []struct {
		name   string
		faults []Fault
		want   [][]string // rules by node
		parted []bool
	}{
		{name: "nothing", want: [][]string{nil, nil}},
		{name: "a pod off from all", faults: []Fault{{Verb: Cut, Of: a}}, want: [][]string{{
			"100: iif lo to 10.244.1.2/32 table 100",
			"201: from 10.244.1.2/32 drop",
			"202: to 10.244.1.2/32 drop",
		}, nil}},
		{name: "a node off from all", faults: []Fault{{Verb: Cut, Of: second}}, want: [][]string{nil, nil}, parted: []bool{false, true}},
		{name: "two pods of a node", faults: []Fault{{Verb: Cut, Of: a, From: &b}}, want: [][]string{{
			"200: from 10.244.1.2/32 to 10.244.1.3/32 drop",
			"200: from 10.244.1.3/32 to 10.244.1.2/32 drop",
			"200: from 10.244.1.2/32 to 10.246.1.3/32 drop", // the way from a to b through the proxy
			"200: from 10.246.1.3/32 to 10.244.1.2/32 drop",
			"200: from 10.244.1.3/32 to 10.246.1.2/32 drop",
			"200: from 10.246.1.2/32 to 10.244.1.3/32 drop",
		}, nil}},
		{name: "pods of two nodes, at both", faults: []Fault{{Verb: Cut, Of: a, From: &far}}, want: [][]string{{
			"200: from 10.244.1.2/32 to 10.244.2.2/32 drop",
			"200: from 10.244.2.2/32 to 10.244.1.2/32 drop",
			"200: from 10.244.1.2/32 to 10.246.2.2/32 drop",
			"200: from 10.246.2.2/32 to 10.244.1.2/32 drop",
		}, {
			"200: from 10.244.2.2/32 to 10.244.1.2/32 drop",
			"200: from 10.244.1.2/32 to 10.244.2.2/32 drop",
			"200: from 10.244.2.2/32 to 10.246.1.2/32 drop",
			"200: from 10.246.1.2/32 to 10.244.2.2/32 drop",
		}}},
		{name: "a pod and its own node", faults: []Fault{{Verb: Cut, Of: first, From: &a}}, want: [][]string{{
			"100: iif lo to 10.244.1.2/32 table 100",
			"200: from 10.244.1.2/32 to 10.245.0.11/32 drop",
			"200: from 10.245.0.11/32 to 10.244.1.2/32 drop",
			"200: from 10.244.1.2/32 to 10.244.1.0/24 drop",
			"200: from 10.244.1.0/24 to 10.244.1.2/32 drop",
			"200: from 10.244.1.2/32 to 10.247.0.11/32 drop",
			"200: from 10.247.0.11/32 to 10.244.1.2/32 drop",
			"200: from 10.244.1.2/32 to 10.246.1.0/24 drop",
			"200: from 10.246.1.0/24 to 10.244.1.2/32 drop",
		}, nil}},
		{name: "a node and the API server", faults: []Fault{{Verb: Cut, Of: first, From: server()}}, want: [][]string{{
			"100: iif lo to 10.96.0.1/32 table 100",
			"200: from 10.244.1.0/24 to 10.96.0.1/32 drop",
			"201: from 10.96.0.1/32 drop",
			"203: from 10.245.0.1/32 to 10.245.0.11/32 port 10250 drop",
		}, nil}},
		{name: "a slow pod", faults: []Fault{{Verb: Slow, Of: far, Delay: 1}, {Verb: Lose, Of: far, Share: 0.5}}, want: [][]string{nil, {
			"300: iif xinhari-queue skip",
			"400: from 10.244.2.2/32 table 101",
		}}},
		{name: "a lossy node", faults: []Fault{{Verb: Lose, Of: first, Share: 0.5}}, want: [][]string{{
			"300: iif xinhari-queue skip",
			"500: iif lo to 10.244.1.0/24 skip",
			"500: iif lo to 10.245.0.11/32 skip",
			"500: iif lo to 127.0.0.0/8 skip",
			"500: from 10.244.1.0/24 to 10.244.1.0/24 skip",
			"500: from 10.244.1.0/24 to 10.245.0.11/32 skip",
			"600: iif lo table 101",
			"600: from 10.244.1.0/24 table 101",
		}, nil}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := plans(members(2), test.faults)
			for i := range got {
				var rules []string
				for _, r := range got[i].rules {
					rules = append(rules, r.String())
				}
				if diff := cmp.Diff(test.want[i], rules); diff != "" {
					t.Errorf("node %d (-want +got):\n%s", i+1, diff)
				}
				if want := test.parted != nil && test.parted[i]; got[i].parted != want {
					t.Errorf("node %d parted = %v, want %v", i+1, got[i].parted, want)
				}
			}
		})
	}
}

func TestHealedBy(t *testing.T) {
	a, b, c := pod("10.244.1.2"), pod("10.244.1.3"), pod("10.244.2.2")
	all, pair, slow := Fault{Verb: Cut, Of: a}, Fault{Verb: Cut, Of: a, From: &b}, Fault{Verb: Slow, Of: a}
	tests := []struct {
		name  string
		sides []Side
		want  []Fault
	}{
		{"all", nil, []Fault{all, pair, slow}},
		{"a side", []Side{a}, []Fault{all, pair, slow}},
		{"the other side", []Side{b}, []Fault{pair}},
		{"a pair", []Side{a, b}, []Fault{pair}},
		{"a pair the other way round", []Side{b, a}, []Fault{pair}},
		{"another pair", []Side{a, c}, nil},
		{"another side", []Side{c}, nil},
	}
	for _, test := range tests {
		got := slices.DeleteFunc([]Fault{all, pair, slow}, func(f Fault) bool { return !f.healedBy(test.sides) })
		equal := cmp.Comparer(func(a, b Fault) bool { return a.Verb == b.Verb && slices.EqualFunc(a.sides(), b.sides(), Side.same) })
		if diff := cmp.Diff(test.want, got, equal); diff != "" && len(test.want)+len(got) > 0 {
			t.Errorf("%s heals (-want +got):\n%s", test.name, diff)
		}
	}
}
