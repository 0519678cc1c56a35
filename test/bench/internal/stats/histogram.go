// Package stats does the arithmetic of the benchmarks: quantiles of many
// durations in little memory, medians, and ratios of interleaved rounds.
package stats

import (
	"math"
	"math/bits"
	"time"
)

const (
	// subBits is the precision: a bucket is at most 1/2^subBits of its values
	// wide, 0.8 %.
	subBits = 7
	subs    = 1 << subBits

	// maxBits is that of the longest duration told apart, 2^36 ns = 69 s.
	maxBits = 36
	buckets = (maxBits - subBits + 1) * subs
)

// Histogram counts durations in buckets whose width grows with the duration.
// Recording allocates nothing. It is not safe for concurrent use: every
// goroutine has its own, and Add joins them.
type Histogram struct {
	counts [buckets]uint32
	total  uint64
}

// Record counts d. What is below 0 counts as 0, what is above 69 s as that.
func (h *Histogram) Record(d time.Duration) {
	h.counts[bucket(d)]++
	h.total++
}

// Add counts in all that other has counted.
func (h *Histogram) Add(other *Histogram) {
	for i, c := range other.counts {
		h.counts[i] += c
	}
	h.total += other.total
}

// Count returns how many durations were recorded.
func (h *Histogram) Count() uint64 { return h.total }

// Quantile returns the duration that the share q, 0 to 1, of all recorded
// ones do not exceed, by nearest rank, to within the precision of a bucket. It
// is 0 when nothing was recorded.
func (h *Histogram) Quantile(q float64) time.Duration {
	rank := max(1, uint64(math.Ceil(q*float64(h.total))))
	var below uint64
	for i, c := range h.counts {
		if below+uint64(c) >= rank {
			// The durations of a bucket are taken to be spread evenly in it.
			low, width := bounds(i)
			within := (float64(rank-below) - 0.5) / float64(c)
			return low + time.Duration(within*float64(width))
		}
		below += uint64(c)
	}
	return 0
}

// bucket returns the index of d's bucket: one for each duration below subs,
// and subs for each doubling from there on.
func bucket(d time.Duration) int {
	v := uint64(max(0, min(d, 1<<maxBits-1)))
	if v < subs {
		return int(v)
	}
	shift := bits.Len64(v) - subBits - 1
	return shift*subs + int(v>>shift)
}

// bounds returns the shortest duration of bucket i and the bucket's width.
func bounds(i int) (low, width time.Duration) {
	if i < subs {
		return time.Duration(i), 1
	}
	shift := i/subs - 1
	return time.Duration(i-shift*subs) << shift, 1 << shift
}
