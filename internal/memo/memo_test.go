package memo_test

import (
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/xinhari/xinhari/internal/memo"
)

func TestTableMakesEachValueOnceUpToItsLimit(t *testing.T) {
	const limit, keys, users = 10, 15, 4
	var made atomic.Int64
	table := memo.New(limit, func(key string) *string {
		made.Add(1)
		return &key
	})
	var wg sync.WaitGroup
	var found atomic.Int64
	for range users {
		wg.Go(func() {
			for i := range keys {
				key := strconv.Itoa(i)
				v, ok := table.Get(key)
				if !ok {
					continue
				}
				found.Add(1)
				if again, _ := table.Get(key); *v != key || again != v {
					t.Errorf("key %s has the value %q, and then %q", key, *v, *again)
				}
			}
		})
	}
	wg.Wait()
	if made.Load() != limit || found.Load() != limit*users {
		t.Errorf("made %d values and found %d, want %d and %d", made.Load(), found.Load(), limit, limit*users)
	}
}

func BenchmarkGet(b *testing.B) {
	type key struct{ name, service string }
	table := memo.New(100, func(k key) *key { return &k })
	for i := range 50 {
		table.Get(key{"shop.v1.Inventory/Reserve" + strconv.Itoa(i), "inventory.shop"})
	}
	b.ReportAllocs()
	for b.Loop() {
		table.Get(key{"shop.v1.Inventory/Reserve7", "inventory.shop"})
	}
}
