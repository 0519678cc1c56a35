package main

import (
	"fmt"
	"regexp"

	"github.com/xinhari/xinhari/test/bench/internal/load"
	"github.com/xinhari/xinhari/test/bench/internal/subject"
)

// servers is how many a client spreads its calls over.
const servers = 3

// scenario is a load that all subjects are put under.
type scenario struct {
	name string
	load load.Spec
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
			add(scenario{fmt.Sprintf("unary/%s/%d", payload.name, n), load.Spec{Shape: load.Unary, Payload: payload.size, Concurrency: n}})
		}
	}
	for _, n := range []int{1, 64} {
		add(scenario{fmt.Sprintf("stream/64B/%d", n), load.Spec{Shape: load.Stream, Payload: 64, Concurrency: n}})
	}
	add(scenario{"dial/64B/1", load.Spec{Shape: load.Dial, Payload: 64, Concurrency: 1}})
	return chosen
}

// entry is a competitor in each round.
type entry struct {
	name string
	kind subject.Kind
}

const (
	bare  = "bare"
	again = "bare again"
	own   = "own"
)

// entries are the competitors. Bare enters twice: what sets it apart from
// itself is noise.
func entries() []entry {
	return []entry{{bare, subject.Bare}, {own, subject.Own}, {again, subject.Bare}}
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
