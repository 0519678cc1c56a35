package stats

import "slices"

// Median returns the middle one of the values, or the mean of the middle two;
// 0 if there are none.
func Median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	switch {
	case n == 0:
		return 0
	case n%2 == 1:
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}

// Ratio says how one subject compares with another over several rounds.
type Ratio struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// Ratios divides what was measured in each round by what the base was in the
// same round, so that whatever slowed a whole round down cancels out. Rounds
// that only one of both has, and rounds in which the base is 0, do not count.
func Ratios(values, base []float64) Ratio {
	var ratios []float64
	for i := range min(len(values), len(base)) {
		if base[i] != 0 {
			ratios = append(ratios, values[i]/base[i])
		}
	}
	if len(ratios) == 0 {
		return Ratio{}
	}
	return Ratio{Median: Median(ratios), Min: slices.Min(ratios), Max: slices.Max(ratios)}
}
