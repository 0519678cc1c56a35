package keypair

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
	"github.com/xinhari/xinhari/controllers/internal/collector"
)

// Register adds the controller to a manager.
func (c *Controller) Register(_ context.Context, m ctrl.Manager) error {
	var err error
	if c.meter, err = collector.Register(metrics.Registry, c.meter); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	return ctrl.NewControllerManagedBy(m).
		Named(c.Name()).
		Watches(&xinhariv1alpha1.Service{}, c.neighbours(), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		WatchesRawSource(source.Kind(c.own, &corev1.Secret{}, handler.TypedEnqueueRequestsFromMapFunc(
			func(ctx context.Context, _ *corev1.Secret) []reconcile.Request { return requests(c.keeping(ctx)) }))).
		WatchesRawSource(source.Kind(c.own, &corev1.ConfigMap{}, handler.TypedEnqueueRequestsFromMapFunc(
			func(ctx context.Context, _ *corev1.ConfigMap) []reconcile.Request { return requests(c.keeping(ctx)) }), bundleChanged())).
		WithOptions(controller.Options{
			// A certificate must not run out while a failure is waited out.
			RateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](100*time.Millisecond, 30*time.Second),
		}).
		Complete(c)
}

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// neighbours maps a Service to itself and to those of its namespace whose certificates may name it.
func (c *Controller) neighbours() handler.EventHandler {
	enqueue := func(ctx context.Context, o client.Object, q queue) {
		if !c.namespaces[o.GetNamespace()] {
			return
		}
		q.Add(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(o)})
		for _, r := range requests(c.keeping(ctx, client.InNamespace(o.GetNamespace()))) {
			q.Add(r)
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) { enqueue(ctx, e.Object, q) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) { enqueue(ctx, e.ObjectNew, q) },
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { enqueue(ctx, e.Object, q) },
	}
}

// bundleChanged passes over changes of the state that stands beside the bundle.
func bundleChanged() predicate.TypedPredicate[*corev1.ConfigMap] {
	return predicate.TypedFuncs[*corev1.ConfigMap]{
		UpdateFunc: func(e event.TypedUpdateEvent[*corev1.ConfigMap]) bool {
			return e.ObjectOld.Data[xinhariv1alpha1.KeyTrustBundle] != e.ObjectNew.Data[xinhariv1alpha1.KeyTrustBundle]
		},
	}
}

func requests(keys []client.ObjectKey) []reconcile.Request {
	all := make([]reconcile.Request, 0, len(keys))
	for _, key := range keys {
		all = append(all, reconcile.Request{NamespacedName: key})
	}
	return all
}
