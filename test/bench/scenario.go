package main

import (
	"fmt"
	"regexp"

	"github.com/xinhari/xinhari/test/bench/internal/load"
)

// servers is how many a client spreads its calls over.
const servers = 3

// scenario is a load that all entries are put under.
type scenario struct {
	name string
	load load.Spec

	// foreign: own is a server only, and its client is bare's.
	foreign bool

	// awake: the processors are kept from sleeping meanwhile.
	awake bool
}

// scenarios returns those whose name only matches.
func scenarios(only *regexp.Regexp) []scenario {
	var chosen []scenario
	add := func(s scenario) {
		if only.MatchString(s.name) {
			chosen = append(chosen, s)
		}
	}
	for _, payload := range []struct {
		name string
		size int
	}{{"64B", 64}, {"4KiB", 4096}} {
		for _, n := range []int{1, 64} {
			add(scenario{name: fmt.Sprintf("unary/%s/%d", payload.name, n), load: load.Spec{Shape: load.Unary, Payload: payload.size, Concurrency: n}})
		}
	}
	add(scenario{name: "awake/64B/1", load: load.Spec{Shape: load.Unary, Payload: 64, Concurrency: 1}, awake: true})
	for _, n := range []int{1, 64} {
		add(scenario{name: fmt.Sprintf("stream/64B/%d", n), load: load.Spec{Shape: load.Stream, Payload: 64, Concurrency: n}})
	}
	for _, n := range []int{1, 64} {
		add(scenario{name: fmt.Sprintf("json/64B/%d", n), load: load.Spec{Shape: load.JSON, Payload: 64, Concurrency: n}})
	}
	for _, n := range []int{1, 64} {
		add(scenario{name: fmt.Sprintf("foreign/64B/%d", n), load: load.Spec{Shape: load.Unary, Payload: 64, Concurrency: n}, foreign: true})
	}
	add(scenario{name: "dial/64B/1", load: load.Spec{Shape: load.Dial, Payload: 64, Concurrency: 1}})
	return chosen
}

// entry is a competitor in each round: the programs of its two sides.
type entry struct {
	name   string
	server string
	client string
}

// The entries' names; bare and own are the programs' too.
const (
	bare  = "bare"
	again = "bare again"
	own   = "own"
)

// entries are the competitors. Bare enters twice: what sets it apart from
// itself is noise.
func (s scenario) entries() []entry {
	client := own
	if s.foreign {
		client = bare
	}
	return []entry{{bare, bare, bare}, {own, own, client}, {again, bare, bare}}
}

// order returns who goes first in a round: each in turn, so that none has a
// place of its own.
func order(entries []entry, round int) []entry {
	n := len(entries)
	ordered := make([]entry, n)
	for i := range ordered {
		ordered[i] = entries[(i+round)%n]
	}
	return ordered
}
