package kubesource

import (
	"math/rand/v2"
	"time"
)

const (
	firstLook  = 20 * time.Millisecond // an idle operator signs in about that time
	growth     = 1.5
	slowest    = 2 * time.Second
	mostOfTime = 3 // at most one part in so many of the time is spent asking
)

// pace says when to look at a request again: soon at first, later seldom, and
// the seldomer the longer the API server takes to answer, so that a thousand
// pods that start at once do not keep it from its work. The zero pace is new.
type pace struct{ last time.Duration }

// next returns how long to wait, after a look that took so long.
func (p *pace) next(took time.Duration) time.Duration {
	longer := max(firstLook, time.Duration(float64(p.last)*growth), (mostOfTime-1)*took)
	p.last = min(longer, slowest)
	return time.Duration(float64(p.last) * (0.8 + 0.4*rand.Float64()))
}
