package certmanager

import (
	"testing"
	"time"
)

func TestHerald(t *testing.T) {
	missing, pending := because(ReasonNoCertManager, "missing"), because(ReasonNotIssued, "pending")
	denied, issued, renewed := because(ReasonNotIssued, "denied"), because(ReasonIssued, "issued"), because(ReasonIssued, "renewed")
	var h herald
	for i, step := range []struct {
		is   outcome
		at   time.Duration
		want bool
	}{
		{missing, 0, false},
		{missing, patience - 1, false},
		{missing, patience, true},
		{missing, patience + time.Second, false},
		{pending, time.Minute, false}, // something new gets the same patience
		{pending, time.Minute + patience, true},
		{denied, time.Minute + patience, true}, // other words for what lasts
		{denied, time.Minute + patience + tellAgain - 1, false},
		{denied, time.Minute + patience + tellAgain, true},
		{issued, time.Hour, true},
		{issued, 100 * time.Hour, false},
		{renewed, 101 * time.Hour, true},
		{missing, 102 * time.Hour, false},
		{renewed, 102*time.Hour + time.Second, false}, // people heard of nothing wrong
	} {
		at := now.Add(step.at)
		if got := h.due(step.is, at); got != step.want {
			t.Errorf("step %d: %s is due: %t, want %t", i, step.is.message, got, step.want)
		}
		if step.want {
			h.told(step.is, at)
		}
	}
}
