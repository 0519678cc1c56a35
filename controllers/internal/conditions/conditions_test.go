package conditions

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestSet(t *testing.T) {
	var set []metav1.Condition
	for generation, step := range []struct {
		state State
		want  []string
	}{
		{Reconciling, []string{"Ready=False", "Reconciling=True"}},
		{Stalled, []string{"Ready=False", "Stalled=True"}},
		{Ready, []string{"Ready=True"}},
		{Reconciling, []string{"Ready=False", "Reconciling=True"}},
		{Ready, []string{"Ready=True"}},
	} {
		before := slices.Clone(set)
		old := set
		set = Set(set, int64(generation), Outcome{State: step.state, Reason: "Because", Message: "because"})
		if diff := cmp.Diff(before, old); diff != "" {
			t.Errorf("step %d: Set changed what it was given (-before +after):\n%s", generation, diff)
		}
		var got []string
		for _, c := range set {
			got = append(got, fmt.Sprintf("%s=%s", c.Type, c.Status))
			if c.ObservedGeneration != int64(generation) {
				t.Errorf("step %d: %s speaks of generation %d", generation, c.Type, c.ObservedGeneration)
			}
		}
		slices.Sort(got)
		if diff := cmp.Diff(step.want, got); diff != "" {
			t.Errorf("step %d (-want +got):\n%s", generation, diff)
		}
	}
	again := Set(set, 4, Outcome{State: Ready, Reason: "Because", Message: "because"})
	if diff := cmp.Diff(set, again); diff != "" {
		t.Errorf("the same outcome changed something, if only a time (-was +is):\n%s", diff)
	}
}

// TestOfSaysWhatWasSet holds that an outcome is read back from the conditions that say it.
func TestOfSaysWhatWasSet(t *testing.T) {
	if o, said := Of(nil); said {
		t.Errorf("no conditions say %+v", o)
	}
	var all []metav1.Condition
	for _, want := range []Outcome{
		{State: Ready, Reason: "Ready", Message: "all is well"},
		{State: Stalled, Reason: "NotOwned", Message: "delete it"},
		{State: Reconciling, Reason: "Progressing", Message: "waiting"},
	} {
		all = Set(all, 1, want)
		if got, said := Of(all); !said || got != want {
			t.Errorf("conditions say %+v, want %+v", got, want)
		}
	}
}
