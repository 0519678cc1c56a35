// Package keypair keeps the key pair of a Service in a Secret, for programs that do not link the runtime: where the Service
// says so by spec.identity.secretName, and in the namespaces that the installer lists.
//
// The Secret is of type kubernetes.io/tls: tls.crt is the certificate that a pod of the Service would get (package leaf),
// with its intermediates, tls.key its key, which is another one in each certificate, and ca.crt the trust bundle. One write
// changes all that changes, so whoever reads it whole has what goes together. It is renewed at half of its life, or when it
// is not what it would be made now: other names, account, life or issuer, or someone's edit. A new bundle is written at once.
//
// Who can read the Secret can be the Service: that is what it is for, and the condition KeyInSecret says it. A Secret that
// is not the Service's by its labels is left alone, and the Service says so. In a namespace that is not listed nothing is
// asked of the API server.
//
// Secrets are read live and not watched: the operator's rights are to read and write them, and nobody learns of all of them
// by one cache. So what others do to one is put right when it is looked at next, within Poll.
//
// A rotation of roots waits for who reads the Secrets as it does for workloads (see Kept). They acknowledge nothing; what
// was written is taken to have reached them after Sync.
package keypair

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
	"github.com/xinhari/xinhari/controllers/internal/conditions"
	"github.com/xinhari/xinhari/controllers/signer/issuer"
	"github.com/xinhari/xinhari/internal/pemfile"
	"github.com/xinhari/xinhari/pkg/identity"
)

const (
	// soon is how long a cache gets to catch up.
	soon = 200 * time.Millisecond
	// comfortable is the least life of a certificate in a Secret that leaves time for a change to reach its readers.
	comfortable = 10 * time.Minute
)

// +kubebuilder:rbac:groups=xinhari.com,resources=services,verbs=list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Options are what may be left out, but for Own.
type Options struct {
	// Namespaces are those in which the operator may read and write Secrets. None is nowhere.
	Namespaces []string
	// Own is a cache with the Secret of the issuer that signs and the state object of package trust.
	Own cache.Cache
	// Wanted is the issuer that signs until package trust has made its copy.
	Wanted issuer.Wanted
	// Poll is the longest time between two looks at a Secret. Zero is a minute.
	Poll time.Duration
	// Sync is how long a change of a Secret takes to reach the files of pods. Zero is 2 minutes, which is more than a kubelet
	// takes unless it was told to take longer.
	Sync time.Duration
	// Now is the time. Nil is that of the machine.
	Now func() time.Time
}

// Controller keeps the Secrets of Services.
type Controller struct {
	client      client.Client
	live        client.Reader
	recorder    events.EventRecorder
	namespace   string
	trustDomain string
	namespaces  map[string]bool
	own         cache.Cache
	issuers     *issuer.Store
	poll        time.Duration
	now         func() time.Time
	memory      *memory
	meter       *meter
	changes     chan event.GenericEvent
}

// New returns a controller that reads Services and writes Secrets by c, reads Secrets by live, and makes identities of the
// trust domain with the issuer of a namespace, which is the operator's.
func New(c client.Client, live client.Reader, recorder events.EventRecorder, namespace, trustDomain string, o Options) *Controller {
	if o.Now == nil {
		o.Now = time.Now
	}
	granted := map[string]bool{}
	for _, n := range o.Namespaces {
		granted[n] = true
	}
	return &Controller{
		client: c, live: live, recorder: recorder, namespace: namespace, trustDomain: trustDomain, namespaces: granted, own: o.Own,
		issuers: issuer.NewStore(o.Own, c, live, namespace, o.Wanted), poll: cmp.Or(o.Poll, time.Minute), now: o.Now,
		memory: newMemory(cmp.Or(o.Sync, 2*time.Minute)), meter: newMeter(), changes: make(chan event.GenericEvent),
	}
}

// Name returns the controller's name.
func (c *Controller) Name() string { return "keypair" }

// Reconcile makes or renews the Secret of the Service that the request names, and removes those that it wants no more.
func (c *Controller) Reconcile(ctx context.Context, r reconcile.Request) (reconcile.Result, error) {
	if !c.namespaces[r.Namespace] {
		return reconcile.Result{}, nil
	}
	c.meter.reads(c.memory) // of several in one process, the one that leads
	s := new(xinhariv1alpha1.Service)
	if err := c.client.Get(ctx, r.NamespacedName, s); err != nil {
		if apierrors.IsNotFound(err) {
			c.memory.forget(r.NamespacedName)
			c.meter.forget(r.NamespacedName)
		}
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if !s.DeletionTimestamp.IsZero() {
		return reconcile.Result{}, nil
	}
	problem, after, err := c.converge(ctx, s)
	switch {
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err):
		return reconcile.Result{RequeueAfter: soon}, nil // someone else wrote: it is another world
	case err != nil:
		problem = &conditions.Outcome{
			State: conditions.Reconciling, Reason: xinhariv1alpha1.ReasonFailed, Message: "the key pair; tried again soon: " + err.Error(),
		}
		c.failed(s, err)
	}
	c.tell(ctx, s, problem)
	return reconcile.Result{RequeueAfter: after}, err
}

// converge takes the Service's Secret as far as it goes now, and says when to look again.
func (c *Controller) converge(ctx context.Context, s *xinhariv1alpha1.Service) (problem *conditions.Outcome, after time.Duration, err error) {
	if !c.memory.swept(s) {
		if err := c.removeOthers(ctx, s); err != nil {
			return nil, 0, err
		}
		c.memory.sweep(s)
	}
	if secretName(s) == "" {
		c.memory.clear(s)
		return nil, 0, nil
	}
	secret, err := c.read(ctx, s)
	if err != nil {
		return nil, 0, err
	}
	if secret != nil && !ours(secret, s) {
		return notOwned(s), c.poll, nil
	}
	w, err := c.wanted(ctx, s)
	if err != nil {
		return nil, 0, err
	}
	if secret != nil && fixed(secret) {
		if err := c.remove(ctx, secret); err != nil {
			return nil, 0, err
		}
		secret = nil
	}
	if secret == nil {
		secret = &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: secretName(s)}, Type: corev1.SecretTypeTLS}
	}
	p, err := c.put(ctx, w, secret)
	if err != nil {
		return nil, 0, err
	}
	after = c.poll
	if until := w.renewal(p).Sub(w.now); until > 0 {
		after = min(after, max(until, soon))
	}
	return nil, after, nil
}

// wanted gathers what the Secret follows from.
func (c *Controller) wanted(ctx context.Context, s *xinhariv1alpha1.Service) (wanted, error) {
	w := wanted{service: s, now: c.now()}
	var err error
	if w.id, err = identity.NewID(c.trustDomain, s.Namespace, s.AccountName()); err != nil {
		return w, err
	}
	var services xinhariv1alpha1.ServiceList
	if err := c.client.List(ctx, &services, client.InNamespace(s.Namespace)); err != nil {
		return w, err
	}
	w.services = givers(s, services.Items)
	told := new(corev1.ConfigMap)
	if err := c.own.Get(ctx, client.ObjectKey{Namespace: c.namespace, Name: xinhariv1alpha1.TrustConfigMap}, told); err != nil {
		return w, fmt.Errorf("trust bundle: %w", err)
	}
	if w.roots, err = pemfile.Certificates([]byte(told.Data[xinhariv1alpha1.KeyTrustBundle])); err != nil {
		return w, fmt.Errorf("trust bundle: %w", err)
	}
	w.issuer, w.unusable = c.issuers.Issuer(ctx)
	return w, nil
}

// put has the Secret hold what is wanted, and returns the pair in it. It writes once, or not at all. Where no pair can be
// made, a new bundle is written with the one that there is, if that goes with it.
func (c *Controller) put(ctx context.Context, w wanted, secret *corev1.Secret) (pair, error) {
	p := parse(secret.Data)
	var unmade error
	if why := w.stale(p); why != "" {
		var made pair
		if made, unmade = w.make(); unmade == nil {
			log.FromContext(ctx).Info("a new key pair", "secret", secret.Name, "reason", why, "ends", made.chain[0].NotAfter)
			p = made
		} else if p.serves(w.roots, w.now) != nil {
			return pair{}, unmade
		}
	}
	p.roots = w.roots
	data, err := p.data()
	if err != nil {
		return pair{}, err
	}
	if shaped := shape(secret, w.service); shaped || !sameData(secret.Data, data) {
		secret.Data = data
		if err := c.write(ctx, secret); err != nil {
			return pair{}, err
		}
		c.memory.look(w.service, secret, c.now())
	}
	return p, unmade
}

func (c *Controller) write(ctx context.Context, secret *corev1.Secret) error {
	var err error
	if secret.ResourceVersion == "" {
		err = c.client.Create(ctx, secret)
	} else {
		err = c.client.Update(ctx, secret)
	}
	if err != nil {
		return fmt.Errorf("secret %s: %w", secret.Name, err)
	}
	return nil
}

// removeOthers deletes the Secrets that are the Service's and that it does not want.
func (c *Controller) removeOthers(ctx context.Context, s *xinhariv1alpha1.Service) error {
	var list corev1.SecretList
	err := c.live.List(ctx, &list, client.InNamespace(s.Namespace), client.MatchingLabels{
		xinhariv1alpha1.LabelService: s.Name, xinhariv1alpha1.LabelManagedBy: xinhariv1alpha1.ManagedBy,
	})
	if err != nil {
		return fmt.Errorf("secrets: %w", err)
	}
	for i := range list.Items {
		o := &list.Items[i]
		// Only what this package made: by its labels, its owner and its type.
		if by := metav1.GetControllerOf(o); o.Name == secretName(s) || by == nil || !mine(*by, s) || o.Type != corev1.SecretTypeTLS || !o.DeletionTimestamp.IsZero() {
			continue
		}
		if err := c.remove(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

func (c *Controller) remove(ctx context.Context, o *corev1.Secret) error {
	if err := c.client.Delete(ctx, o, client.Preconditions{UID: &o.UID}); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("deleting Secret %s: %w", o.Name, err)
	}
	return nil
}

// failed counts a failure and tells of it at the Service.
func (c *Controller) failed(s *xinhariv1alpha1.Service, err error) {
	c.meter.failed(client.ObjectKeyFromObject(s))
	reason := xinhariv1alpha1.ReasonFailed
	if errors.Is(err, issuer.ErrUnusable) {
		reason = reasonUnusable
	}
	message := err.Error()
	const most = 1000 // the API server takes 1024
	if len(message) > most {
		message = message[:most] + "…"
	}
	c.recorder.Eventf(s, nil, corev1.EventTypeWarning, reason, "KeepSecret", "key pair in Secret %s: %s", secretName(s), message)
}

// secretName returns the name of the Secret that the Service wants, or nothing.
func secretName(s *xinhariv1alpha1.Service) string {
	if s.Spec.Identity == nil {
		return ""
	}
	return s.Spec.Identity.SecretName
}
