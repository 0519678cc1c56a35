package trust

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

const (
	// shards is how many ConfigMaps hold the records: one holds some 5000.
	shards = 16
	// perPod is how many holders of one pod are waited for: the newest. A pod that asks again and again under other names
	// harms itself alone.
	perPod = 32
	// disowned is the bundle of a holder whose acknowledgement is void.
	disowned = "-"
	// tidy is how often records that ran out are removed where nothing else is written.
	tidy = time.Hour
)

// shardOf returns the number of the ConfigMap that holds a record.
func shardOf(key string) int { return int(sha256.Sum256([]byte(key))[0] >> 4) }

// shardName returns the name of a ConfigMap of records.
func shardName(i int) string { return fmt.Sprintf("xinhari-leaves-%x", i) }

// ledger holds the holders, and which of them are yet to be recorded. It is safe for concurrent use.
type ledger struct {
	mu      sync.Mutex
	holders map[string]*Holder
	pods    map[string][]string // keys of holders by UID of the pod
	dirty   [shards]bool
	tidied  time.Time
	folded  map[types.UID]int // requests that are in here, by the flush that is to record them
	flushes int               // how many flushes were done
}

func newLedger() *ledger {
	return &ledger{holders: map[string]*Holder{}, pods: map[string][]string{}, folded: map[types.UID]int{}}
}

// restore takes up a record.
func (l *ledger) restore(h *Holder) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if known, ok := l.holders[h.key()]; !ok || h.replaces(known) {
		l.put(h)
	}
}

// knows says whether a request is in here.
func (l *ledger) knows(request types.UID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.folded[request]
	return ok
}

// fold takes up what a request tells, which is nothing where h is nil.
func (l *ledger) fold(request types.UID, h *Holder, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.folded[request] = l.flushes + 1
	if h == nil || !h.Ends.After(now) {
		return
	}
	if known, ok := l.holders[h.key()]; ok {
		if known.Version == h.Version {
			merged := known.merge(h)
			if len(merged.Roots) == len(known.Roots) {
				return
			}
			h = merged
		} else if !h.replaces(known) {
			return
		}
	}
	l.put(h)
	l.dirty[shardOf(h.key())] = true
	if keys := l.pods[h.UID]; len(keys) > perPod {
		oldest := slices.MinFunc(keys, func(a, b string) int { return l.holders[a].Issued.Compare(l.holders[b].Issued) })
		l.drop(oldest)
	}
}

func (l *ledger) put(h *Holder) {
	key := h.key()
	if _, ok := l.holders[key]; !ok {
		l.pods[h.UID] = append(l.pods[h.UID], key)
	}
	l.holders[key] = h
}

// drop removes a holder. The caller holds mu.
func (l *ledger) drop(key string) {
	h, ok := l.holders[key]
	if !ok {
		return
	}
	delete(l.holders, key)
	l.dirty[shardOf(key)] = true
	if left := slices.DeleteFunc(l.pods[h.UID], func(k string) bool { return k == key }); len(left) > 0 {
		l.pods[h.UID] = left
	} else {
		delete(l.pods, h.UID)
	}
}

// gone removes all holders of a pod.
func (l *ledger) gone(uid string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, key := range slices.Clone(l.pods[uid]) {
		l.drop(key)
	}
}

// disown has nobody have acknowledged a bundle that is about to be distributed: whoever did so when it was distributed before
// may since trust another.
func (l *ledger) disown(hash string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, h := range l.holders {
		if h.Bundle == hash {
			again := *h
			again.Bundle = disowned
			l.holders[key] = &again
			l.dirty[shardOf(key)] = true
		}
	}
}

// keep forgets requests other than those that there are.
func (l *ledger) keep(there map[types.UID]bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.folded, func(uid types.UID, _ int) bool { return !there[uid] })
}

// recorded says whether a request is in the records, so that it may go.
func (l *ledger) recorded(request types.UID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	flush, ok := l.folded[request]
	return ok && flush <= l.flushes
}

// all returns the holders, in no order. They never change.
func (l *ledger) all() []*Holder {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Values(l.holders))
}

// pages returns the records of the ConfigMaps that are to be written, without those that ran out.
func (l *ledger) pages(now time.Time) map[int]map[string]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tidied.IsZero() {
		l.tidied = now
	}
	idle := now.Sub(l.tidied) >= tidy
	if idle {
		l.tidied = now
	}
	for key, h := range l.holders {
		if shard := shardOf(key); !h.Ends.After(now) && (idle || l.dirty[shard]) {
			l.drop(key)
		}
	}
	pages := map[int]map[string]string{}
	for i, dirty := range l.dirty {
		if dirty {
			pages[i] = map[string]string{}
		}
	}
	for key, h := range l.holders {
		if page, ok := pages[shardOf(key)]; ok {
			page[key] = h.record()
		}
	}
	return pages
}

// written notes that a ConfigMap holds its page.
func (l *ledger) written(shard int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dirty[shard] = false
}

// flushed notes that all pages are written.
func (l *ledger) flushed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flushes++
}

func (l *ledger) needsFlush(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.tidied.IsZero() && now.Sub(l.tidied) >= tidy {
		return true
	}
	return slices.Contains(l.dirty[:], true) || slices.ContainsFunc(slices.Collect(maps.Values(l.folded)), func(f int) bool { return f > l.flushes })
}
