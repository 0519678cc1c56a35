package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// at is a number of milliseconds after the epoch.
func at(ms int) time.Time { return epoch.Add(time.Duration(ms) * time.Millisecond) }

func podObject(name string, ready, deleted bool) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}}
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}, {Type: corev1.PodReady, Status: status}}
	if deleted {
		p.DeletionTimestamp = &metav1.Time{Time: epoch}
	}
	return p
}

func slicesOf(ready map[string]*bool) map[string]*discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{}
	for name, r := range ready {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
			TargetRef:  &corev1.ObjectReference{Name: name},
			Conditions: discoveryv1.EndpointConditions{Ready: r},
		})
	}
	return map[string]*discoveryv1.EndpointSlice{"inventory-x": s}
}

func TestLifeOfAPod(t *testing.T) {
	h := newHistory()
	is := func(want int) func() bool {
		return func() bool { return settled(want)(h.pods) }
	}
	for _, step := range []struct {
		name    string
		do      func()
		settled func() bool
		want    bool
	}{
		{"nothing yet", func() { h.begin(scaleUp) }, is(0), true},
		{"it exists", func() { h.sawPod(at(0), podObject("a", false, false)) }, is(0), false},
		{"it is ready", func() { h.sawPod(at(10), podObject("a", true, false)) }, is(1), false},
		{"not ready in its slice", func() { h.sawSlices(at(11), slicesOf(map[string]*bool{"a": new(bool)})) }, is(1), false},
		{"in a slice, without a condition", func() { h.sawSlices(at(15), slicesOf(map[string]*bool{"a": nil})) }, is(1), false},
		{"it answers", func() { h.saw(sighting{Seen: "a", Began: at(16), Answered: at(18)}) }, is(1), true},
		{"one too few", func() {}, is(2), false},
		{"later news change nothing", func() { h.sawPod(at(99), podObject("a", true, false)) }, is(1), true},
		{"it is deleted", func() { h.begin(deletePod); h.sawPod(at(100), podObject("a", true, true)) }, is(1), false},
		{"it leaves the slice", func() { h.sawSlices(at(120), slicesOf(nil)) }, is(0), false},
		{"it is silent", func() { h.saw(sighting{Gone: "a", Began: at(119), Answered: at(121)}) }, is(0), true},
		{"a call fails", func() { h.saw(sighting{Failed: "no"}) }, is(0), true},
	} {
		step.do()
		if got := step.settled(); got != step.want {
			t.Errorf("%s: settled = %v, want %v", step.name, got, step.want)
		}
	}
	want := []latency{
		{scaleUp, "Ready condition seen", "ready in a slice", 1, 5, 5, 5},
		{scaleUp, "ready in a slice", "first call answered", 1, 3, 3, 3},
		{scaleUp, "Ready condition seen", "first call answered", 1, 8, 8, 8},
		{deletePod, "deletion seen", "not ready in any slice", 1, 20, 20, 20},
		{deletePod, "not ready in any slice", "last call made", 1, -1, -1, -1},
		{deletePod, "deletion seen", "last call made", 1, 19, 19, 19},
	}
	if diff := cmp.Diff(want, h.latencies()); diff != "" {
		t.Error(diff)
	}
	if len(h.failed) != 1 || changes(h.pods) != 2 {
		t.Errorf("%d failures, %d changes, want 1 and 2", len(h.failed), changes(h.pods))
	}
}

func TestWait(t *testing.T) {
	h := newHistory()
	never := func(map[string]*pod) bool { return false }
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.wait(ctx, never); !errors.Is(err, context.Canceled) {
		t.Errorf("wait = %v, want the context's end", err)
	}
	done := make(chan error)
	go func() { done <- h.wait(t.Context(), func(pods map[string]*pod) bool { return len(pods) == 1 }) }()
	h.sawPod(at(0), podObject("a", true, false))
	if err := <-done; err != nil {
		t.Errorf("wait = %v", err)
	}
	broken := errors.New("broken")
	go func() { done <- h.wait(t.Context(), never) }()
	h.fail(broken)
	if err := <-done; !errors.Is(err, broken) {
		t.Errorf("wait = %v, want %v", err, broken)
	}
}

func TestProberTellsOfComingAndGoing(t *testing.T) {
	var log bytes.Buffer
	p := newProber(nil, &log)
	p.saw("a", sighting{Began: at(1), Answered: at(3)})
	p.saw("a", sighting{Began: at(5), Answered: at(6)})
	p.saw("a", sighting{Began: at(4), Answered: at(7)}) // overtaken by the one before
	p.miss(at(1000))
	p.miss(at(1007))
	p.miss(at(2000))
	p.saw("a", sighting{Began: at(3000), Answered: at(3001)})
	var got []sighting
	if err := readSightings(&log, func(s sighting) { got = append(got, s) }); err != nil {
		t.Fatal(err)
	}
	want := []sighting{
		{Seen: "a", Began: at(1), Answered: at(3)},
		{Gone: "a", Began: at(5), Answered: at(6)},
		{Seen: "a", Began: at(3000), Answered: at(3001)},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestLogThatIsNone(t *testing.T) {
	if err := readSightings(strings.NewReader("panic: oh\n"), func(sighting) {}); err == nil {
		t.Error("readSightings took a panic for a sighting")
	}
}
