package service

import (
	"context"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
)

// accountIndex is the name of the cache's index of Services by their account.
const accountIndex = "account"

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// labelled maps an object to the Service that its label names.
func labelled(_ context.Context, o client.Object) []reconcile.Request {
	name := o.GetLabels()[xinhariv1alpha1.LabelService]
	if name == "" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: o.GetNamespace(), Name: name}}}
}

// neighbours maps an object that serves a whole namespace to the Services of it.
func (c *Controller) neighbours(ctx context.Context, o client.Object) []reconcile.Request {
	if name := o.GetName(); name != xinhariv1alpha1.RuntimeConfigMap && name != xinhariv1alpha1.WorkloadRole {
		return nil
	}
	return c.requests(ctx, client.InNamespace(o.GetNamespace()))
}

// sharers maps a Service to the others of its account: of the one it has and of the one it had.
func (c *Controller) sharers() handler.EventHandler {
	enqueue := func(ctx context.Context, o client.Object, q queue) {
		s := o.(*xinhariv1alpha1.Service)
		for _, request := range c.requests(ctx, client.InNamespace(s.Namespace), client.MatchingFields{accountIndex: s.AccountName()}) {
			q.Add(request)
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) { enqueue(ctx, e.Object, q) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			enqueue(ctx, e.ObjectOld, q)
			enqueue(ctx, e.ObjectNew, q)
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { enqueue(ctx, e.Object, q) },
	}
}

// requests lists Services from the cache, which cannot fail once it runs.
func (c *Controller) requests(ctx context.Context, options ...client.ListOption) []reconcile.Request {
	var list xinhariv1alpha1.ServiceList
	if err := c.client.List(ctx, &list, options...); err != nil {
		return nil
	}
	requests := make([]reconcile.Request, 0, len(list.Items))
	for i := range list.Items {
		requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
	}
	return requests
}
