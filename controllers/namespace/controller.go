// Package namespace gives a namespace that has a Service what its workloads need to start, and takes it away with the
// last Service: the ConfigMap xinhari with the runtime's defaults and the trust bundle, and two RoleBindings.
//
// # Who may read what
//
// The runtime watches Xinhari objects and EndpointSlices with the workload's own account. Two ClusterRoles, fixed by the
// installer, say what; the operator may bind these two and no other, and only by RoleBindings, so within a namespace:
//
//   - xinhari-workload, in the workload's own namespace: the four kinds, EndpointSlices and the ConfigMap xinhari. Its
//     subjects are the accounts that the Services of the namespace name.
//   - xinhari-caller, in the namespace of what is called: Services (how to call) and EndpointSlices (where), neither rules
//     nor configuration. Who may call may find: its subjects are the callers that the namespace's own AccessRules allow, and
//     everyone with an account where a Service allows whom no rule denies.
//
// So svc.Conn("inventory.shop") works from a namespace that shop lets in, without anyone writing RBAC; a workload whom
// nobody lets in learns nothing of other namespaces; and an author can give away the reading of no namespace but their own.
// Deny rules take nothing away: what may be found is not yet what may be called.
package namespace

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
	"github.com/xinhari/xinhari/controllers/internal/apply"
	"github.com/xinhari/xinhari/internal/pemfile"
)

// lookAgain is how often objects of ours by name and someone else's by label are looked at again.
const lookAgain = 30 * time.Second

// +kubebuilder:rbac:groups=xinhari.com,resources=services;accessrules,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=configmaps,resourceNames=xinhari,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=rolebindings,verbs=list;watch
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=rolebindings,resourceNames=xinhari-workload;xinhari-caller,verbs=get;create;patch;delete
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=clusterroles,resourceNames=xinhari-workload;xinhari-caller,verbs=bind

// Defaults is what every workload of the cluster is told. A field that is empty is not told.
type Defaults struct {
	TrustDomain   string   // trust domain of every identity
	OperatorID    string   // SPIFFE ID of the operator
	NATSURL       string   // URL of NATS servers
	EtcdEndpoints []string // URLs of etcd members
}

// Trust is where the trust bundle comes from: the ConfigMap xinhari-trust of a namespace. The zero value is nowhere.
type Trust struct {
	Cache     cache.Cache
	Namespace string
}

// Controller reconciles namespaces.
type Controller struct {
	client   client.Client
	live     client.Reader
	defaults Defaults
	trust    Trust
	now      func() time.Time
}

// New returns a controller that reads and writes by c, reads what c's cache leaves out by live, and tells defaults and the
// trust bundle.
func New(c client.Client, live client.Reader, defaults Defaults, trust Trust) *Controller {
	return &Controller{client: c, live: live, defaults: defaults, trust: trust, now: time.Now}
}

// Name returns the controller's name.
func (c *Controller) Name() string { return "namespace" }

// Reconcile makes or removes what the namespace that the request names needs.
func (c *Controller) Reconcile(ctx context.Context, r reconcile.Request) (reconcile.Result, error) {
	namespace := r.Name
	var services xinhariv1alpha1.ServiceList
	if err := c.client.List(ctx, &services, client.InNamespace(namespace)); err != nil {
		return reconcile.Result{}, err
	}
	var rules xinhariv1alpha1.AccessRuleList
	if err := c.client.List(ctx, &rules, client.InNamespace(namespace)); err != nil {
		return reconcile.Result{}, err
	}
	accounts, err := c.accounts(ctx, rules.Items)
	if err != nil {
		return reconcile.Result{}, err
	}
	t, err := c.trusted(ctx, namespace)
	if err != nil {
		return reconcile.Result{}, err
	}
	wanted := desired(namespace, services.Items, rules.Items, accounts, c.defaults, t, c.now())

	foreign := false
	var errs []error
	for _, o := range []struct {
		live   client.Object
		wanted runtime.ApplyConfiguration
		name   string
	}{
		{live: new(corev1.ConfigMap), wanted: orNil(wanted.defaults), name: xinhariv1alpha1.RuntimeConfigMap},
		{live: new(rbacv1.RoleBinding), wanted: orNil(wanted.workload), name: xinhariv1alpha1.WorkloadRole},
		{live: new(rbacv1.RoleBinding), wanted: orNil(wanted.caller), name: xinhariv1alpha1.CallerRole},
	} {
		isForeign, err := c.converge(ctx, client.ObjectKey{Namespace: namespace, Name: o.name}, o.live, o.wanted)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", o.name, err))
		}
		foreign = foreign || isForeign
	}
	if err := errors.Join(errs...); err != nil {
		return reconcile.Result{}, err
	}
	result := reconcile.Result{}
	if !wanted.until.IsZero() {
		result.RequeueAfter = max(wanted.until.Sub(c.now()), time.Second)
	}
	if foreign && (result.RequeueAfter == 0 || lookAgain < result.RequeueAfter) {
		result.RequeueAfter = lookAgain
	}
	return result, nil
}

// trusted returns the roots to trust and who signs. Where the operator's own object holds no roots that can be read, what
// the namespace has stays: before it is mended, none would be worse.
func (c *Controller) trusted(ctx context.Context, namespace string) (trusted, error) {
	if c.trust.Cache == nil {
		return trusted{}, nil
	}
	state := new(corev1.ConfigMap)
	err := c.trust.Cache.Get(ctx, client.ObjectKey{Namespace: c.trust.Namespace, Name: xinhariv1alpha1.TrustConfigMap}, state)
	if client.IgnoreNotFound(err) != nil {
		return trusted{}, err
	}
	if t := trustedIn(state); t.bundle != "" {
		if _, err := pemfile.Certificates([]byte(t.bundle)); err == nil {
			return t, nil
		}
	}
	has := new(corev1.ConfigMap)
	err = c.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: xinhariv1alpha1.RuntimeConfigMap}, has)
	return trustedIn(has), client.IgnoreNotFound(err)
}

func trustedIn(m *corev1.ConfigMap) trusted {
	return trusted{bundle: m.Data[xinhariv1alpha1.KeyTrustBundle], issuer: m.Data[xinhariv1alpha1.KeyIssuer]}
}

// orNil makes an interface that is nil of a pointer that is.
func orNil[T any, P interface {
	*T
	runtime.ApplyConfiguration
}](p P) runtime.ApplyConfiguration {
	if p == nil {
		return nil
	}
	return p
}

// converge applies what is wanted, or removes what is not, unless the object is someone else's.
func (c *Controller) converge(ctx context.Context, key client.ObjectKey, live client.Object, wanted runtime.ApplyConfiguration) (foreign bool, err error) {
	err = c.client.Get(ctx, key, live)
	if apierrors.IsNotFound(err) {
		if wanted == nil {
			return false, nil
		}
		if err = c.live.Get(ctx, key, live); apierrors.IsNotFound(err) {
			return false, apply.Object(ctx, c.client, nil, wanted)
		}
	}
	if err != nil {
		return false, err
	}
	if live.GetLabels()[xinhariv1alpha1.LabelManagedBy] != xinhariv1alpha1.ManagedBy {
		return true, nil
	}
	if wanted == nil {
		uid := live.GetUID()
		return false, client.IgnoreNotFound(c.client.Delete(ctx, live, client.Preconditions{UID: &uid}))
	}
	return false, apply.Object(ctx, c.client, live, wanted)
}

// accounts returns the accounts of the Services that rules name, by namespace and name.
func (c *Controller) accounts(ctx context.Context, rules []xinhariv1alpha1.AccessRule) (map[client.ObjectKey]string, error) {
	accounts := map[client.ObjectKey]string{}
	for i := range rules {
		for _, key := range servicesNamed(&rules[i]) {
			var s xinhariv1alpha1.Service
			switch err := c.client.Get(ctx, key, &s); {
			case err == nil:
				accounts[key] = s.AccountName()
			case !apierrors.IsNotFound(err):
				return nil, err
			}
		}
	}
	return accounts, nil
}

// Register adds the controller to a manager.
func (c *Controller) Register(ctx context.Context, m ctrl.Manager) error {
	err := m.GetFieldIndexer().IndexField(ctx, &xinhariv1alpha1.AccessRule{}, callerIndex, func(o client.Object) []string {
		var names []string
		for _, key := range servicesNamed(o.(*xinhariv1alpha1.AccessRule)) {
			names = append(names, key.String())
		}
		return names
	})
	if err != nil {
		return fmt.Errorf("indexing AccessRules by the Services they name: %w", err)
	}
	changed := builder.WithPredicates(predicate.GenerationChangedPredicate{})
	b := ctrl.NewControllerManagedBy(m)
	if c.trust.Cache != nil {
		b.WatchesRawSource(source.Kind(c.trust.Cache, &corev1.ConfigMap{}, handler.TypedEnqueueRequestsFromMapFunc(c.everywhere), trustChanged()))
	}
	return b.
		Named(c.Name()).
		Watches(&xinhariv1alpha1.Service{}, handler.EnqueueRequestsFromMapFunc(c.reach), changed).
		Watches(&xinhariv1alpha1.AccessRule{}, handler.EnqueueRequestsFromMapFunc(own), changed).
		Watches(&corev1.ConfigMap{}, handler.EnqueueRequestsFromMapFunc(own)).
		Watches(&rbacv1.RoleBinding{}, handler.EnqueueRequestsFromMapFunc(own)).
		Complete(c)
}

// everywhere maps the trust bundle to every namespace that has a Service.
func (c *Controller) everywhere(ctx context.Context, _ *corev1.ConfigMap) []reconcile.Request {
	var services xinhariv1alpha1.ServiceList
	if err := c.client.List(ctx, &services); err != nil {
		return nil
	}
	seen := map[string]bool{}
	var requests []reconcile.Request
	for i := range services.Items {
		if s := &services.Items[i]; !seen[s.Namespace] {
			seen[s.Namespace] = true
			requests = append(requests, own(ctx, s)...)
		}
	}
	return requests
}

// trustChanged passes over changes of the state that stands beside what workloads are told.
func trustChanged() predicate.TypedPredicate[*corev1.ConfigMap] {
	return predicate.TypedFuncs[*corev1.ConfigMap]{
		UpdateFunc: func(e event.TypedUpdateEvent[*corev1.ConfigMap]) bool {
			return trustedIn(e.ObjectOld) != trustedIn(e.ObjectNew)
		},
	}
}

// callerIndex is the name of the cache's index of AccessRules by the Services they let in.
const callerIndex = "caller"

// own maps an object to its namespace.
func own(_ context.Context, o client.Object) []reconcile.Request {
	return []reconcile.Request{{NamespacedName: client.ObjectKey{Name: o.GetNamespace()}}}
}

// reach maps a Service to its namespace and to those whose rules name it.
func (c *Controller) reach(ctx context.Context, o client.Object) []reconcile.Request {
	requests := own(ctx, o)
	var rules xinhariv1alpha1.AccessRuleList
	if err := c.client.List(ctx, &rules, client.MatchingFields{callerIndex: client.ObjectKeyFromObject(o).String()}); err != nil {
		return requests
	}
	for i := range rules.Items {
		requests = append(requests, own(ctx, &rules.Items[i])...)
	}
	return requests
}
