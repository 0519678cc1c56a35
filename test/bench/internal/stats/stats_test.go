package stats

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestQuantileIsWithinABucketOfTheExactOne(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct {
		name string
		next func() time.Duration
	}{
		{"one value", func() time.Duration { return 123456 }},
		{"tiny", func() time.Duration { return time.Duration(random.IntN(100)) }},
		{"uniform", func() time.Duration { return time.Duration(random.Int64N(int64(time.Millisecond))) }},
		{"long tail", func() time.Duration { return time.Duration(50e3 * math.Exp(2*random.NormFloat64())) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			var parts [3]Histogram
			var all []time.Duration
			for i := range 10000 {
				d := c.next()
				parts[i%3].Record(d)
				all = append(all, d)
			}
			var h Histogram
			for i := range parts {
				h.Add(&parts[i])
			}
			if h.Count() != uint64(len(all)) {
				t.Fatalf("Count() = %d, want %d", h.Count(), len(all))
			}
			slices.Sort(all)
			for _, q := range []float64{0, 0.01, 0.5, 0.99, 0.999, 1} {
				exact := all[max(0, int(math.Ceil(q*float64(len(all))))-1)]
				got := h.Quantile(q)
				if d := (got - exact).Abs(); float64(d) > float64(exact)/subs+1 {
					t.Errorf("Quantile(%v) = %v, exactly %v", q, got, exact)
				}
			}
		})
	}
}

func TestBucketsMeet(t *testing.T) {
	end := time.Duration(0)
	for i := range buckets {
		low, width := bounds(i)
		if low != end {
			t.Fatalf("bucket %d begins at %d, the one before ends at %d", i, low, end)
		}
		end = low + width
		if bucket(low) != i || bucket(end-1) != i {
			t.Fatalf("bucket %d holds %d to %d, which go to %d and %d", i, low, end-1, bucket(low), bucket(end-1))
		}
	}
	if bucket(-1) != 0 || bucket(time.Hour) != buckets-1 {
		t.Errorf("out of range: %d and %d, want the first and the last bucket", bucket(-1), bucket(time.Hour))
	}
}

func TestQuantileOfNothing(t *testing.T) {
	if got := new(Histogram).Quantile(0.5); got != 0 {
		t.Errorf("Quantile = %v, want 0", got)
	}
}

func TestRecordAllocatesNothing(t *testing.T) {
	var h Histogram
	if n := testing.AllocsPerRun(100, func() { h.Record(time.Millisecond) }); n != 0 {
		t.Errorf("Record allocates %v times", n)
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		name   string
		values []float64
		want   float64
	}{
		{"none", nil, 0},
		{"one", []float64{7}, 7},
		{"odd, unsorted", []float64{9, 1, 5}, 5},
		{"even", []float64{4, 1, 3, 100}, 3.5},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := slices.Clone(c.values)
			if got := Median(c.values); got != c.want {
				t.Errorf("Median(%v) = %v, want %v", c.values, got, c.want)
			}
			if diff := cmp.Diff(before, c.values); diff != "" {
				t.Errorf("the values were changed: %s", diff)
			}
		})
	}
}

func TestRatios(t *testing.T) {
	for _, c := range []struct {
		name         string
		values, base []float64
		want         Ratio
	}{
		{"none", nil, nil, Ratio{}},
		{"a slow round cancels out", []float64{11, 220, 11}, []float64{10, 200, 10}, Ratio{1.1, 1.1, 1.1}},
		{"spread", []float64{1, 2, 3}, []float64{2, 2, 2}, Ratio{1, 0.5, 1.5}},
		{"a round that is not over", []float64{4}, []float64{2, 9}, Ratio{2, 2, 2}},
		{"a base of zero", []float64{4, 6}, []float64{0, 2}, Ratio{3, 3, 3}},
	} {
		t.Run(c.name, func(t *testing.T) {
			near := cmp.Comparer(func(a, b float64) bool { return math.Abs(a-b) < 1e-9 })
			if diff := cmp.Diff(c.want, Ratios(c.values, c.base), near); diff != "" {
				t.Error(diff)
			}
		})
	}
}
