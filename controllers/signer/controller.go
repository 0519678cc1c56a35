// Package signer gives workloads their certificates: it approves and signs the CertificateSigningRequests that name the
// signer xinhari.com/workload.
//
// Whom a certificate names follows from the requester, whom the API server authenticated by a token that is bound to a pod,
// and from the pod and the Services as they are; the request gives the public key (see Evaluate). Kubernetes' own boundary
// holds: who may run pods under an account of a namespace may hold that account's identity.
//
// Every replica of the operator signs, without election, so that a new workload waits for no lease. Two that work on one
// request meet in a conflict, and the one that lost has nothing left to do. Each step can be the last before a crash: who
// finds a request that is approved and not signed goes on with it, after the same evaluation.
//
// A request that no Service accounts for yet stays pending, and is looked at again when a Service of the namespace changes.
// A denied one is final, and an event at its pod tells why. Requests that are done are deleted some minutes later.
package signer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
	"github.com/xinhari/xinhari/controllers/signer/issuer"
)

const (
	// keepExcess is how long a request stays that was denied since its pod has too many: a flood must not pile up.
	keepExcess = 15 * time.Second
	// keepPending is how long a request waits. Its requester asks again.
	keepPending = time.Hour
	// lookAgain is how often what a request waits for is looked at where no watch tells: a pod's labels, an issuer.
	lookAgain = 10 * time.Second
	// resume is how long whoever approved a request gets to sign it, before another goes on with it.
	resume = 2 * time.Second
)

// Reasons of conditions and events that are not denials.
const (
	reasonApproved = "Evaluated"
	reasonSigned   = "Signed"
	reasonWaiting  = "WaitingForService"
	reasonUnusable = "IssuerUnusable"
)

// +kubebuilder:rbac:groups=certificates.k8s.io,resources=certificatesigningrequests,verbs=list;watch;delete
// +kubebuilder:rbac:groups=certificates.k8s.io,resources=certificatesigningrequests/approval,verbs=update
// +kubebuilder:rbac:groups=certificates.k8s.io,resources=certificatesigningrequests/status,verbs=update
// +kubebuilder:rbac:groups=certificates.k8s.io,resources=signers,resourceNames=xinhari.com/workload,verbs=approve;sign
// +kubebuilder:rbac:groups=xinhari.com,resources=services,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=pods,verbs=get
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Options are what may be left out.
type Options struct {
	// Keep is how long a request that is done stays, for its requester to read and for its pod's requests to be counted.
	// Zero is 5 minutes.
	Keep time.Duration
	// Recorded says whether a request that was signed may go, as far as those are concerned who learn from it. One that may
	// not stays an hour at most, which is as long as Kubernetes itself keeps them. Nil says yes.
	Recorded func(*certificatesv1.CertificateSigningRequest) bool
	// Wanted is the issuer that signs until package trust has made the copy that signs from then on.
	Wanted issuer.Wanted
	// Signing is a cache that has that copy. Nil is the one of the client that New is given.
	Signing cache.Cache
}

// Controller reconciles CertificateSigningRequests.
type Controller struct {
	client      client.Client
	live        client.Reader
	recorder    events.EventRecorder
	issuers     *issuer.Store
	trustDomain string
	namespace   string
	limits      Limits
	keeps       time.Duration
	recorded    func(*certificatesv1.CertificateSigningRequest) bool
	wanted      issuer.Wanted
	signing     cache.Cache
	now         func() time.Time
	meter       *meter

	mu   sync.Mutex
	told map[string]bool // names of pending requests whose pod was told
}

// New returns a controller that reads and writes by c, reads what c's cache leaves out by live, and signs identities of the
// trust domain with the issuer of a namespace, which is the operator's.
func New(c client.Client, live client.Reader, recorder events.EventRecorder, namespace, trustDomain string, o Options) *Controller {
	if o.Recorded == nil {
		o.Recorded = func(*certificatesv1.CertificateSigningRequest) bool { return true }
	}
	var signing client.Reader = c
	if o.Signing != nil {
		signing = o.Signing
	}
	return &Controller{
		client: c, live: live, recorder: recorder, trustDomain: trustDomain, namespace: namespace, wanted: o.Wanted, signing: o.Signing, recorded: o.Recorded,
		issuers: issuer.NewStore(signing, c, live, namespace, o.Wanted), limits: DefaultLimits(), now: time.Now, keeps: cmp.Or(o.Keep, 5*time.Minute),
		meter: newMeter(), told: map[string]bool{},
	}
}

// Name returns the controller's name.
func (c *Controller) Name() string { return "signer" }

// Reconcile takes a request one verdict further.
func (c *Controller) Reconcile(ctx context.Context, q reconcile.Request) (reconcile.Result, error) {
	began := c.now()
	r := new(certificatesv1.CertificateSigningRequest)
	if err := c.client.Get(ctx, q.NamespacedName, r); err != nil {
		if apierrors.IsNotFound(err) {
			c.forget(q.Name)
		}
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if r.Spec.SignerName != xinhariv1alpha1.SignerName || !r.DeletionTimestamp.IsZero() {
		return reconcile.Result{}, nil
	}
	if wait := c.keep(r); wait <= 0 {
		if len(r.Status.Certificate) > 0 && c.now().Sub(r.CreationTimestamp.Time) < keepPending && !c.recorded(r) {
			return reconcile.Result{RequeueAfter: lookAgain}, nil
		}
		return reconcile.Result{}, c.remove(ctx, r)
	} else if Finished(r) {
		c.forget(r.Name)
		return reconcile.Result{RequeueAfter: wait}, nil
	}
	// Times of conditions have whole seconds.
	if approved := condition(r, certificatesv1.CertificateApproved); approved != nil {
		if wait := approved.LastUpdateTime.Add(resume).Sub(c.now()); wait > 0 && wait <= resume {
			return reconcile.Result{RequeueAfter: wait}, nil
		}
	}
	result, err := c.decide(ctx, r.DeepCopy(), began)
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		// Another replica was faster; what it wrote arrives by the watch.
		return reconcile.Result{RequeueAfter: lookAgain}, nil
	}
	return result, err
}

// decide evaluates a request and does what the verdict says.
func (c *Controller) decide(ctx context.Context, r *certificatesv1.CertificateSigningRequest, began time.Time) (reconcile.Result, error) {
	signs, err := c.issuers.Issuer(ctx)
	c.meter.issuer(signs)
	if err != nil {
		return c.unusable(ctx, err)
	}
	in, err := c.gather(ctx, r)
	if err != nil {
		return reconcile.Result{}, err
	}
	in.IssuerEnds = signs.Ends
	verdict := Evaluate(in)
	switch {
	case verdict.Deny != nil:
		return reconcile.Result{RequeueAfter: keepExcess}, c.deny(ctx, r, *verdict.Deny)
	case verdict.Wait != "":
		c.wait(r, verdict.Wait)
		return reconcile.Result{RequeueAfter: lookAgain}, nil
	}
	certificate, err := signs.Sign(verdict.Sign, in.Now)
	if err != nil {
		return c.unusable(ctx, fmt.Errorf("secret %s/%s: %w", c.namespace, signs.Secret, err))
	}
	if condition(r, certificatesv1.CertificateApproved) == nil {
		c.set(r, certificatesv1.CertificateApproved, reasonApproved, "the pod, its account and its Services give it this identity")
		if err := c.client.SubResource("approval").Update(ctx, r); err != nil {
			return reconcile.Result{}, err
		}
	}
	c.set(r, xinhariv1alpha1.ConditionBasis, reasonSigned, verdict.Basis)
	r.Status.Certificate = certificate
	if err := c.client.Status().Update(ctx, r); err != nil {
		return reconcile.Result{}, err
	}
	c.meter.signed(c.now().Sub(began))
	return reconcile.Result{RequeueAfter: c.keeps}, nil
}

// gather reads what the verdict depends on. The pod is read live: no denial may come from a cache that is behind. The Services
// are the API server's, as it has them in its memory (version 0), from where the workload's watch has them too: after the API server
// was away that may be back a minute before ours. What they are when the certificate is made says ConditionBasis, since they may
// change before it is written.
func (c *Controller) gather(ctx context.Context, r *certificatesv1.CertificateSigningRequest) (Input, error) {
	in := Input{Request: r, TrustDomain: c.trustDomain, Limits: c.limits, Now: c.now()}
	claim, denial := ClaimOf(r)
	if denial != nil {
		return in, nil
	}
	pod := new(corev1.Pod)
	err := c.live.Get(ctx, client.ObjectKey{Namespace: claim.Namespace, Name: claim.Pod}, pod)
	switch {
	case err == nil:
		in.Pod = pod
	case !apierrors.IsNotFound(err):
		return in, fmt.Errorf("pod %s/%s: %w", claim.Namespace, claim.Pod, err)
	}
	var services xinhariv1alpha1.ServiceList
	if err := c.live.List(ctx, &services, client.InNamespace(claim.Namespace), &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: "0"}}); err != nil {
		return in, err
	}
	in.Services = services.Items
	for _, key := range indexed(r) {
		var others certificatesv1.CertificateSigningRequestList
		if err := c.client.List(ctx, &others, client.MatchingFields{relatedIndex: key}); err != nil {
			return in, err
		}
		in.Others = append(in.Others, others.Items...)
	}
	in.Others = unique(in.Others)
	return in, nil
}

// deny says no for good: of a request that someone approved already, as a failure.
func (c *Controller) deny(ctx context.Context, r *certificatesv1.CertificateSigningRequest, d Denial) error {
	var err error
	if condition(r, certificatesv1.CertificateApproved) != nil {
		c.set(r, certificatesv1.CertificateFailed, string(d.Reason), d.Message)
		err = c.client.Status().Update(ctx, r)
	} else {
		c.set(r, certificatesv1.CertificateDenied, string(d.Reason), d.Message)
		err = c.client.SubResource("approval").Update(ctx, r)
	}
	if err != nil {
		return err
	}
	c.meter.denied(d.Reason)
	c.tell(r, string(d.Reason), "Deny", d.Message)
	return nil
}

// wait tells the pod once what its request waits for.
func (c *Controller) wait(r *certificatesv1.CertificateSigningRequest, message string) {
	c.mu.Lock()
	told := c.told[r.Name]
	c.told[r.Name] = true
	c.mu.Unlock()
	if !told {
		c.meter.waits()
		c.tell(r, reasonWaiting, "Wait", message)
	}
}

func (c *Controller) forget(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.told, name)
}

// tell makes an event at the pod that the requester's token is bound to.
func (c *Controller) tell(r *certificatesv1.CertificateSigningRequest, reason, action, message string) {
	claim, denial := ClaimOf(r)
	if denial != nil {
		return
	}
	const most = 1000 // the API server takes 1024
	if len(message) > most {
		message = message[:most] + "…"
	}
	pod := &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Namespace: claim.Namespace, Name: claim.Pod, UID: types.UID(claim.PodUID)},
	}
	// Without the request as its relation, what comes again is counted in one event.
	c.recorder.Eventf(pod, nil, corev1.EventTypeWarning, reason, action, "certificate request %s: %s", r.Name, message)
}

// unusable leaves requests pending while the issuer cannot sign. Who is to mend it finds an event at the Secret.
func (c *Controller) unusable(ctx context.Context, err error) (reconcile.Result, error) {
	if !errors.Is(err, issuer.ErrUnusable) {
		return reconcile.Result{}, err
	}
	c.meter.unusable()
	log.FromContext(ctx).Error(err, "nothing is signed until the issuer is mended")
	// The copy is the operator's to mend, as soon as the wanted issuer can sign.
	secret := &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: c.wanted.Name()},
	}
	c.recorder.Eventf(secret, nil, corev1.EventTypeWarning, reasonUnusable, "Sign", "%v", err)
	return reconcile.Result{RequeueAfter: lookAgain}, nil
}

func (c *Controller) set(r *certificatesv1.CertificateSigningRequest, kind certificatesv1.RequestConditionType, reason, message string) {
	now := metav1.NewTime(c.now())
	r.Status.Conditions = append(r.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
		Type: kind, Status: corev1.ConditionTrue, Reason: reason, Message: message, LastUpdateTime: now, LastTransitionTime: now,
	})
}

// keep returns how long a request is still to be kept.
func (c *Controller) keep(r *certificatesv1.CertificateSigningRequest) time.Duration {
	if !Finished(r) {
		return r.CreationTimestamp.Add(keepPending).Sub(c.now())
	}
	since, life := r.CreationTimestamp.Time, c.keeps
	for _, condition := range r.Status.Conditions {
		if condition.LastUpdateTime.After(since) {
			since = condition.LastUpdateTime.Time
		}
		if condition.Type == certificatesv1.CertificateDenied && condition.Reason == string(TooManyRequests) {
			life = keepExcess
		}
	}
	return since.Add(life).Sub(c.now())
}

func (c *Controller) remove(ctx context.Context, r *certificatesv1.CertificateSigningRequest) error {
	c.forget(r.Name)
	err := c.client.Delete(ctx, r, client.Preconditions{UID: &r.UID})
	if apierrors.IsConflict(err) {
		return nil // another of the same name
	}
	return client.IgnoreNotFound(err)
}
