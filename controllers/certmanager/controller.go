// Package certmanager asks cert-manager for the operator's intermediate CA, where the installer names an issuer for it.
//
// It keeps one Certificate, xinhari-issuer, in the operator's namespace; cert-manager writes the intermediate and its key
// into the Secret of that name, and renews it with a new key. Who signs with it reads that Secret: this package gives
// nothing to them, and nothing of it is on their way. What goes wrong it tells by events at the Certificate, by the log and
// by metrics, with cert-manager's own words; the operator meanwhile goes on with what it has.
//
// Without an issuer it does nothing at all, and a cluster needs no cert-manager. The Certificate is owned by the Role that
// the chart has for this alone. So it goes when the installer takes the issuer's name away, while its Secret, which
// cert-manager does not tie to it, stays.
//
// The Certificate is looked at, not watched: a watch would have to come and go with cert-manager's kinds, and nothing waits
// for what is seen here.
package certmanager

import (
	"context"
	"fmt"
	"time"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
	"github.com/xinhari/xinhari/controllers/internal/apply"
	"github.com/xinhari/xinhari/controllers/internal/collector"
)

const (
	// Name is the name of the Certificate, in the operator's namespace.
	Name = "xinhari-issuer"
	// SecretName is the name of the Secret that cert-manager writes the intermediate to: tls.crt, tls.key and, as the root
	// to trust, ca.crt. All three change in one write.
	SecretName = Name
	// RoleName is the name of the Role that owns the Certificate. The chart renders it while an issuer is named.
	RoleName = "xinhari-operator-cert-manager"
)

// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create
// What else it may is in the chart's cert-manager.yaml, since it is granted only while an issuer is named.

const (
	// lookAgain is how often the Certificate is looked at while all is well, and lookSoon while it is not.
	lookAgain = 15 * time.Second
	lookSoon  = 3 * time.Second
)

// Controller keeps the Certificate.
type Controller struct {
	client      client.Client
	live        client.Reader
	namespace   string
	trustDomain string
	options     Options
	now         func() time.Time
	meter       *meter

	herald herald // of one worker alone
}

// New returns a controller that writes by c and reads by live, without a cache, and asks for an intermediate in a namespace,
// which is the operator's, for identities of the trust domain.
func New(c client.Client, live client.Reader, namespace, trustDomain string, o Options) *Controller {
	return &Controller{
		client: c, live: live, namespace: namespace, trustDomain: trustDomain, options: o, now: time.Now, meter: newMeter(),
	}
}

// Name returns the controller's name.
func (c *Controller) Name() string { return "certmanager" }

// Reconcile makes the Certificate what it is to be, and tells what became of it.
func (c *Controller) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	is, err := c.converge(ctx)
	if err != nil {
		return reconcile.Result{}, err
	}
	c.meter.set(is)
	if err := c.tell(ctx, is); err != nil {
		return reconcile.Result{}, err
	}
	if is.ready() {
		return reconcile.Result{RequeueAfter: lookAgain}, nil
	}
	return reconcile.Result{RequeueAfter: lookSoon}, nil
}

// converge applies the Certificate and returns what became of it.
func (c *Controller) converge(ctx context.Context) (outcome, error) {
	key := client.ObjectKey{Namespace: c.namespace, Name: Name}
	found := new(certmanagerv1.Certificate)
	var live client.Object
	switch err := c.live.Get(ctx, key, found); {
	case meta.IsNoMatchError(err):
		return c.noCertManager(), nil
	case err == nil && found.Labels[xinhariv1alpha1.LabelManagedBy] != xinhariv1alpha1.ManagedBy:
		return because(ReasonNotOwned, "Certificate %s is someone else's: delete it, or label it %s=%s to have it replaced",
			key, xinhariv1alpha1.LabelManagedBy, xinhariv1alpha1.ManagedBy), nil
	case err == nil:
		live = found
	case apierrors.IsForbidden(err):
		return because(ReasonRefused, "%v: the chart's Role %s grants it", err, RoleName), nil
	case !apierrors.IsNotFound(err):
		return outcome{}, fmt.Errorf("certificate %s: %w", key, err)
	}
	owner, err := c.owner(ctx)
	if err != nil {
		return outcome{}, err
	}
	switch err := apply.Object(ctx, c.client, live, desired(c.namespace, c.trustDomain, c.options, owner)); {
	case apierrors.IsNotFound(err), meta.IsNoMatchError(err):
		return c.noCertManager(), nil // its kinds went after they had been found
	case err != nil:
		return because(ReasonRefused, "Certificate %s was not taken: %v", key, err), nil
	case live == nil:
		return because(ReasonWaiting, "Certificate %s has just been made", key), nil
	}
	is, err := c.judge(ctx, found)
	if found.Status.RenewalTime != nil {
		is.renewal = found.Status.RenewalTime.Time
	}
	return is, err
}

func (c *Controller) noCertManager() outcome {
	return because(ReasonNoCertManager, "the cluster has no Certificates (%s), of which the issuer %s is to sign one: "+
		"install cert-manager 1.17 or later, or take the chart's value certManager.issuer away; it is looked for again", certmanagerv1.SchemeGroupVersion, c.options.Issuer)
}

// owner returns the Role that the Certificate goes with, or nil where the operator was not installed by the chart.
func (c *Controller) owner(ctx context.Context) (*rbacv1.Role, error) {
	role := new(rbacv1.Role)
	err := c.live.Get(ctx, client.ObjectKey{Namespace: c.namespace, Name: RoleName}, role)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("role %s/%s: %w", c.namespace, RoleName, err)
	}
	return role, nil
}

// judge looks at what cert-manager made of the Certificate.
func (c *Controller) judge(ctx context.Context, found *certmanagerv1.Certificate) (outcome, error) {
	now := c.now()
	if !judgeCertificate(found, nil, now).ready() {
		var requests certmanagerv1.CertificateRequestList
		if err := c.live.List(ctx, &requests, client.InNamespace(c.namespace)); err != nil {
			return outcome{}, fmt.Errorf("requests of Certificate %s/%s: %w", c.namespace, Name, err)
		}
		return judgeCertificate(found, requests.Items, now), nil
	}
	secret := new(corev1.Secret)
	err := c.live.Get(ctx, client.ObjectKey{Namespace: c.namespace, Name: SecretName}, secret)
	if apierrors.IsNotFound(err) {
		return because(ReasonWaiting, "Secret %s/%s is gone; cert-manager will issue it anew", c.namespace, SecretName), nil
	}
	if err != nil {
		return outcome{}, fmt.Errorf("secret %s/%s: %w", c.namespace, SecretName, err)
	}
	return judgeSecret(secret.Data, now), nil
}

// tell tells people of an outcome, when they are due to hear it.
func (c *Controller) tell(ctx context.Context, is outcome) error {
	now := c.now()
	if !c.herald.due(is, now) {
		return nil
	}
	if is.ready() {
		log.FromContext(ctx).Info("there is an intermediate from cert-manager", "message", is.message)
	} else {
		log.FromContext(ctx).Error(nil, "no new intermediate from cert-manager; the operator goes on with what it has", "reason", is.reason, "message", is.message)
	}
	// A recorder would take all that has one reason for one event, and keep the first one's words.
	if err := c.client.Create(ctx, event(c.namespace, is, now)); err != nil {
		return fmt.Errorf("telling of Certificate %s/%s: %w", c.namespace, Name, err)
	}
	c.herald.told(is, now)
	return nil
}

// Register adds the controller to a manager, if there is something for it to do.
func (c *Controller) Register(_ context.Context, m ctrl.Manager) error {
	if err := c.options.Validate(); err != nil || !c.options.On() {
		return err
	}
	var err error
	if c.meter, err = collector.Register(metrics.Registry, c.meter); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	once := source.Func(func(_ context.Context, q workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		q.Add(reconcile.Request{NamespacedName: client.ObjectKey{Namespace: c.namespace, Name: Name}})
		return nil
	})
	return ctrl.NewControllerManagedBy(m).
		Named(c.Name()).
		WatchesRawSource(once).
		// Nothing else wakes it when the API server is back.
		WithOptions(controller.Options{RateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](lookSoon, lookAgain)}).
		Complete(c)
}
