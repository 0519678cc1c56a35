// Package trust keeps the trust bundle, which every workload of the cluster verifies the others with, and rotates roots
// without a failed call.
//
// Two Secrets say what is: the wanted issuer, which the installer may overwrite or delete at any time, and the operator's
// copy of the one that signs, with the roots that are trusted beside its own (see package issuer). Whatever makes the wanted
// issuer another one than that which signs (an overwritten Secret, a new own root at four fifths of the old one's life or on
// request) begins a rotation: the new roots are distributed; when every workload acknowledged them the new issuer signs;
// when every workload's certificate is under the new roots the old ones are retired (see Step). Nobody is dialled: a
// workload acknowledges a bundle by naming it when it asks for a certificate, which it does as soon as it has a new one.
//
// The ConfigMap xinhari-trust holds the bundle and says how far a rotation is and whom it waits for. The ConfigMaps
// xinhari-leaves-0 to -f hold a line for each certificate in use, since requests are deleted soon. All of it is in the
// operator's namespace. Who may write there is trusted: they could as well replace the issuer. What is trusted follows from
// the Secrets all the same; an edit of the bundle or state is put right, and the bundle of the state object counts only for
// the time after the Secret of the issuer that signs was lost.
//
// Only the leader does this. It may die after any write; the next one goes on from what is written.
package trust

import (
	"cmp"
	"context"
	"fmt"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
	"github.com/xinhari/xinhari/controllers/internal/collector"
	"github.com/xinhari/xinhari/controllers/signer/issuer"
)

const (
	// gather is how long certificates are gathered before they are looked at.
	gather = 500 * time.Millisecond
	// lookAgain is the longest time between two looks.
	lookAgain = 10 * time.Minute
	// steps is how many writes follow each other before others get their turn.
	steps = 10
)

// +kubebuilder:rbac:groups="",namespace=xinhari-system,resources=secrets;configmaps,verbs=create
// +kubebuilder:rbac:groups="",namespace=xinhari-system,resources=secrets,resourceNames=xinhari-ca;xinhari-signing,verbs=get;list;watch;update
// +kubebuilder:rbac:groups="",namespace=xinhari-system,resources=configmaps,resourceNames=xinhari-trust,verbs=get;list;watch;update
// +kubebuilder:rbac:groups="",namespace=xinhari-system,resources=configmaps,resourceNames=xinhari-leaves-0;xinhari-leaves-1;xinhari-leaves-2;xinhari-leaves-3;xinhari-leaves-4;xinhari-leaves-5;xinhari-leaves-6;xinhari-leaves-7;xinhari-leaves-8;xinhari-leaves-9;xinhari-leaves-a;xinhari-leaves-b;xinhari-leaves-c;xinhari-leaves-d;xinhari-leaves-e;xinhari-leaves-f,verbs=get;update
// +kubebuilder:rbac:groups=certificates.k8s.io,resources=certificatesigningrequests,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=pods,verbs=get
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Options are what may be left out.
type Options struct {
	// Wanted is the issuer that the installer wants. Zero is the operator's own in Secret xinhari-ca.
	Wanted issuer.Wanted
	// Own is a cache with the Secret of the issuer that signs and the state object. Nil watches neither.
	Own cache.Cache
	// Settle is how long nobody must be waited for before a rotation goes on, so that what was just signed is fetched and
	// what was just asked is seen. Zero is 30 s.
	Settle time.Duration
	// Pace is the shortest time between two writes of who is waited for, between two of the records, and, five times as
	// much, between two looks at the pods of those who are. Zero is 2 s.
	Pace time.Duration
	// Kept returns the key pairs that stand in objects, whose readers are waited for as well. It is called often, and the
	// answer must not leave any out: nothing is done while it is an error. Nil is none.
	Kept func(context.Context) ([]Kept, error)
	// Now is the time. Nil is that of the machine.
	Now func() time.Time
}

// Controller keeps the trust bundle.
type Controller struct {
	client      client.Client
	live        client.Reader
	recorder    events.EventRecorder
	namespace   string
	trustDomain string
	wanted      issuer.Wanted
	own         cache.Cache
	settle      time.Duration
	pace        time.Duration
	kept        func(context.Context) ([]Kept, error)
	now         func() time.Time
	meter       *meter
	ledger      *ledger

	// What follows belongs to the one worker.
	restored  bool
	pages     [shards]*corev1.ConfigMap // records, as they were read or written last
	flushed   time.Time
	published time.Time
	owes      bool      // what conditions say in words changed and is yet to be written
	looked    time.Time // when pods were asked after
	visited   string    // key of the holder whose pod is asked after next
}

// New returns a controller that writes by c, reads by live what a step is about, and keeps everything in a namespace, which
// is the operator's.
func New(c client.Client, live client.Reader, recorder events.EventRecorder, namespace, trustDomain string, o Options) *Controller {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Kept == nil {
		o.Kept = func(context.Context) ([]Kept, error) { return nil, nil }
	}
	return &Controller{
		client: c, live: live, recorder: recorder, namespace: namespace, trustDomain: trustDomain, wanted: o.Wanted, own: o.Own, kept: o.Kept,
		settle: cmp.Or(o.Settle, 30*time.Second), pace: cmp.Or(o.Pace, 2*time.Second), now: o.Now, meter: newMeter(), ledger: newLedger(),
	}
}

// Name returns the controller's name.
func (c *Controller) Name() string { return "trust" }

// Reconcile takes the bundle and a rotation as far as they go now.
func (c *Controller) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	if !c.restored {
		if err := c.restore(ctx); err != nil {
			return reconcile.Result{}, err
		}
		c.restored = true
	}
	for range steps {
		w, err := c.read(ctx)
		if err != nil {
			return reconcile.Result{}, err
		}
		if err := c.fold(ctx, w); err != nil {
			return reconcile.Result{}, err
		}
		if w.facts.Holders, err = c.holders(ctx, w); err != nil {
			return reconcile.Result{}, err
		}
		out := Step(w.facts)
		// Before anything is written of it: requests of pods that are gone may be there still, and a leader that begins
		// would take them for pods to wait for.
		gone, err := c.visit(ctx, out.Waiting)
		if err != nil {
			return reconcile.Result{}, c.failed(out, err)
		}
		if gone {
			continue
		}
		wrote, err := c.do(ctx, w, out)
		switch {
		case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err):
			continue // someone else wrote: it is another world
		case err != nil:
			return reconcile.Result{}, c.failed(out, err)
		case !wrote:
			return c.rest(ctx, out)
		}
	}
	return reconcile.Result{RequeueAfter: time.Second}, nil
}

// holders returns everybody who is to be waited for.
func (c *Controller) holders(ctx context.Context, w *world) ([]*Holder, error) {
	all := c.ledger.all()
	kept, err := c.kept(ctx)
	if err != nil {
		return nil, fmt.Errorf("key pairs in objects: %w", err)
	}
	roots := w.roots()
	for _, k := range kept {
		all = append(all, k.holder(roots))
	}
	return all, nil
}

// rest does what is due from time to time, and says when to look again.
func (c *Controller) rest(ctx context.Context, out Outcome) (reconcile.Result, error) {
	c.meter.rotation(out.State.Phase, len(out.Waiting))
	now := c.now()
	after := lookAgain
	if out.After > 0 {
		after = min(after, max(out.After, gather))
	}
	if c.owes {
		after = min(after, c.pace)
	}
	if len(out.Waiting) > 0 {
		after = min(after, max(time.Until(c.looked.Add(5*c.pace)), gather))
		for _, h := range out.Waiting {
			after = min(after, max(h.Ends.Sub(now), gather))
		}
	}
	if c.ledger.needsFlush(now) {
		if wait := time.Until(c.flushed.Add(c.pace)); wait > 0 {
			after = min(after, wait)
		} else {
			c.flushed = time.Now()
			if err := c.flush(ctx); err != nil {
				return reconcile.Result{}, c.failed(out, err)
			}
		}
	}
	return reconcile.Result{RequeueAfter: after}, nil
}

// failed tells people what went wrong.
func (c *Controller) failed(out Outcome, err error) error {
	if !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) {
		c.recorder.Eventf(c.object(), nil, corev1.EventTypeWarning, xinhariv1alpha1.ReasonFailed, out.Action.String(), "%v", err)
	}
	return err
}

// tell makes events of what a write of the state changed.
func (c *Controller) tell(before, after State) {
	for _, kind := range []string{ConditionReady, ConditionRotating, ConditionRequest} {
		now, was := meta.FindStatusCondition(after.Conditions, kind), meta.FindStatusCondition(before.Conditions, kind)
		if now == nil || was != nil && was.Reason == now.Reason {
			continue
		}
		severity := corev1.EventTypeNormal
		if kind != ConditionRotating && (now.Status != metav1.ConditionTrue || now.Reason == reasonDue) {
			severity = corev1.EventTypeWarning
		}
		message := now.Message
		const most = 1000 // the API server takes 1024
		if len(message) > most {
			message = message[:most] + "…"
		}
		c.recorder.Eventf(c.object(), nil, severity, now.Reason, "Rotate", "%s", message)
	}
}

// Register adds the controller to a manager.
func (c *Controller) Register(_ context.Context, m ctrl.Manager) error {
	var err error
	if c.meter, err = collector.Register(metrics.Registry, c.meter); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	one := reconcile.Request{NamespacedName: client.ObjectKey{Namespace: c.namespace, Name: xinhariv1alpha1.TrustConfigMap}}
	ours := func(context.Context, client.Object) []reconcile.Request { return []reconcile.Request{one} }
	signed := func(o client.Object, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
		if r, ok := o.(*certificatesv1.CertificateSigningRequest); ok && len(r.Status.Certificate) > 0 {
			q.AddAfter(one, gather)
		}
	}
	b := ctrl.NewControllerManagedBy(m).
		Named(c.Name()).
		// There may be no object yet whose event would begin it.
		WatchesRawSource(source.Func(func(_ context.Context, q workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
			q.Add(one)
			return nil
		})).
		Watches(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(ours)).
		Watches(&certificatesv1.CertificateSigningRequest{}, handler.Funcs{
			CreateFunc: func(_ context.Context, e event.CreateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
				signed(e.Object, q)
			},
			UpdateFunc: func(_ context.Context, e event.UpdateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
				signed(e.ObjectNew, q)
			},
		})
	if c.own != nil {
		b.WatchesRawSource(source.Kind(c.own, &corev1.Secret{}, handler.TypedEnqueueRequestsFromMapFunc(
			func(ctx context.Context, o *corev1.Secret) []reconcile.Request { return ours(ctx, o) })))
		b.WatchesRawSource(source.Kind(c.own, &corev1.ConfigMap{}, handler.TypedEnqueueRequestsFromMapFunc(
			func(ctx context.Context, o *corev1.ConfigMap) []reconcile.Request { return ours(ctx, o) })))
	}
	return b.WithOptions(controller.Options{MaxConcurrentReconciles: 1}).Complete(c)
}
