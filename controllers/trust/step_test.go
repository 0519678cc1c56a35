package trust

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
)

// some returns an issuer of a name under a root of that name.
func some(name string, change ...func(*Issuer)) *Issuer {
	i := &Issuer{ID: "id of " + name, Subject: "CN=" + name, Roots: []string{name}, Began: began.Add(-time.Hour), Ends: began.Add(1000 * time.Hour)}
	for _, c := range change {
		c(i)
	}
	return i
}

func own(i *Issuer)    { i.Own = true }
func broken(i *Issuer) { i.Problem = "its key is lost" }
func aged(i *Issuer)   { i.Began = began.Add(-9000 * time.Hour) }

// inPhase returns a state of a phase that goes from issuer a to b and has been settled for a time.
func inPhase(p Phase, settled time.Duration, change ...func(*State)) State {
	s := State{Phase: p, Since: metav1.NewTime(began.Add(-time.Hour)), BundleHash: "hash", Next: Described{ID: "id of b"}}
	if settled > 0 {
		s.Settled = &metav1.Time{Time: began.Add(-settled)}
	}
	for _, c := range change {
		c(&s)
	}
	return s
}

func forced(s *State) { s.Forced = true }

func held(pod, bundle, root string, ends time.Duration) *Holder {
	return &Holder{Namespace: "shop", Pod: pod, Bundle: bundle, Roots: []string{root}, Ends: began.Add(ends)}
}

// TestStep holds what is done next, in every phase.
func TestStep(t *testing.T) {
	late, early := held("late-0", "other", "a", time.Hour), held("early-0", "hash", "a", time.Hour)
	renewed, ended := held("renewed-0", "hash", "b", time.Hour), held("ended-0", "other", "a", 0)
	for _, test := range []struct {
		name  string
		facts Facts
		want  Outcome // of the state the phase, and whether it is settled or forced
		says  []string
	}{
		{name: "nothing is there: a root is made", facts: Facts{MayMake: true}, want: Outcome{Action: Make}},
		{name: "nothing is there and the issuer is brought", facts: Facts{}, want: Outcome{State: State{Phase: Stable}},
			says: []string{"Ready=False NoIssuer", "put an issuer", "there is none"}},
		{name: "nothing signs yet", facts: Facts{Wanted: some("a")}, want: Outcome{Action: Sign}},
		{name: "the wanted issuer signs", facts: Facts{Wanted: some("a"), Signing: some("a")}, want: Outcome{State: State{Phase: Stable}, After: 799*time.Hour + 48*time.Minute},
			says: []string{"Ready=True Signing: CN=a signs", "Rotating=False Stable"}},

		{name: "another is wanted: its roots are to be trusted", facts: Facts{Wanted: some("b"), Signing: some("a"), State: inPhase(Stable, 0)},
			want: Outcome{Action: Trust, Next: []string{"b"}}},
		{name: "its roots are written: the state says so", facts: Facts{Wanted: some("b"), Signing: some("a"), Next: []string{"b"}, State: inPhase(Stable, 0)},
			want: Outcome{State: State{Phase: Distributing}, After: 5 * time.Second}},
		{name: "another one under the same root signs at once",
			facts: Facts{Wanted: some("b", func(i *Issuer) { i.Roots = []string{"a"} }), Signing: some("a"), State: inPhase(Stable, 0), Holders: []*Holder{late}},
			want:  Outcome{Action: Sign}},
		{name: "one under one of two roots signs at once, and the other root retires",
			facts: Facts{Wanted: some("b"), Signing: some("a", func(i *Issuer) { i.Roots = []string{"a", "b"} }), State: inPhase(Stable, 0)},
			want:  Outcome{Action: Sign, Retired: []string{"a"}}},
		{name: "some have not acknowledged", facts: Facts{Wanted: some("b"), Signing: some("a"), Next: []string{"b"}, State: inPhase(Distributing, time.Hour), Holders: []*Holder{late, early, ended}},
			want: Outcome{State: State{Phase: Distributing}, Waiting: []*Holder{late}, After: 5 * time.Second},
			says: []string{"Rotating=True Distributing: waits for 1 of 2 workloads to trust CN=b: shop/late-0; at the latest until 2026-05-04T04:02:01Z"}},
		{name: "all have acknowledged or ran out: it settles", facts: Facts{Wanted: some("b"), Signing: some("a"), Next: []string{"b"}, State: inPhase(Distributing, 0), Holders: []*Holder{early, ended}},
			want: Outcome{State: State{Phase: Distributing, Settled: &metav1.Time{}}, After: 30 * time.Second}, says: []string{"nobody is waited for"}},
		{name: "it is settling", facts: Facts{Wanted: some("b"), Signing: some("a"), Next: []string{"b"}, State: inPhase(Distributing, 29*time.Second), Holders: []*Holder{early}},
			want: Outcome{State: State{Phase: Distributing, Settled: &metav1.Time{}}, After: time.Second}},
		{name: "it is settled", facts: Facts{Wanted: some("b"), Signing: some("a"), Next: []string{"b"}, State: inPhase(Distributing, 30*time.Second), Holders: []*Holder{early}},
			want: Outcome{State: State{Phase: Switching}, After: time.Second}},
		{name: "it settled in the future: the clock was put back", facts: Facts{Wanted: some("b"), Signing: some("a"), Next: []string{"b"},
			State: inPhase(Distributing, 0, func(s *State) { s.Settled = &metav1.Time{Time: began.Add(9 * time.Hour)} }), Holders: []*Holder{early}},
			want: Outcome{State: State{Phase: Distributing, Settled: &metav1.Time{}}, After: 30 * time.Second}},
		{name: "the bundle is another than the state says: nobody acknowledged it",
			facts: Facts{Wanted: some("b"), Signing: some("a"), Next: []string{"b"}, State: inPhase(Distributing, time.Hour, func(s *State) { s.BundleHash = "other" }), Holders: []*Holder{early}},
			want:  Outcome{State: State{Phase: Distributing}, Anew: true, After: 5 * time.Second}},
		{name: "another one is wanted meanwhile", facts: Facts{Wanted: some("c"), Signing: some("a"), Next: []string{"b"}, State: inPhase(Distributing, time.Hour)},
			want: Outcome{Action: Trust, Next: []string{"c"}}},
		{name: "another one with the same root is wanted meanwhile",
			facts: Facts{Wanted: some("c", func(i *Issuer) { i.Roots = []string{"b"} }), Signing: some("a"), Next: []string{"b"}, State: inPhase(Switching, 0)},
			want:  Outcome{State: State{Phase: Distributing}, After: 5 * time.Second}},
		{name: "the one that signs is wanted again", facts: Facts{Wanted: some("a"), Signing: some("a"), Next: []string{"b"}, Retired: []string{"z"}, State: inPhase(Distributing, 0)},
			want: Outcome{Action: Trust, Retired: []string{"z"}}},
		{name: "the wanted one breaks while it is distributed", facts: Facts{Wanted: some("b", broken), Signing: some("a"), Next: []string{"b"}, State: inPhase(Distributing, time.Hour)},
			want: Outcome{State: State{Phase: Distributing}}, says: []string{"Ready=False WantedIssuerUnusable", "its key is lost", "CN=a goes on signing", "waits for an issuer in Secret"}},
		{name: "force goes on", facts: Facts{Wanted: some("b"), Signing: some("a"), Next: []string{"b"}, State: inPhase(Distributing, 0), Holders: []*Holder{late}, Request: xinhariv1alpha1.RotationForce},
			want: Outcome{State: State{Phase: Switching}, Acted: true, After: time.Second}},
		{name: "force waits until there is something to force", facts: Facts{Wanted: some("b"), Signing: some("a"), Next: []string{"b"}, State: inPhase(Stable, 0), Request: xinhariv1alpha1.RotationForce},
			want: Outcome{State: State{Phase: Distributing}, After: 5 * time.Second}},
		{name: "force goes on to no broken one", facts: Facts{Wanted: some("b", broken), Signing: some("a"), Next: []string{"b"}, State: inPhase(Distributing, 0), Request: xinhariv1alpha1.RotationForce},
			want: Outcome{State: State{Phase: Distributing}, Acted: true}, says: []string{"Request=False NothingToForce"}},
		{name: "an issuer that is about to end hurries",
			facts: Facts{Wanted: some("b"), Signing: some("a", aged, func(i *Issuer) { i.Ends = began.Add(hurry) }), Next: []string{"b"}, State: inPhase(Distributing, 0), Holders: []*Holder{late}},
			want:  Outcome{State: State{Phase: Switching}, After: time.Second}},
		{name: "an issuer of a short life hurries later",
			facts: Facts{Wanted: some("b"), Signing: some("a", func(i *Issuer) { i.Began, i.Ends = began.Add(-50*time.Minute), began.Add(hurry) }), Next: []string{"b"}, State: inPhase(Distributing, 0), Holders: []*Holder{late}},
			want:  Outcome{State: State{Phase: Distributing}, Waiting: []*Holder{late}, After: 5 * time.Second}},
		{name: "who acknowledged is waited for no more: it signs", facts: Facts{Wanted: some("b"), Signing: some("a"), Next: []string{"b"}, State: inPhase(Switching, 0), Holders: []*Holder{late}},
			want: Outcome{Action: Sign, Retired: []string{"a"}}},
		{name: "force where it goes on anyway is not for the phase after", facts: Facts{Wanted: some("b"), Signing: some("a"), Next: []string{"b"}, State: inPhase(Switching, 0), Request: xinhariv1alpha1.RotationForce},
			want: Outcome{State: State{Phase: Switching}, Acted: true}},

		{name: "it signs: the old root retires", facts: Facts{Wanted: some("b"), Signing: some("b"), Retired: []string{"a"}, State: inPhase(Switching, 0), Holders: []*Holder{early, renewed}},
			want: Outcome{State: State{Phase: Retiring}, Waiting: []*Holder{early}, After: 5 * time.Second},
			says: []string{"waits for 1 of 2 workloads to be signed by CN=b: shop/early-0"}},
		{name: "all are signed by it: it settles", facts: Facts{Wanted: some("b"), Signing: some("b"), Retired: []string{"a"}, State: inPhase(Retiring, 0), Holders: []*Holder{renewed, ended}},
			want: Outcome{State: State{Phase: Retiring, Settled: &metav1.Time{}}, After: 30 * time.Second}},
		{name: "it is settled: the old root goes", facts: Facts{Wanted: some("b"), Signing: some("b"), Retired: []string{"a"}, State: inPhase(Retiring, time.Minute), Holders: []*Holder{renewed}},
			want: Outcome{Action: Trust}},
		{name: "someone is seen who needs the old root", facts: Facts{Wanted: some("b"), Signing: some("b"), Retired: []string{"a"}, State: inPhase(Retiring, time.Minute), Holders: []*Holder{early}},
			want: Outcome{State: State{Phase: Retiring}, Waiting: []*Holder{early}, After: 5 * time.Second}},
		{name: "force is noted before the root goes", facts: Facts{Wanted: some("b"), Signing: some("b"), Retired: []string{"a"}, State: inPhase(Retiring, 0), Holders: []*Holder{early}, Request: xinhariv1alpha1.RotationForce},
			want: Outcome{State: State{Phase: Retiring, Forced: true}, Acted: true, Waiting: []*Holder{early}}},
		{name: "what was forced goes on", facts: Facts{Wanted: some("b"), Signing: some("b"), Retired: []string{"a"}, State: inPhase(Retiring, 0, forced), Holders: []*Holder{early}},
			want: Outcome{Action: Trust}},
		{name: "the way back", facts: Facts{Wanted: some("a"), Signing: some("b"), Retired: []string{"a"}, State: inPhase(Retiring, 0)},
			want: Outcome{Action: Trust, Next: []string{"a"}, Retired: []string{"a"}}},
		{name: "a wanted one that breaks stops no root from retiring", facts: Facts{Wanted: some("b", broken), Signing: some("b"), Retired: []string{"a"}, State: inPhase(Retiring, time.Minute)},
			want: Outcome{Action: Trust}},
		{name: "the old root went: it is over", facts: Facts{Wanted: some("b"), Signing: some("b"), State: inPhase(Retiring, time.Minute, forced)},
			want: Outcome{State: State{Phase: Stable}, After: 799*time.Hour + 48*time.Minute}},

		{name: "start has a root made, once it is noted", facts: Facts{Wanted: some("a", own), Signing: some("a"), State: inPhase(Stable, 0), Request: xinhariv1alpha1.RotationStart},
			want: Outcome{State: State{Phase: Stable, Renew: true}, Acted: true, After: 799*time.Hour + 48*time.Minute}},
		{name: "what is noted is made", facts: Facts{Wanted: some("a", own), Signing: some("a"), State: inPhase(Stable, 0, func(s *State) { s.Renew = true })},
			want: Outcome{Action: Make}},
		{name: "what was made is not made again", facts: Facts{Wanted: some("b", own), Signing: some("a"), Next: []string{"b"}, State: inPhase(Stable, 0, func(s *State) { s.Renew = true })},
			want: Outcome{State: State{Phase: Distributing}, After: 5 * time.Second}},
		{name: "start replaces nothing that was brought", facts: Facts{Wanted: some("a"), Signing: some("a"), State: inPhase(Stable, 0), Request: xinhariv1alpha1.RotationStart},
			want: Outcome{State: State{Phase: Stable}, Acted: true, After: 799*time.Hour + 48*time.Minute}, says: []string{"Request=False IssuerIsBrought", "put the new one into Secret"}},
		{name: "an own root at four fifths of its life", facts: Facts{Wanted: some("a", own, aged), Signing: some("a"), State: inPhase(Stable, 0)}, want: Outcome{Action: Make}},
		{name: "one that was brought", facts: Facts{Wanted: some("a", aged), Signing: some("a"), State: inPhase(Stable, 0)},
			want: Outcome{State: State{Phase: Stable}}, says: []string{"Ready=True RotationDue"}},
		{name: "an own root that ended", facts: Facts{Wanted: some("a", own, broken, func(i *Issuer) { i.Ends = began }), Signing: some("a", broken)}, want: Outcome{Action: Make}},
		{name: "what is asked for is unknown, and stays to be seen", facts: Facts{Wanted: some("a"), Signing: some("a"), State: inPhase(Stable, 0), Request: "restart"},
			want: Outcome{State: State{Phase: Stable}, After: 799*time.Hour + 48*time.Minute}, says: []string{`Request=False UnknownRequest: xinhari.com/rotation="restart" is none of start`}},

		{name: "what signs is lost: the wanted one signs, and all roots stay", facts: Facts{Wanted: some("b"), Known: []string{"a", "b", "z"}, State: inPhase(Distributing, 0)},
			want: Outcome{Action: Sign, Retired: []string{"a", "z"}}},
		{name: "what signs has ended: so it is", facts: Facts{Wanted: some("b"), Signing: some("a", broken), Next: []string{"b"}, State: inPhase(Distributing, 0)},
			want: Outcome{Action: Sign, Retired: []string{"a"}}},
		{name: "a list of roots is damaged: all that were trusted stay", facts: Facts{Wanted: some("b"), Signing: some("b"), Known: []string{"a", "b"}, Damaged: true, State: inPhase(Retiring, time.Minute)},
			want: Outcome{Action: Trust, Retired: []string{"a"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := test.facts
			f.Now, f.Settle, f.Secret, f.Hash = began, 30*time.Second, "xinhari-system/xinhari-ca", "hash"
			got := Step(f)
			var said []string
			for _, c := range got.State.Conditions {
				said = append(said, c.Type+"="+string(c.Status)+" "+c.Reason+": "+c.Message)
			}
			for _, want := range test.says {
				if !strings.Contains(strings.Join(said, "\n"), want) {
					t.Errorf("it says %q, want %q", said, want)
				}
			}
			if got.Action == Rest && meta.FindStatusCondition(got.State.Conditions, ConditionReady) == nil {
				t.Error("the state does not say whether it is ready")
			}
			brief := State{Phase: got.State.Phase, Forced: got.State.Forced, Renew: got.State.Renew}
			if got.State.Settled != nil {
				brief.Settled = &metav1.Time{}
			}
			got.State = brief
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("next (-want +got):\n%s", diff)
			}
		})
	}
}

func TestStateIsReadAsItWasWritten(t *testing.T) {
	c := newCluster()
	c.request = xinhariv1alpha1.RotationStart
	c.settleDown()
	text, err := c.state.text()
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseState(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c.state, got); diff != "" {
		t.Errorf("(-written +read):\n%s", diff)
	}
	for _, bad := range []string{"phase: Nowhere", "phase: [", "fase: Stable", "{}"} {
		if _, err := parseState(bad); err == nil {
			t.Errorf("%q is a state", bad)
		}
	}
}
