package main

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/xinhari/xinhari/test/bench/internal/stats"
)

// pod is what was seen of one pod of inventory, and when; zero is not (yet).
type pod struct {
	addedBy, removedBy string // what was done when it came and went

	ready    time.Time // its Ready condition was true
	inSlice  time.Time // an EndpointSlice had it as ready
	answered time.Time // its first call was answered

	deleted    time.Time // it was marked for deletion
	outOfSlice time.Time // no EndpointSlice had it as ready any more
	lastCall   time.Time // the last call that it answered was made
}

// history collects what the watches and the prober see. Each moment is that
// of this process's or the prober's receiving it: one machine, one clock.
type history struct {
	mu      sync.Mutex
	doing   string // what is being done now
	pods    map[string]*pod
	failed  []sighting
	err     error         // what ended a watch
	changed chan struct{} // closed at each change
}

func newHistory() *history {
	return &history{pods: map[string]*pod{}, changed: make(chan struct{})}
}

// begin says what the changes that follow are caused by.
func (h *history) begin(doing string) {
	h.note(func() { h.doing = doing })
}

// note makes a change and tells those who wait.
func (h *history) note(change func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change()
	close(h.changed)
	h.changed = make(chan struct{})
}

// pod returns the pod of that name. The caller holds mu.
func (h *history) pod(name string) *pod {
	p, ok := h.pods[name]
	if !ok {
		p = &pod{addedBy: h.doing}
		h.pods[name] = p
	}
	return p
}

// once sets a moment that has not been set.
func once(moment *time.Time, now time.Time) {
	if moment.IsZero() {
		*moment = now
	}
}

// sawPod takes a pod from the watch.
func (h *history) sawPod(now time.Time, object *corev1.Pod) {
	h.note(func() {
		p := h.pod(object.Name)
		for _, c := range object.Status.Conditions {
			if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
				once(&p.ready, now)
			}
		}
		if object.DeletionTimestamp != nil && p.deleted.IsZero() {
			p.deleted, p.removedBy = now, h.doing
		}
	})
}

// sawSlices takes all EndpointSlices of the service, as the watch has them.
func (h *history) sawSlices(now time.Time, slices map[string]*discoveryv1.EndpointSlice) {
	ready := map[string]bool{}
	for _, s := range slices {
		for _, e := range s.Endpoints {
			if e.TargetRef != nil && (e.Conditions.Ready == nil || *e.Conditions.Ready) {
				ready[e.TargetRef.Name] = true
			}
		}
	}
	h.note(func() {
		for name := range ready {
			once(&h.pod(name).inSlice, now)
		}
		for name, p := range h.pods {
			if !p.inSlice.IsZero() && !ready[name] {
				once(&p.outOfSlice, now)
			}
		}
	})
}

// saw takes what the prober printed.
func (h *history) saw(s sighting) {
	h.note(func() {
		switch {
		case s.Seen != "":
			once(&h.pod(s.Seen).answered, s.Answered)
		case s.Gone != "":
			h.pod(s.Gone).lastCall = s.Began
		case s.Failed != "":
			h.failed = append(h.failed, s)
		}
	})
}

// fail ends all waiting.
func (h *history) fail(err error) {
	h.note(func() { h.err = err })
}

// wait returns when enough says so of the pods.
func (h *history) wait(ctx context.Context, enough func(map[string]*pod) bool) error {
	for {
		h.mu.Lock()
		done, err, changed := enough(h.pods), h.err, h.changed
		h.mu.Unlock()
		if done || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// used returns how many pods are called: those that answered a call and of
// which the prober has not said that they are gone.
func used(pods map[string]*pod) int {
	n := 0
	for _, p := range pods {
		if !p.answered.IsZero() && p.lastCall.IsZero() {
			n++
		}
	}
	return n
}

// settled reports whether n pods are called, and nothing is half seen.
func settled(n int) func(map[string]*pod) bool {
	return func(pods map[string]*pod) bool {
		for _, p := range pods {
			came := !p.ready.IsZero() && !p.inSlice.IsZero() && !p.answered.IsZero()
			leaving := !p.deleted.IsZero() || !p.outOfSlice.IsZero()
			left := !p.deleted.IsZero() && !p.outOfSlice.IsZero() && !p.lastCall.IsZero()
			if !came || leaving && !left {
				return false
			}
		}
		return used(pods) == n
	}
}

// latency is how long after one moment another was, over several pods, in ms.
type latency struct {
	Change string  `json:"change"`
	From   string  `json:"from"`
	To     string  `json:"to"`
	Pods   int     `json:"pods"`
	Median float64 `json:"medianMs"`
	Min    float64 `json:"minMs"`
	Max    float64 `json:"maxMs"`
}

// latencies sums up what was done.
func (h *history) latencies() []latency {
	h.mu.Lock()
	defer h.mu.Unlock()
	moments := []struct {
		by       func(*pod) string
		from, to string
		span     func(*pod) (from, to time.Time)
	}{
		{addedBy, "Ready condition seen", "ready in a slice", func(p *pod) (time.Time, time.Time) { return p.ready, p.inSlice }},
		{addedBy, "ready in a slice", "first call answered", func(p *pod) (time.Time, time.Time) { return p.inSlice, p.answered }},
		{addedBy, "Ready condition seen", "first call answered", func(p *pod) (time.Time, time.Time) { return p.ready, p.answered }},
		{removedBy, "deletion seen", "not ready in any slice", func(p *pod) (time.Time, time.Time) { return p.deleted, p.outOfSlice }},
		{removedBy, "not ready in any slice", "last call made", func(p *pod) (time.Time, time.Time) { return p.outOfSlice, p.lastCall }},
		{removedBy, "deletion seen", "last call made", func(p *pod) (time.Time, time.Time) { return p.deleted, p.lastCall }},
	}
	var all []latency
	for _, doing := range actions() {
		for _, m := range moments {
			var ms []float64
			for p := range maps.Values(h.pods) {
				if from, to := m.span(p); m.by(p) == doing && !from.IsZero() && !to.IsZero() {
					ms = append(ms, float64(to.Sub(from).Microseconds())/1e3)
				}
			}
			if len(ms) > 0 {
				all = append(all, latency{doing, m.from, m.to, len(ms), stats.Median(ms), slices.Min(ms), slices.Max(ms)})
			}
		}
	}
	return all
}

func addedBy(p *pod) string   { return p.addedBy }
func removedBy(p *pod) string { return p.removedBy }
