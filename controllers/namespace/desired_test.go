package namespace

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
)

func TestCallers(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	accounts := map[client.ObjectKey]string{
		{Namespace: "shop", Name: "orders"}:     "orders",
		{Namespace: "finance", Name: "billing"}: "biller",
	}
	service := []xinhariv1alpha1.Target{{Service: &xinhariv1alpha1.ServiceTarget{Name: "inventory", Methods: []string{"*"}}}}
	topic := []xinhariv1alpha1.Target{{Topic: &xinhariv1alpha1.TopicTarget{Name: "a", Verbs: []xinhariv1alpha1.TopicVerb{xinhariv1alpha1.Publish}}}}
	rule := func(to []xinhariv1alpha1.Target, from ...xinhariv1alpha1.Peer) xinhariv1alpha1.AccessRule {
		return xinhariv1alpha1.AccessRule{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop"},
			Spec:       xinhariv1alpha1.AccessRuleSpec{Action: xinhariv1alpha1.Allow, From: from, To: to},
		}
	}
	with := func(r xinhariv1alpha1.AccessRule, change func(*xinhariv1alpha1.AccessRuleSpec)) xinhariv1alpha1.AccessRule {
		change(&r.Spec)
		return r
	}
	orders := xinhariv1alpha1.Peer{Service: &xinhariv1alpha1.ServiceReference{Name: "orders"}}
	everyone := []string{"Group  system:serviceaccounts"}
	for _, test := range []struct {
		name   string
		rule   xinhariv1alpha1.AccessRule
		access *xinhariv1alpha1.ServiceAccess
		want   []string
		until  time.Time
	}{
		{name: "no rule concerns a Service", rule: rule(topic, orders)},
		{name: "a Service of this namespace", rule: rule(service, orders), want: []string{"ServiceAccount shop orders"}},
		{name: "a Service of another, by its account", rule: rule(service, xinhariv1alpha1.Peer{Service: &xinhariv1alpha1.ServiceReference{Name: "billing", Namespace: "finance"}}),
			want: []string{"ServiceAccount finance biller"}},
		{name: "a Service that does not exist", rule: rule(service, xinhariv1alpha1.Peer{Service: &xinhariv1alpha1.ServiceReference{Name: "ghost"}})},
		{name: "an account of this namespace", rule: rule(service, xinhariv1alpha1.Peer{ServiceAccount: &xinhariv1alpha1.ServiceAccountReference{Name: "batch"}}),
			want: []string{"ServiceAccount shop batch"}},
		{name: "a namespace", rule: rule(service, xinhariv1alpha1.Peer{EveryoneIn: "monitoring"}), want: []string{"Group  system:serviceaccounts:monitoring"}},
		{name: "an identity", rule: rule(service, xinhariv1alpha1.Peer{SPIFFEID: "spiffe://cluster.local/ns/a/sa/b"}), want: []string{"ServiceAccount a b"}},
		{name: "an identity of another trust domain", rule: rule(service, xinhariv1alpha1.Peer{SPIFFEID: "spiffe://cluster.local.evil/ns/a/sa/b"})},
		{name: "anyone", rule: rule(service, xinhariv1alpha1.Peer{Anyone: xinhariv1alpha1.Authenticated}), want: everyone},
		{name: "each once, in order", rule: rule(service, orders, xinhariv1alpha1.Peer{EveryoneIn: "a"}, orders),
			want: []string{"Group  system:serviceaccounts:a", "ServiceAccount shop orders"}},
		{name: "a Deny", rule: with(rule(service, orders), func(s *xinhariv1alpha1.AccessRuleSpec) { s.Action = xinhariv1alpha1.Deny })},
		{name: "an audited Allow", rule: with(rule(service, orders), func(s *xinhariv1alpha1.AccessRuleSpec) { s.Mode = xinhariv1alpha1.Audit })},
		{name: "until a time", rule: with(rule(service, orders), func(s *xinhariv1alpha1.AccessRuleSpec) { s.Expires = &metav1.Time{Time: now.Add(time.Hour)} }),
			want: []string{"ServiceAccount shop orders"}, until: now.Add(time.Hour)},
		{name: "from that time on", rule: with(rule(service, orders), func(s *xinhariv1alpha1.AccessRuleSpec) { s.Expires = &metav1.Time{Time: now} })},
		{name: "a Service that allows by default", rule: rule(topic, orders), access: &xinhariv1alpha1.ServiceAccess{Default: xinhariv1alpha1.Allow}, want: everyone},
		{name: "a Service that only audits", rule: rule(topic, orders), access: &xinhariv1alpha1.ServiceAccess{Mode: xinhariv1alpha1.Audit}, want: everyone},
	} {
		t.Run(test.name, func(t *testing.T) {
			services := []xinhariv1alpha1.Service{{
				ObjectMeta: metav1.ObjectMeta{Name: "inventory", Namespace: "shop"}, Spec: xinhariv1alpha1.ServiceSpec{Access: test.access},
			}}
			o := desired("shop", services, []xinhariv1alpha1.AccessRule{test.rule}, accounts, Defaults{TrustDomain: "cluster.local"}, trusted{}, now)
			var got []string
			if o.caller != nil {
				for _, s := range o.caller.Subjects {
					ns := ""
					if s.Namespace != nil {
						ns = *s.Namespace
					}
					got = append(got, fmt.Sprintf("%s %s %s", *s.Kind, ns, *s.Name))
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("callers (-want +got):\n%s", diff)
			}
			if !o.until.Equal(test.until) {
				t.Errorf("changes at %v, want %v", o.until, test.until)
			}
		})
	}
}

func TestNothingWithoutAService(t *testing.T) {
	o := desired("shop", nil, nil, nil, Defaults{TrustDomain: "cluster.local"}, trusted{}, time.Now())
	if o.defaults != nil || o.workload != nil || o.caller != nil {
		t.Errorf("a namespace without a Service gets %+v", o)
	}
}

func TestDefaultsThatAreNotGivenAreNotTold(t *testing.T) {
	if diff := cmp.Diff(map[string]string{"trustDomain": "cluster.local"}, data(Defaults{TrustDomain: "cluster.local"}, trusted{})); diff != "" {
		t.Errorf("data (-want +got):\n%s", diff)
	}
}
