// Package conditions sets conditions so that they always agree with each other and with kstatus: Ready is always there,
// Reconciling and Stalled only while true and never together, and each carries the generation it speaks of.
package conditions

import (
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
)

// State is how far an object is.
type State int

// States of an object.
const (
	// Ready is an object that does what its spec asks for.
	Ready State = iota
	// Reconciling is an object that will become ready, or fail, without an edit.
	Reconciling
	// Stalled is an object that only an edit of it, or of another object, can mend.
	Stalled
)

// Outcome is what the conditions of an object say.
type Outcome struct {
	State   State
	Reason  string
	Message string
}

// Set returns conditions that say the outcome, with times of transition kept where a condition did not change.
func Set(old []metav1.Condition, generation int64, o Outcome) []metav1.Condition {
	set := slices.Clone(old)
	ready := metav1.ConditionFalse
	if o.State == Ready {
		ready = metav1.ConditionTrue
	}
	meta.SetStatusCondition(&set, metav1.Condition{
		Type: xinhariv1alpha1.ConditionReady, Status: ready, Reason: o.Reason, Message: o.Message, ObservedGeneration: generation,
	})
	set = While(set, generation, o.State == Reconciling, xinhariv1alpha1.ConditionReconciling, o.Reason, o.Message)
	return While(set, generation, o.State == Stalled, xinhariv1alpha1.ConditionStalled, o.Reason, o.Message)
}

// Of returns the outcome that conditions say, or false where they say none.
func Of(all []metav1.Condition) (Outcome, bool) {
	ready := meta.FindStatusCondition(all, xinhariv1alpha1.ConditionReady)
	if ready == nil {
		return Outcome{}, false
	}
	o := Outcome{State: Ready, Reason: ready.Reason, Message: ready.Message}
	switch {
	case meta.IsStatusConditionTrue(all, xinhariv1alpha1.ConditionStalled):
		o.State = Stalled
	case ready.Status != metav1.ConditionTrue:
		o.State = Reconciling
	}
	return o, true
}

// While returns conditions with one that is there only while it is true.
func While(old []metav1.Condition, generation int64, holds bool, kind, reason, message string) []metav1.Condition {
	set := slices.Clone(old)
	if !holds {
		meta.RemoveStatusCondition(&set, kind)
		return set
	}
	meta.SetStatusCondition(&set, metav1.Condition{
		Type: kind, Status: metav1.ConditionTrue, Reason: reason, Message: message, ObservedGeneration: generation,
	})
	return set
}
