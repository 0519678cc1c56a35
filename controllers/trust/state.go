package trust

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// Phase is how far a rotation is.
type Phase string

// Phases, in their order.
const (
	// Stable is no rotation: the roots that are trusted are those of the issuer that signs.
	Stable Phase = "Stable"
	// Distributing waits until every workload trusts the roots of the next issuer as well.
	Distributing Phase = "Distributing"
	// Switching has the next issuer become the one that signs.
	Switching Phase = "Switching"
	// Retiring waits until no workload needs the roots of the issuer before.
	Retiring Phase = "Retiring"
)

// Types of conditions in the state.
const (
	// ConditionReady says whether certificates are signed, and whether the issuer that the installer wants can sign.
	ConditionReady = "Ready"
	// ConditionRotating says whether a rotation is going on, and what it waits for.
	ConditionRotating = "Rotating"
	// ConditionRequest is there while what was asked for by annotation could not be done.
	ConditionRequest = "Request"
)

// KeyState is the key of the state in the ConfigMap; the bundle stands beside it.
const KeyState = "state"

// State is what the state object says: for people, and of the phase what outlives a restart. What is trusted and what signs
// follow from the Secrets alone.
type State struct {
	Phase Phase       `json:"phase"`
	Since metav1.Time `json:"since"`
	// BundleHash names the bundle, as workloads name it when they acknowledge it.
	BundleHash string `json:"bundleHash"`
	// Signing is the issuer that signs.
	Signing Described `json:"signing,omitzero"`
	// Next is the issuer that a rotation is to.
	Next Described `json:"next,omitzero"`
	// Settled is since when nobody is waited for.
	Settled *metav1.Time `json:"settled,omitempty"`
	// Renew says that a new root is to be made.
	Renew bool `json:"renew,omitempty"`
	// Forced says that this phase waits for nobody.
	Forced     bool               `json:"forced,omitempty"`
	Conditions []metav1.Condition `json:"conditions"`
}

// Described is an issuer, for people and to know it again.
type Described struct {
	Subject string      `json:"subject"`
	ID      string      `json:"id"`    // first 16 digits of the issuer's ID
	Roots   []string    `json:"roots"` // names of its roots
	Ends    metav1.Time `json:"ends"`
}

// parseState reads a state. One that cannot be read is none: it follows from the Secrets again, but for what was forced.
func parseState(text string) (State, error) {
	var s State
	if text == "" {
		return s, nil
	}
	if err := yaml.UnmarshalStrict([]byte(text), &s); err != nil {
		return State{}, fmt.Errorf("key %s: %w", KeyState, err)
	}
	switch s.Phase {
	case Stable, Distributing, Switching, Retiring:
		return s, nil
	}
	return State{}, fmt.Errorf("key %s: there is no phase %q", KeyState, s.Phase)
}

func (s State) text() (string, error) {
	out, err := yaml.Marshal(s)
	return string(out), err
}

// enter begins a phase, unless it is the state's already.
func (s *State) enter(p Phase, now time.Time) {
	if s.Phase == p {
		return
	}
	s.Phase, s.Since, s.Settled, s.Forced = p, metav1.NewTime(now.Truncate(time.Second)), nil, false
	meta.RemoveStatusCondition(&s.Conditions, ConditionRequest)
}

func (s *State) say(now time.Time, kind string, holds bool, reason, format string, args ...any) {
	status := metav1.ConditionFalse
	if holds {
		status = metav1.ConditionTrue
	}
	c := metav1.Condition{Type: kind, Status: status, Reason: reason, Message: fmt.Sprintf(format, args...)}
	if old := meta.FindStatusCondition(s.Conditions, kind); old == nil || old.Status != status {
		c.LastTransitionTime = metav1.NewTime(now.Truncate(time.Second))
	}
	meta.SetStatusCondition(&s.Conditions, c)
}
