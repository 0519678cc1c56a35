package certmanager

import "time"

const (
	// patience is how long something may be wrong before people are told: issuing takes cert-manager some seconds.
	patience = 10 * time.Second
	// tellAgain is how often they are told what is still wrong: events are gone after an hour.
	tellAgain = 30 * time.Minute
)

// herald knows what people were told, and when they are to be told more.
type herald struct {
	reason string // the reason of the outcomes
	since  time.Time
	last   outcome // that people were told
	at     time.Time
}

// due says whether people are to be told an outcome now. It is asked with each outcome.
func (h *herald) due(is outcome, now time.Time) bool {
	if is.reason != h.reason {
		h.reason, h.since = is.reason, now
	}
	switch {
	case is.ready():
		return is != h.last
	case now.Sub(h.since) < patience:
		return false
	}
	return is != h.last || now.Sub(h.at) >= tellAgain
}

func (h *herald) told(is outcome, now time.Time) { h.last, h.at = is, now }
