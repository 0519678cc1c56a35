// Package memo remembers what was made for a key, for as many keys as it was
// told and no more. Looking up costs no lock and no allocation.
package memo

import (
	"maps"
	"sync"
	"sync/atomic"
)

// Table holds values by key; make it with New. It is safe for concurrent use.
type Table[K comparable, V any] struct {
	limit int
	value func(K) V
	known atomic.Pointer[map[K]V] // never changed, but replaced

	mu sync.Mutex // held to replace known
}

// New returns an empty table of at most limit keys, whose values value makes.
func New[K comparable, V any](limit int, value func(K) V) *Table[K, V] {
	t := &Table[K, V]{limit: limit, value: value}
	t.known.Store(&map[K]V{})
	return t
}

// Get returns the value of key, which is made at the first call, or false: the
// table is full of others.
func (t *Table[K, V]) Get(key K) (V, bool) {
	known := *t.known.Load()
	if v, ok := known[key]; ok || len(known) >= t.limit {
		return v, ok
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	known = *t.known.Load()
	if v, ok := known[key]; ok || len(known) >= t.limit {
		return v, ok
	}
	next := make(map[K]V, len(known)+1)
	maps.Copy(next, known)
	v := t.value(key)
	next[key] = v
	t.known.Store(&next)
	return v, true
}
