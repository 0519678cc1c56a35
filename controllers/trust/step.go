package trust

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
	"github.com/xinhari/xinhari/controllers/signer/issuer"
)

// Reasons of conditions and events, beside the phases.
const (
	reasonSigning       = "Signing"
	reasonNoIssuer      = "NoIssuer"
	reasonUnusable      = "WantedIssuerUnusable"
	reasonDue           = "RotationDue"
	reasonBrought       = "IssuerIsBrought"
	reasonRotating      = "AlreadyRotating"
	reasonNothingToDo   = "NothingToForce"
	reasonUnknownChoice = "UnknownRequest"
)

// hurry is how long before its end an issuer is replaced even by one that not everybody trusts yet: or a tenth of its life,
// if that is less. From then on leaves would live too short to be renewed in time.
const hurry = 10 * time.Minute

// Issuer is what a step knows of an issuer.
type Issuer struct {
	ID      string   // of its certificates and roots
	Subject string   // for people
	Roots   []string // names of its roots
	Began   time.Time
	Ends    time.Time
	Own     bool   // the operator made it, and may replace it
	Problem string // why it cannot sign; empty if it can
}

func (i *Issuer) usable() bool { return i != nil && i.Problem == "" }

// due is when four fifths of its life are over.
func (i *Issuer) due() time.Time { return i.Began.Add(i.Ends.Sub(i.Began) / 5 * 4) }

func (i *Issuer) describe() Described {
	return Described{Subject: i.Subject, ID: short(i.ID), Roots: i.Roots, Ends: metav1.NewTime(i.Ends)}
}

// Facts are all that a step depends on.
type Facts struct {
	Now     time.Time
	State   State         // as the state object says it; of phase "" where it says nothing
	Request string        // what is asked for by annotation
	Wanted  *Issuer       // the issuer that the installer wants; nil is none
	MayMake bool          // the operator may make the wanted issuer where there is none
	Secret  string        // name of the wanted issuer's Secret, for people
	Signing *Issuer       // the issuer that signs; nil is none
	Next    []string      // roots that are distributed for the next issuer, beside those of the one that signs
	Retired []string      // roots of issuers before
	Damaged bool          // Next or Retired could not be read whole
	Known   []string      // roots that the state object holds, for when the issuer that signs is lost
	Hash    string        // of the bundle: all roots of Signing, Next and Retired
	Holders []*Holder     // newest certificates of workloads
	Settle  time.Duration // how long nobody must be waited for
}

// Action is a write to a Secret.
type Action int

// Actions.
const (
	// Rest is none: the state object is to say what the outcome says.
	Rest Action = iota
	// Make makes a new root of the operator's own the wanted issuer.
	Make
	// Sign has the wanted issuer sign.
	Sign
	// Trust changes which roots are trusted beside those of the issuer that signs.
	Trust
)

// Outcome is what is to be done next: one write. After it, the facts are others.
type Outcome struct {
	Action  Action
	Next    []string      // with Sign and Trust
	Retired []string      // with Sign and Trust
	State   State         // with Rest
	Acted   bool          // the request was acted on: its annotation goes in the write of the state
	Anew    bool          // the state names another bundle: whoever acknowledged that one before may since trust another
	Waiting []*Holder     // who is waited for
	After   time.Duration // when to look again, without any event; zero is not
}

// Step says what to do next. It reads nothing but the facts and writes nothing, so whoever does what it says and dies at any
// point leaves facts from which the next one goes on.
//
// It holds that no issuer begins to sign before its roots are distributed and every workload's newest certificate was asked
// for with that bundle in hand, or has run out; and that no root ceases to be trusted under which an unexpired newest
// certificate stands. The exceptions are what a person forced, an issuer that is about to end, and a lost one.
func Step(f Facts) Outcome {
	s := f.State
	s.Conditions = slices.Clone(s.Conditions)
	d := &decision{Facts: f, next: s}
	if f.Wanted == nil && f.MayMake || f.Wanted != nil && f.Wanted.Own && !f.Now.Before(f.Wanted.Ends) {
		return Outcome{Action: Make}
	}
	if !f.Signing.usable() {
		return d.lost()
	}
	if f.Damaged { // whatever was trusted stays so until it is known not to be needed
		return Outcome{Action: Trust, Retired: minus(union(f.Next, f.Retired, f.Known), f.Signing.Roots)}
	}
	d.next.Signing = f.Signing.describe()
	d.ready()
	d.request()
	switch {
	case f.Wanted.usable() && f.Wanted.ID != f.Signing.ID:
		return d.move()
	case len(f.Next) > 0 && f.Wanted.usable(): // the wanted issuer is the one that signs again
		return Outcome{Action: Trust, Retired: f.Retired}
	case len(f.Next) > 0:
		return d.hold()
	case len(f.Retired) > 0:
		return d.retire()
	}
	return d.rest()
}

// decision is a step in the making.
type decision struct {
	Facts
	next  State // the state object after the step
	acted bool
}

// lost replaces an issuer that cannot sign at once: nobody gets a certificate meanwhile. All roots that were trusted stay
// so, for the certificates that there are.
func (d *decision) lost() Outcome {
	if d.Wanted.usable() {
		all := union(d.Known, d.Next, d.Retired)
		if d.Signing != nil {
			all = union(d.Signing.Roots, all)
		}
		return Outcome{Action: Sign, Retired: minus(all, d.Wanted.Roots)}
	}
	d.next.enter(Stable, d.Now)
	why := "there is none"
	if d.Wanted != nil {
		why = d.Wanted.Problem
	}
	d.next.say(d.Now, ConditionReady, false, reasonNoIssuer, "nothing is signed: put an issuer that can sign into Secret %s: %s", d.Secret, why)
	d.next.say(d.Now, ConditionRotating, false, string(Stable), "there is no issuer")
	return d.write(nil, 0)
}

// ready says whether all is well with the issuers.
func (d *decision) ready() {
	ends := d.Signing.Ends.UTC().Format(time.RFC3339)
	switch {
	case d.Wanted == nil:
		d.next.say(d.Now, ConditionReady, false, reasonUnusable, "there is no Secret %s with the issuer that is wanted; %s goes on signing until %s", d.Secret, d.Signing.Subject, ends)
	case !d.Wanted.usable():
		d.next.say(d.Now, ConditionReady, false, reasonUnusable, "the issuer in Secret %s cannot sign: %s; %s goes on signing until %s", d.Secret, d.Wanted.Problem, d.Signing.Subject, ends)
	case !d.Wanted.Own && !d.Now.Before(d.Wanted.due()) && d.Wanted.ID == d.Signing.ID:
		d.next.say(d.Now, ConditionReady, true, reasonDue, "%s signs; it ends at %s: put a new one into Secret %s before", d.Signing.Subject, ends, d.Secret)
	default:
		d.next.say(d.Now, ConditionReady, true, reasonSigning, "%s signs; it ends at %s", d.Signing.Subject, ends)
	}
}

// request takes up what is asked for by annotation, but for what move and retire do where they wait.
func (d *decision) request() {
	if d.Request == "" {
		if c := meta.FindStatusCondition(d.next.Conditions, ConditionRequest); c != nil && c.Reason == reasonUnknownChoice {
			meta.RemoveStatusCondition(&d.next.Conditions, ConditionRequest)
		}
		return
	}
	differs := d.Wanted.usable() && d.Wanted.ID != d.Signing.ID
	moving := differs || len(d.Next) > 0 || len(d.Retired) > 0
	switch d.Request {
	case xinhariv1alpha1.RotationStart:
		switch {
		case moving:
			d.refuse(reasonRotating, "a rotation is going on: wait for its end, or have it go on with %s=%s", xinhariv1alpha1.AnnotationRotation, xinhariv1alpha1.RotationForce)
		case d.Wanted == nil || !d.Wanted.Own:
			d.refuse(reasonBrought, "the issuer was brought: to rotate, put the new one into Secret %s", d.Secret)
		default:
			d.accept()
			d.next.Renew = true
		}
	case xinhariv1alpha1.RotationForce:
		if !moving || len(d.Next) > 0 && !differs {
			d.refuse(reasonNothingToDo, "there is no issuer to go on to: begin a rotation with %s=%s, or put an issuer that can sign into Secret %s",
				xinhariv1alpha1.AnnotationRotation, xinhariv1alpha1.RotationStart, d.Secret)
		}
	default:
		d.refuse(reasonUnknownChoice, "%s=%q is none of %s (begin a rotation) and %s (go on without waiting)",
			xinhariv1alpha1.AnnotationRotation, d.Request, xinhariv1alpha1.RotationStart, xinhariv1alpha1.RotationForce)
		d.acted = false // it stays to be seen and corrected
	}
}

func (d *decision) refuse(reason, format string, args ...any) {
	d.next.say(d.Now, ConditionRequest, false, reason, format, args...)
	d.acted = true
}

func (d *decision) accept() {
	meta.RemoveStatusCondition(&d.next.Conditions, ConditionRequest)
	d.acted = true
}

// move goes on to the wanted issuer.
func (d *decision) move() Outcome {
	w := d.Wanted
	d.next.Renew = false
	need := minus(w.Roots, d.Signing.Roots)
	sign := Outcome{Action: Sign, Retired: minus(union(d.Retired, d.Signing.Roots), w.Roots)}
	if len(need) == 0 {
		return sign
	}
	if !slices.Equal(need, d.Next) {
		return Outcome{Action: Trust, Next: need, Retired: d.Retired}
	}
	same := d.State.Next.ID == short(w.ID) && d.State.BundleHash == d.Hash
	if d.State.Phase == Switching && same {
		if d.Request != xinhariv1alpha1.RotationForce {
			return sign
		}
		d.accept() // it goes on already, and the phase after this one was not meant
		return d.write(nil, 0)
	}
	began := d.State.Phase == Distributing && same
	if !began {
		d.next.Phase = "" // begins anew where it was distributing another
	}
	d.next.enter(Distributing, d.Now)
	if began && d.Request == xinhariv1alpha1.RotationForce {
		d.accept()
		d.next.Forced = true
	}
	d.next.Next = w.describe()
	waiting := d.waiting(func(h *Holder) bool { return h.Bundle != short(d.Hash) })
	over, after := d.settle(waiting, began)
	life := d.Signing.Ends.Sub(d.Signing.Began)
	if end := d.Signing.Ends.Add(-min(hurry, life/10)); !d.Now.Before(end) && began {
		over = true
	}
	if over {
		d.next.enter(Switching, d.Now)
		d.next.say(d.Now, ConditionRotating, true, string(Switching), "%s signs from now on", w.Subject)
		return d.write(nil, time.Second)
	}
	d.progress(waiting, "to trust "+w.Subject)
	return d.write(waiting, after)
}

// hold keeps what is distributed while the wanted issuer cannot sign: it may be mended the next moment.
func (d *decision) hold() Outcome {
	d.next.enter(Distributing, d.Now)
	d.next.Settled = nil
	d.next.say(d.Now, ConditionRotating, true, string(Distributing), "waits for an issuer in Secret %s that can sign; to end the rotation, put back the one that signs, which Secret %s holds", d.Secret, issuer.SigningSecret)
	return d.write(nil, 0)
}

// retire waits until no root of an issuer before is needed.
func (d *decision) retire() Outcome {
	if d.State.Phase == Retiring && d.State.Forced {
		return Outcome{Action: Trust}
	}
	began := d.State.Phase == Retiring
	d.next.enter(Retiring, d.Now)
	d.next.Next = Described{}
	if began && d.Request == xinhariv1alpha1.RotationForce {
		d.accept()
		d.next.Forced = true
	}
	waiting := d.waiting(func(h *Holder) bool { return !overlap(h.Roots, d.Signing.Roots) })
	over, after := d.settle(waiting, began)
	if over && !d.next.Forced { // what is forced is written first
		return Outcome{Action: Trust}
	}
	d.progress(waiting, "to be signed by "+d.Signing.Subject)
	return d.write(waiting, after)
}

// rest is no rotation, or its beginning.
func (d *decision) rest() Outcome {
	if w := d.Wanted; w.usable() && w.Own && (d.State.Renew || !d.Now.Before(w.due())) {
		return Outcome{Action: Make}
	}
	d.next.enter(Stable, d.Now)
	d.next.Next = Described{}
	if d.Wanted != nil && !d.Wanted.Own {
		d.next.Renew = false
	}
	d.next.say(d.Now, ConditionRotating, false, string(Stable), "no rotation is going on")
	out := d.write(nil, 0)
	if w := d.Wanted; w.usable() {
		if until := w.due().Sub(d.Now); until > 0 {
			out.After = until
		}
	}
	return out
}

// waiting returns the holders of unexpired certificates that are to be waited for.
func (d *decision) waiting(wait func(*Holder) bool) []*Holder {
	var all []*Holder
	for _, h := range d.Holders {
		if h.Ends.After(d.Now) && wait(h) {
			all = append(all, h)
		}
	}
	return all
}

// settle says whether nobody was waited for long enough, or someone forced it, and when to look again. It counts from when
// the state object said that nobody is: what was done until then is seen by then.
func (d *decision) settle(waiting []*Holder, began bool) (over bool, after time.Duration) {
	if began && d.next.Forced {
		return true, 0
	}
	if len(waiting) > 0 || !began {
		d.next.Settled = nil
		return false, 5 * time.Second
	}
	if d.next.Settled == nil || d.next.Settled.Sub(d.Now) > time.Second { // or the clock was put back
		d.next.Settled = &metav1.Time{Time: d.Now.Add(time.Second - 1).Truncate(time.Second)} // times of the state have whole seconds
		return false, d.Settle
	}
	left := d.next.Settled.Add(d.Settle).Sub(d.Now)
	return left <= 0, left
}

// progress says who is waited for.
func (d *decision) progress(waiting []*Holder, what string) {
	if len(waiting) == 0 {
		d.next.say(d.Now, ConditionRotating, true, string(d.next.Phase), "nobody is waited for any more %s; goes on in %v", what, d.Settle)
		return
	}
	var until time.Time
	var names []string
	for _, h := range waiting {
		names = append(names, h.Namespace+"/"+h.Pod)
		if h.Ends.After(until) {
			until = h.Ends
		}
	}
	slices.Sort(names)
	const most = 3
	list := strings.Join(names[:min(most, len(names))], ", ")
	if len(names) > most {
		list += ", …"
	}
	d.next.say(d.Now, ConditionRotating, true, string(d.next.Phase), "waits for %d of %d workloads %s: %s; at the latest until %s",
		len(waiting), d.alive(), what, list, until.UTC().Format(time.RFC3339))
}

func (d *decision) alive() int {
	n := 0
	for _, h := range d.Holders {
		if h.Ends.After(d.Now) {
			n++
		}
	}
	return n
}

func (d *decision) write(waiting []*Holder, after time.Duration) Outcome {
	out := Outcome{Acted: d.acted, Waiting: waiting, After: after}
	if d.next.BundleHash != d.Hash {
		out.Anew = d.next.BundleHash != ""
		d.next.BundleHash, d.next.Settled = d.Hash, nil
	}
	out.State = d.next
	return out
}

// short returns enough of a hash to know it by.
func short(hash string) string { return hash[:min(len(hash), 16)] }

func union(all ...[]string) []string {
	var out []string
	for _, s := range slices.Concat(all...) {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

func minus(from, what []string) []string {
	var out []string
	for _, s := range from {
		if !slices.Contains(what, s) {
			out = append(out, s)
		}
	}
	return out
}

func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}

// String returns the action's name.
func (a Action) String() string {
	switch a {
	case Rest:
		return "Rest"
	case Make:
		return "Make"
	case Sign:
		return "Sign"
	case Trust:
		return "Trust"
	}
	return fmt.Sprintf("Action(%d)", int(a))
}
