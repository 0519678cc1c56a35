package envtest

import (
	"context"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
)

// may asks the API server whether an account may do something in a namespace.
func (w *world) may(account, verb, group, resource, name, namespace string) bool {
	w.Helper()
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User:   "system:serviceaccount:" + account,
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + strings.Split(account, ":")[0], "system:authenticated"},
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Verb: verb, Group: group, Resource: resource, Name: name, Namespace: namespace,
		},
	}}
	if err := w.Create(context.Background(), review); err != nil {
		w.Fatal(err)
	}
	return review.Status.Allowed
}

func testRights(t *testing.T) {
	shop, finance := newWorld(t), newWorld(t)
	shop.service("inventory", `selector: {app: inventory}`)
	finance.service("billing", "clientOnly: true\nserviceAccountName: biller")
	shop.ready("inventory")
	finance.ready("billing")
	inventory, biller := shop.namespace+":inventory", finance.namespace+":biller"

	finds := func(account, namespace string) bool {
		return shop.may(account, "watch", "discovery.k8s.io", "endpointslices", "", namespace) &&
			shop.may(account, "get", "xinhari.com", "services", "inventory", namespace)
	}
	eventually(t, func() string {
		if !finds(inventory, shop.namespace) || !finds(biller, finance.namespace) {
			return "an account cannot read its own namespace"
		}
		return ""
	})
	for _, resource := range []string{"accessrules", "configsources", "topics"} {
		if !shop.may(inventory, "watch", "xinhari.com", resource, "", shop.namespace) {
			t.Errorf("an account cannot watch %s of its namespace", resource)
		}
	}
	if !shop.may(inventory, "watch", "", "configmaps", "xinhari", shop.namespace) {
		t.Error("an account cannot watch the defaults")
	}
	for _, too := range []struct{ verb, group, resource, name, namespace string }{
		{"get", "", "configmaps", "other", shop.namespace},
		{"get", "", "secrets", "", shop.namespace},
		{"list", "", "pods", "", shop.namespace},
		{"patch", "xinhari.com", "services", "inventory", shop.namespace},
		{"patch", "xinhari.com", "services/status", "inventory", shop.namespace},
		{"watch", "discovery.k8s.io", "endpointslices", "", finance.namespace},
		{"get", "xinhari.com", "services", "billing", finance.namespace},
	} {
		if shop.may(inventory, too.verb, too.group, too.resource, too.name, too.namespace) {
			t.Errorf("an account may %s %s %s in %s", too.verb, too.resource, too.name, too.namespace)
		}
	}
	if finds(biller, shop.namespace) {
		t.Error("an account finds what nobody lets it call")
	}

	shop.rule("billing", `
action: Allow
from: [{service: {name: billing, namespace: `+finance.namespace+`}}]
to: [{service: {name: inventory, methods: ["*"]}}]`)
	eventually(t, func() string {
		if !finds(biller, shop.namespace) {
			return "an account does not find what a rule lets it call"
		}
		return ""
	})
	if shop.may(biller, "list", "xinhari.com", "accessrules", "", shop.namespace) {
		t.Error("a caller may read the rules of the namespace it calls")
	}

	// The rule follows the account of the Service.
	finance.service("billing", "clientOnly: true\nserviceAccountName: other")
	eventually(t, func() string {
		if finds(biller, shop.namespace) || !finds(finance.namespace+":other", shop.namespace) {
			return "the rights did not follow the account"
		}
		return ""
	})
}
