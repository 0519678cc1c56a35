package keypair

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
	"github.com/xinhari/xinhari/controllers/internal/conditions"
)

// reasonUnusable is the reason of events while the issuer cannot sign.
const reasonUnusable = "IssuerUnusable"

// Report returns what the status of a Service is to say of its Secret: what the condition KeyInSecret says, which is not
// there if that is empty, and why the Service is not ready, if that is why. It is not known until the Service was looked at.
func (c *Controller) Report(s *xinhariv1alpha1.Service) (inSecret string, problem *conditions.Outcome, known bool) {
	had := meta.IsStatusConditionTrue(s.Status.Conditions, xinhariv1alpha1.ConditionKeyInSecret)
	switch {
	case c.namespaces[s.Namespace]:
		if secretName(s) == "" && !had {
			return "", nil, true
		}
		return c.memory.reported(s)
	case secretName(s) == "":
		return "", nil, true
	case had:
		inSecret = fmt.Sprintf("Secret %s may hold a key of this Service from when the operator could write it: delete it", secretName(s))
	}
	return inSecret, &conditions.Outcome{
		State: conditions.Stalled, Reason: xinhariv1alpha1.ReasonNotGranted,
		Message: fmt.Sprintf("the operator may not write Secret %s: either have namespace %s added to the chart's value secretNamespaces, "+
			"or remove spec.identity.secretName", secretName(s), s.Namespace),
	}, true
}

// Changes returns where Services come from whose Report changed. It blocks who changes one, so it must be read.
func (c *Controller) Changes() <-chan event.GenericEvent { return c.changes }

// tell notes what the Service is to say, and has it said if that changed.
func (c *Controller) tell(ctx context.Context, s *xinhariv1alpha1.Service, problem *conditions.Outcome) {
	inSecret := ""
	if secretName(s) != "" && (problem == nil || problem.Reason != xinhariv1alpha1.ReasonNotOwned) {
		inSecret = c.meaning(s)
	}
	if !c.memory.report(s, inSecret, problem) {
		return
	}
	// Of most Services there is nothing to say, and nothing was said.
	if secretName(s) == "" && !meta.IsStatusConditionTrue(s.Status.Conditions, xinhariv1alpha1.ConditionKeyInSecret) && s.Status.ObservedGeneration == s.Generation {
		return
	}
	select {
	case c.changes <- event.GenericEvent{Object: s}:
	case <-ctx.Done():
	}
}

// meaning says what it means that the Service's key is in a Secret.
func (c *Controller) meaning(s *xinhariv1alpha1.Service) string {
	message := fmt.Sprintf("who can read Secret %s of this namespace can be spiffe://%s/ns/%s/sa/%s, to every Service and rule: "+
		"let nobody else read it, or remove spec.identity.secretName and link the runtime, whose keys are in no object",
		secretName(s), c.trustDomain, s.Namespace, s.AccountName())
	if life, err := s.Spec.Identity.EffectiveDuration(); err == nil && life < comfortable {
		message += fmt.Sprintf("; its certificates may run out before new ones reach its readers: make spec.identity.duration %s or more",
			comfortable.Truncate(time.Second))
	}
	return message
}

func notOwned(s *xinhariv1alpha1.Service) *conditions.Outcome {
	return &conditions.Outcome{
		State: conditions.Stalled, Reason: xinhariv1alpha1.ReasonNotOwned,
		Message: fmt.Sprintf("Secret %s exists and was not made for this Service: "+
			"either name another in spec.identity.secretName, or delete it so that the operator can make its own", secretName(s)),
	}
}

// wants says whether a Service's Secret is this controller's to keep.
func (c *Controller) wants(s *xinhariv1alpha1.Service) bool {
	return c.namespaces[s.Namespace] && secretName(s) != ""
}

// keeping returns the Services of a namespace, or of all, whose Secrets are kept.
func (c *Controller) keeping(ctx context.Context, options ...client.ListOption) []client.ObjectKey {
	var list xinhariv1alpha1.ServiceList
	if err := c.client.List(ctx, &list, append(options, client.UnsafeDisableDeepCopy)...); err != nil {
		return nil // a cache that runs cannot fail
	}
	var keys []client.ObjectKey
	for i := range list.Items {
		if c.wants(&list.Items[i]) {
			keys = append(keys, client.ObjectKeyFromObject(&list.Items[i]))
		}
	}
	return keys
}
