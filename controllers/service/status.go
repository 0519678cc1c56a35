package service

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
	"github.com/xinhari/xinhari/controllers/internal/conditions"
)

// status returns what the Service's status should be.
func (c *Controller) status(ctx context.Context, s *xinhariv1alpha1.Service, outcome conditions.Outcome) (*xinhariv1alpha1.ServiceStatus, error) {
	status := &xinhariv1alpha1.ServiceStatus{
		ObservedGeneration: s.Generation,
		SPIFFEID:           spiffeID(c.trustDomain, s),
		Conditions:         conditions.Set(s.Status.Conditions, s.Generation, outcome),
	}
	if !s.Spec.ClientOnly {
		list, err := c.ownEndpoints(ctx, s)
		if err != nil {
			return nil, err
		}
		ready, total := count(list)
		status.Endpoints = &xinhariv1alpha1.EndpointCount{Ready: &ready, Total: &total}
	}
	var sharing xinhariv1alpha1.ServiceList
	if err := c.client.List(ctx, &sharing, client.InNamespace(s.Namespace), client.MatchingFields{accountIndex: s.AccountName()}); err != nil {
		return nil, err
	}
	var names []string
	for i := range sharing.Items {
		if other := &sharing.Items[i]; other.Name != s.Name && other.DeletionTimestamp.IsZero() {
			names = append(names, other.Name)
		}
	}
	slices.Sort(names)
	status.Conditions = conditions.While(status.Conditions, s.Generation, len(names) > 0, xinhariv1alpha1.ConditionSharedIdentity,
		xinhariv1alpha1.ReasonSharedAccount, sharedMessage(s.AccountName(), names))
	inSecret, _, known := c.keys.Report(s)
	if said := meta.FindStatusCondition(s.Status.Conditions, xinhariv1alpha1.ConditionKeyInSecret); !known && said != nil {
		inSecret = said.Message
	}
	status.Conditions = conditions.While(status.Conditions, s.Generation, inSecret != "", xinhariv1alpha1.ConditionKeyInSecret,
		xinhariv1alpha1.ReasonReadersCanBeIt, inSecret)
	return status, nil
}

// sharedMessage names a few of the Services only, since conditions are bounded.
func sharedMessage(account string, names []string) string {
	const few = 10
	others := strings.Join(names[:min(few, len(names))], ", ")
	if len(names) > few {
		others += fmt.Sprintf(" and %d more", len(names)-few)
	}
	return fmt.Sprintf("account %s is also that of %s: rules cannot tell them apart; "+
		"give each an account of its own by spec.serviceAccountName", account, others)
}

// ownEndpoints returns the slices of the Service's core Service, without those of its versions, which repeat the pods.
// The slices of a core Service that someone else made carry no label of ours, so the cache does not have them.
func (c *Controller) ownEndpoints(ctx context.Context, s *xinhariv1alpha1.Service) ([]discoveryv1.EndpointSlice, error) {
	var list discoveryv1.EndpointSliceList
	reader := client.Reader(c.client)
	if s.Spec.CoreService == xinhariv1alpha1.CoreServiceExisting {
		reader = c.live
	}
	err := reader.List(ctx, &list, client.InNamespace(s.Namespace), client.MatchingLabels{discoveryv1.LabelServiceName: s.Name})
	return list.Items, err
}

// write sends the status, if it changed, and tells of a change of Ready in an event.
func (c *Controller) write(ctx context.Context, s *xinhariv1alpha1.Service, status *xinhariv1alpha1.ServiceStatus) error {
	if reflect.DeepEqual(&s.Status, status) {
		return nil
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(status)
	if err != nil {
		return err
	}
	u := &unstructured.Unstructured{Object: map[string]any{"status": content}}
	u.SetGroupVersionKind(xinhariv1alpha1.Kind("Service"))
	u.SetNamespace(s.Namespace)
	u.SetName(s.Name)
	// The status speaks of the Service as it was read. Of one that changed meanwhile, or whose last status had not reached
	// the cache, it would say what is not so, or tell of the same change twice.
	u.SetUID(s.UID)
	u.SetResourceVersion(s.ResourceVersion)
	err = c.client.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(u),
		client.FieldOwner(xinhariv1alpha1.FieldOwner), client.ForceOwnership)
	if err != nil {
		return fmt.Errorf("status of Service %s: %w", s.Name, err)
	}
	was, is := readyOf(s.Status.Conditions), readyOf(status.Conditions)
	if was.Status != is.Status || was.Reason != is.Reason {
		kind := corev1.EventTypeNormal
		if is.Status != metav1.ConditionTrue && is.Reason != xinhariv1alpha1.ReasonProgressing {
			kind = corev1.EventTypeWarning
		}
		c.recorder.Eventf(s, nil, kind, is.Reason, "Reconcile", "%s", is.Message)
	}
	return nil
}

func readyOf(all []metav1.Condition) metav1.Condition {
	if ready := meta.FindStatusCondition(all, xinhariv1alpha1.ConditionReady); ready != nil {
		return *ready
	}
	return metav1.Condition{}
}
