package pod

import "time"

// Backoff is the time between restarts of a container, as Kubernetes has it:
// at once, then 10 s, doubled each time up to 5 min, and from the start again
// after 10 min of running. The zero value is ready for use.
type Backoff struct{ next time.Duration }

const (
	firstBackoff  = 10 * time.Second
	maxBackoff    = 5 * time.Minute
	backoffResets = 10 * time.Minute
)

// After returns how long to wait after a run of the given length.
func (b *Backoff) After(ran time.Duration) time.Duration {
	if ran >= backoffResets {
		b.next = 0
	}
	wait := b.next
	b.next = min(max(2*b.next, firstBackoff), maxBackoff)
	return wait
}
