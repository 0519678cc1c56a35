// Package controllers adds the operator's controllers to a manager. Each is a package of its own; to be rid of one,
// delete its folder and its line here.
package controllers

import (
	"context"
	"fmt"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/selection"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
	"github.com/xinhari/xinhari/controllers/certmanager"
	"github.com/xinhari/xinhari/controllers/keypair"
	"github.com/xinhari/xinhari/controllers/namespace"
	"github.com/xinhari/xinhari/controllers/service"
	"github.com/xinhari/xinhari/controllers/signer"
	"github.com/xinhari/xinhari/controllers/signer/issuer"
	"github.com/xinhari/xinhari/controllers/trust"
)

// Deps is what controllers need beside a manager.
type Deps struct {
	// Defaults is what every workload is told. Its trust domain is required.
	Defaults namespace.Defaults
	// Namespace is the one that the operator runs in and keeps its issuer in. It is required, and that of ManagerOptions.
	Namespace string
	// Issuer is which issuer the installer wants to sign. Its Secret is that of ManagerOptions.
	Issuer issuer.Wanted
	// Signer is how certificates are signed, but for what follows from the rest.
	Signer signer.Options
	// Trust is how roots are rotated, but for what follows from the rest.
	Trust trust.Options
	// CertManager is of whom cert-manager is to ask the operator's intermediate CA.
	CertManager certmanager.Options
	// KeyPair is where and how key pairs are kept in Secrets, but for what follows from the rest.
	KeyPair keypair.Options
}

// AddAll adds every controller to a manager, whose options must be those of ManagerOptions, and the checks of its health.
func AddAll(ctx context.Context, m ctrl.Manager, deps Deps) error {
	if deps.Defaults.TrustDomain == "" {
		return fmt.Errorf("no trust domain is given")
	}
	if deps.Namespace == "" {
		return fmt.Errorf("no namespace of the operator is given")
	}
	own, err := ownCache(m, deps.Namespace)
	if err != nil {
		return fmt.Errorf("cache of the operator's own objects: %w", err)
	}
	recorder := m.GetEventRecorder(xinhariv1alpha1.FieldOwner)
	deps.KeyPair.Wanted, deps.KeyPair.Own = deps.Issuer, own
	pairs := keypair.New(m.GetClient(), m.GetAPIReader(), recorder, deps.Namespace, deps.Defaults.TrustDomain, deps.KeyPair)
	deps.Trust.Wanted, deps.Trust.Own, deps.Trust.Kept = deps.Issuer, own, pairs.Kept
	bundles := trust.New(m.GetClient(), m.GetAPIReader(), recorder, deps.Namespace, deps.Defaults.TrustDomain, deps.Trust)
	deps.Signer.Wanted, deps.Signer.Signing, deps.Signer.Recorded = deps.Issuer, own, bundles.Recorded
	for _, c := range []interface {
		Name() string
		Register(context.Context, ctrl.Manager) error
	}{
		namespace.New(m.GetClient(), m.GetAPIReader(), deps.Defaults, namespace.Trust{Cache: own, Namespace: deps.Namespace}),
		service.New(m.GetClient(), m.GetAPIReader(), recorder, deps.Defaults.TrustDomain, pairs),
		pairs,
		signer.New(m.GetClient(), m.GetAPIReader(), recorder, deps.Namespace, deps.Defaults.TrustDomain, deps.Signer),
		bundles,
		certmanager.New(m.GetClient(), m.GetAPIReader(), deps.Namespace, deps.Defaults.TrustDomain, deps.CertManager),
	} {
		if err := c.Register(ctx, m); err != nil {
			return fmt.Errorf("controller %s: %w", c.Name(), err)
		}
	}
	return ready(m)
}

// Scheme returns a scheme with every kind that the controllers use.
func Scheme() (*runtime.Scheme, error) {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		xinhariv1alpha1.AddToScheme, corev1.AddToScheme, discoveryv1.AddToScheme, rbacv1.AddToScheme, certificatesv1.AddToScheme, certmanagerv1.AddToScheme, eventsv1.AddToScheme,
	} {
		if err := add(s); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Cache returns options of a cache that holds no more than the controllers look at: of the core kinds only the objects
// that carry our labels or names, and of each object only what is compared or counted. Of Secrets that is the wanted
// issuer's, in the operator's namespace.
func Cache(operatorNamespace, issuerSecret string) (cache.Options, error) {
	named, err := labels.NewRequirement(xinhariv1alpha1.LabelService, selection.Exists, nil)
	if err != nil {
		return cache.Options{}, err
	}
	ofService := labels.NewSelector().Add(*named)
	managed := labels.SelectorFromSet(labels.Set{xinhariv1alpha1.LabelManagedBy: xinhariv1alpha1.ManagedBy})
	return cache.Options{
		DefaultTransform: strip,
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Service{}:            {Label: ofService},
			&discoveryv1.EndpointSlice{}: {Label: ofService},
			&corev1.ConfigMap{}: {
				Label: managed,
				Field: fields.OneTermEqualSelector(metav1.ObjectNameField, xinhariv1alpha1.RuntimeConfigMap),
			},
			&rbacv1.RoleBinding{}: {Label: managed},
			&certificatesv1.CertificateSigningRequest{}: {
				Field: fields.OneTermEqualSelector("spec.signerName", xinhariv1alpha1.SignerName),
				// What is sent back must be whole, but for what the API server keeps by itself.
				Transform: cache.TransformStripManagedFields(),
			},
			&corev1.Secret{}: {
				Namespaces: map[string]cache.Config{operatorNamespace: {}},
				Field:      fields.OneTermEqualSelector(metav1.ObjectNameField, issuerSecret),
			},
		},
	}, nil
}

// ownCache adds to a manager a cache of what the operator keeps for itself: the Secret of the issuer that signs and the state
// of trust. It is one of its own since the rights to watch are by name, and one cache watches one name of a kind.
func ownCache(m ctrl.Manager, operatorNamespace string) (cache.Cache, error) {
	named := func(name string) cache.ByObject {
		return cache.ByObject{
			Namespaces: map[string]cache.Config{operatorNamespace: {}},
			Field:      fields.OneTermEqualSelector(metav1.ObjectNameField, name),
		}
	}
	c, err := cache.New(m.GetConfig(), cache.Options{
		HTTPClient: m.GetHTTPClient(), Scheme: m.GetScheme(), Mapper: m.GetRESTMapper(), DefaultTransform: cache.TransformStripManagedFields(),
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Secret{}:    named(issuer.SigningSecret),
			&corev1.ConfigMap{}: named(xinhariv1alpha1.TrustConfigMap),
		},
	})
	if err != nil {
		return nil, err
	}
	return c, m.Add(early{c})
}

// early is a cache that a manager starts with its own, before what reads it.
type early struct{ cache.Cache }

// GetCache is how a manager knows it.
func (e early) GetCache() cache.Cache { return e.Cache }

// strip removes from an object what no controller looks at.
func strip(in any) (any, error) {
	o, ok := in.(client.Object)
	if !ok {
		return in, nil
	}
	o.SetManagedFields(nil)
	o.SetAnnotations(nil)
	switch o := o.(type) {
	case *corev1.Service:
		o.Status = corev1.ServiceStatus{}
	case *discoveryv1.EndpointSlice:
		for i := range o.Endpoints {
			e := &o.Endpoints[i]
			e.NodeName, e.Hints, e.Hostname, e.DeprecatedTopology = nil, nil, nil, nil
		}
	}
	return o, nil
}
