// Package service makes each Service findable: a headless core Service of its name and one for each of its versions, so
// that cluster DNS and Kubernetes' own EndpointSlices name its pods, and EndpointSlices of its instances outside the
// cluster. It says in the Service's status what it found: how many endpoints, which identity, whether all is well.
//
// What carries the labels of a Service and its ownerReference is its own, and goes when the Service no longer wants it.
// A core Service without these labels is someone else's: it is left alone, and the Service says so (NotOwned).
//
// At rest it writes nothing. A Service that cannot be made ready holds up no other.
package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
	"github.com/xinhari/xinhari/controllers/internal/apply"
	"github.com/xinhari/xinhari/controllers/internal/conditions"
)

// lookAgain is how often objects that are not in the cache, because they are someone else's, are looked at again.
const lookAgain = 30 * time.Second

// staleWait is how long the cache gets to catch up with a Service that changed since it was read.
const staleWait = 100 * time.Millisecond

// +kubebuilder:rbac:groups=xinhari.com,resources=services,verbs=list;watch
// +kubebuilder:rbac:groups=xinhari.com,resources=services/status,verbs=patch
// +kubebuilder:rbac:groups="",resources=services,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=discovery.k8s.io,resources=endpointslices,verbs=list;watch;create;patch;delete
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create

// Keys keeps the key pairs of Services in Secrets.
type Keys interface {
	// Report returns what a Service is to say of its Secret: what the condition KeyInSecret says, which is not there if that
	// is empty, and why the Service is not ready, if that is why. It is not known until the Secret was looked at.
	Report(s *xinhariv1alpha1.Service) (inSecret string, problem *conditions.Outcome, known bool)
	// Changes returns where Services come from whose Report changed.
	Changes() <-chan event.GenericEvent
}

// Controller reconciles Services.
type Controller struct {
	client      client.Client
	live        client.Reader
	recorder    events.EventRecorder
	trustDomain string
	keys        Keys
}

// New returns a controller that reads and writes by c, reads what c's cache leaves out by live, names identities of the trust
// domain, and says of Secrets with key pairs what keys report.
func New(c client.Client, live client.Reader, recorder events.EventRecorder, trustDomain string, keys Keys) *Controller {
	return &Controller{client: c, live: live, recorder: recorder, trustDomain: trustDomain, keys: keys}
}

// Name returns the controller's name.
func (c *Controller) Name() string { return "service" }

// Reconcile makes what the Service wants and writes its status. An error that is not terminal is tried again.
func (c *Controller) Reconcile(ctx context.Context, s *xinhariv1alpha1.Service) (reconcile.Result, error) {
	if !s.DeletionTimestamp.IsZero() {
		return reconcile.Result{}, nil
	}
	outcome, result, err := c.converge(ctx, s)
	status, statusErr := c.status(ctx, s, outcome)
	if statusErr == nil {
		statusErr = c.write(ctx, s, status)
	}
	if apierrors.IsConflict(statusErr) && err == nil {
		return reconcile.Result{RequeueAfter: staleWait}, nil
	}
	if err := errors.Join(err, client.IgnoreNotFound(statusErr)); err != nil {
		return reconcile.Result{}, err
	}
	return result, nil
}

// converge makes and removes objects, and says how far the Service is.
func (c *Controller) converge(ctx context.Context, s *xinhariv1alpha1.Service) (conditions.Outcome, reconcile.Result, error) {
	for _, step := range []func(context.Context, *xinhariv1alpha1.Service) (*conditions.Outcome, error){
		c.removeCoreServices, c.applyCoreServices, c.removeSlices, c.applySlices, c.existingCoreService, c.permissions, c.keyPair,
	} {
		outcome, err := step(ctx, s)
		switch {
		case apierrors.IsInvalid(err):
			return conditions.Outcome{
				State: conditions.Stalled, Reason: xinhariv1alpha1.ReasonRefused,
				Message: "the API server refused what the spec asks for; change the spec: " + err.Error(),
			}, reconcile.Result{}, reconcile.TerminalError(err)
		case err != nil:
			return conditions.Outcome{
				State: conditions.Reconciling, Reason: xinhariv1alpha1.ReasonFailed, Message: "tried again soon: " + err.Error(),
			}, reconcile.Result{}, err
		case outcome != nil && outcome.State == conditions.Stalled:
			return *outcome, reconcile.Result{RequeueAfter: lookAgain}, nil
		case outcome != nil:
			return *outcome, reconcile.Result{}, nil
		}
	}
	ready := conditions.Outcome{State: conditions.Ready, Reason: xinhariv1alpha1.ReasonReady, Message: "callers can find the instances"}
	if s.Spec.ClientOnly {
		ready.Message = "the workload can call others"
	}
	if s.Spec.CoreService == xinhariv1alpha1.CoreServiceExisting {
		return ready, reconcile.Result{RequeueAfter: lookAgain}, nil
	}
	return ready, reconcile.Result{}, nil
}

func (c *Controller) applyCoreServices(ctx context.Context, s *xinhariv1alpha1.Service) (*conditions.Outcome, error) {
	for _, wanted := range coreServices(s) {
		live := new(corev1.Service)
		key := client.ObjectKey{Namespace: s.Namespace, Name: *wanted.Name}
		found, err := c.find(ctx, key, live)
		if err != nil {
			return nil, err
		}
		if found && !ours(live, s) {
			return notOwned(key.Name), nil
		}
		var seen client.Object
		if found {
			seen = live
		}
		err = apply.Object(ctx, c.client, seen, wanted)
		if apierrors.IsConflict(err) && !found {
			return notOwned(key.Name), nil
		}
		if err != nil {
			return nil, fmt.Errorf("core Service %s: %w", key.Name, err)
		}
	}
	return nil, nil
}

func notOwned(name string) *conditions.Outcome {
	return &conditions.Outcome{
		State: conditions.Stalled, Reason: xinhariv1alpha1.ReasonNotOwned,
		Message: fmt.Sprintf("core Service %s exists and was not made for this Service: "+
			"either set spec.coreService to Existing to use it as it is, or delete it so that the operator can make its own", name),
	}
}

// find reads an object from the cache, or, since the cache holds labelled objects only, from the API server.
func (c *Controller) find(ctx context.Context, key client.ObjectKey, into client.Object) (bool, error) {
	err := c.client.Get(ctx, key, into)
	if apierrors.IsNotFound(err) {
		err = c.live.Get(ctx, key, into)
	}
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// ours says whether the labels make the object one of the Service's. An ownerReference is not asked for, so that a
// Service that was deleted and made again takes its objects back.
func ours(o client.Object, s *xinhariv1alpha1.Service) bool {
	labels := o.GetLabels()
	return labels[xinhariv1alpha1.LabelService] == s.Name && labels[xinhariv1alpha1.LabelManagedBy] == xinhariv1alpha1.ManagedBy
}

func (c *Controller) removeCoreServices(ctx context.Context, s *xinhariv1alpha1.Service) (*conditions.Outcome, error) {
	wanted := map[string]bool{}
	for _, core := range coreServices(s) {
		wanted[*core.Name] = true
	}
	var list corev1.ServiceList
	if err := c.client.List(ctx, &list, client.InNamespace(s.Namespace), client.MatchingLabels(ownLabels(s))); err != nil {
		return nil, err
	}
	for i := range list.Items {
		if err := c.remove(ctx, s, &list.Items[i], wanted); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func (c *Controller) applySlices(ctx context.Context, s *xinhariv1alpha1.Service) (*conditions.Outcome, error) {
	wanted, err := endpointSlices(s)
	if err != nil {
		return nil, err
	}
	list, err := c.slices(ctx, s)
	if err != nil {
		return nil, err
	}
	for _, slice := range wanted {
		var seen client.Object
		for i := range list {
			if list[i].Name == *slice.Name {
				seen = &list[i]
			}
		}
		if err := apply.Object(ctx, c.client, seen, slice); err != nil {
			return nil, fmt.Errorf("EndpointSlice %s: %w", *slice.Name, err)
		}
	}
	return nil, nil
}

func (c *Controller) removeSlices(ctx context.Context, s *xinhariv1alpha1.Service) (*conditions.Outcome, error) {
	desired, err := endpointSlices(s)
	if err != nil {
		return nil, err
	}
	wanted := map[string]bool{}
	for _, slice := range desired {
		wanted[*slice.Name] = true
	}
	list, err := c.slices(ctx, s)
	if err != nil {
		return nil, err
	}
	for i := range list {
		if list[i].Labels[discoveryv1.LabelManagedBy] != xinhariv1alpha1.EndpointSliceManager {
			continue
		}
		if err := c.remove(ctx, s, &list[i], wanted); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// remove deletes an object that is the Service's by label and by ownerReference, and that it no longer wants.
func (c *Controller) remove(ctx context.Context, s *xinhariv1alpha1.Service, o client.Object, wanted map[string]bool) error {
	if wanted[o.GetName()] || !ours(o, s) || !metav1.IsControlledBy(o, s) || !o.GetDeletionTimestamp().IsZero() {
		return nil
	}
	uid := o.GetUID()
	err := c.client.Delete(ctx, o, client.Preconditions{UID: &uid})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("deleting %s: %w", o.GetName(), err)
	}
	return nil
}

// slices returns the EndpointSlices that carry the Service's label.
func (c *Controller) slices(ctx context.Context, s *xinhariv1alpha1.Service) ([]discoveryv1.EndpointSlice, error) {
	var list discoveryv1.EndpointSliceList
	err := c.client.List(ctx, &list, client.InNamespace(s.Namespace), client.MatchingLabels{xinhariv1alpha1.LabelService: s.Name})
	return list.Items, err
}

func (c *Controller) existingCoreService(ctx context.Context, s *xinhariv1alpha1.Service) (*conditions.Outcome, error) {
	if s.Spec.CoreService != xinhariv1alpha1.CoreServiceExisting {
		return nil, nil
	}
	err := c.live.Get(ctx, client.ObjectKeyFromObject(s), new(corev1.Service))
	if apierrors.IsNotFound(err) {
		return &conditions.Outcome{
			State: conditions.Stalled, Reason: xinhariv1alpha1.ReasonNotFound,
			Message: fmt.Sprintf("core Service %s does not exist: create it, or remove spec.coreService so that the operator does", s.Name),
		}, nil
	}
	return nil, err
}

// permissions says whether the workload can start: its defaults and its rights, which another controller makes, are there.
func (c *Controller) permissions(ctx context.Context, s *xinhariv1alpha1.Service) (*conditions.Outcome, error) {
	defaults := new(corev1.ConfigMap)
	key := client.ObjectKey{Namespace: s.Namespace, Name: xinhariv1alpha1.RuntimeConfigMap}
	if found, err := c.find(ctx, key, defaults); err != nil {
		return nil, err
	} else if !found {
		return waiting("ConfigMap " + key.Name), nil
	}
	if defaults.Labels[xinhariv1alpha1.LabelManagedBy] != xinhariv1alpha1.ManagedBy {
		return foreign("ConfigMap", key.Name), nil
	}
	rights := new(rbacv1.RoleBinding)
	key.Name = xinhariv1alpha1.WorkloadRole
	if found, err := c.find(ctx, key, rights); err != nil {
		return nil, err
	} else if !found {
		return waiting("RoleBinding " + key.Name), nil
	}
	if rights.Labels[xinhariv1alpha1.LabelManagedBy] != xinhariv1alpha1.ManagedBy {
		return foreign("RoleBinding", key.Name), nil
	}
	if !slices.ContainsFunc(rights.Subjects, func(subject rbacv1.Subject) bool {
		return subject.Kind == rbacv1.ServiceAccountKind && subject.Namespace == s.Namespace && subject.Name == s.AccountName()
	}) {
		return waiting("account " + s.AccountName() + " in RoleBinding " + key.Name), nil
	}
	return nil, nil
}

// keyPair says whether the Secret with the key pair, which another controller keeps, is there. Where that is not known yet,
// as after a start of the operator, what was said of the same spec holds.
func (c *Controller) keyPair(_ context.Context, s *xinhariv1alpha1.Service) (*conditions.Outcome, error) {
	_, problem, known := c.keys.Report(s)
	if known {
		return problem, nil
	}
	last, said := conditions.Of(s.Status.Conditions)
	switch {
	case said && s.Status.ObservedGeneration == s.Generation && last.State != conditions.Ready:
		return &last, nil
	case said && s.Status.ObservedGeneration == s.Generation, s.Spec.Identity == nil || s.Spec.Identity.SecretName == "":
		return nil, nil
	}
	return waiting("Secret " + s.Spec.Identity.SecretName), nil
}

func waiting(what string) *conditions.Outcome {
	return &conditions.Outcome{
		State: conditions.Reconciling, Reason: xinhariv1alpha1.ReasonProgressing, Message: "waiting for " + what,
	}
}

func foreign(kind, name string) *conditions.Outcome {
	return &conditions.Outcome{
		State: conditions.Stalled, Reason: xinhariv1alpha1.ReasonNotOwned,
		Message: fmt.Sprintf("%s %s of this namespace is needed for workloads and was not made by the operator: "+
			"rename it, or delete it so that the operator can make its own", kind, name),
	}
}

// Register adds the controller to a manager.
func (c *Controller) Register(ctx context.Context, m ctrl.Manager) error {
	err := m.GetFieldIndexer().IndexField(ctx, &xinhariv1alpha1.Service{}, accountIndex, func(o client.Object) []string {
		return []string{o.(*xinhariv1alpha1.Service).AccountName()}
	})
	if err != nil {
		return fmt.Errorf("indexing Services by account: %w", err)
	}
	return ctrl.NewControllerManagedBy(m).
		Named(c.Name()).
		For(&xinhariv1alpha1.Service{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&xinhariv1alpha1.Service{}, c.sharers(), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&corev1.Service{}, handler.EnqueueRequestsFromMapFunc(labelled)).
		Watches(&discoveryv1.EndpointSlice{}, handler.EnqueueRequestsFromMapFunc(labelled)).
		Watches(&corev1.ConfigMap{}, handler.EnqueueRequestsFromMapFunc(c.neighbours)).
		Watches(&rbacv1.RoleBinding{}, handler.EnqueueRequestsFromMapFunc(c.neighbours)).
		WatchesRawSource(source.Channel(c.keys.Changes(), &handler.EnqueueRequestForObject{})).
		Complete(reconcile.AsReconciler(m.GetClient(), c))
}
