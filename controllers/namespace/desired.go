package namespace

import (
	"cmp"
	"slices"
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	rbacv1ac "k8s.io/client-go/applyconfigurations/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
)

// everyAccount is the group of every ServiceAccount of the cluster.
const everyAccount = "system:serviceaccounts"

// objects is what a namespace should have; nil is none.
type objects struct {
	defaults *corev1ac.ConfigMapApplyConfiguration
	workload *rbacv1ac.RoleBindingApplyConfiguration
	caller   *rbacv1ac.RoleBindingApplyConfiguration
	until    time.Time // when this changes by itself; zero is never
}

// trusted is whom the workloads of a namespace are told to trust, and the name of the issuer that signs for them.
type trusted struct{ bundle, issuer string }

func desired(
	namespace string, services []xinhariv1alpha1.Service, rules []xinhariv1alpha1.AccessRule,
	accounts map[client.ObjectKey]string, defaults Defaults, t trusted, now time.Time,
) objects {
	var workloads, callers []rbacv1.Subject
	for i := range services {
		s := &services[i]
		if !s.DeletionTimestamp.IsZero() {
			continue
		}
		workloads = append(workloads, account(namespace, s.AccountName()))
		if s.Spec.Access.EffectiveDefault() == xinhariv1alpha1.Allow || s.Spec.Access.EffectiveMode() == xinhariv1alpha1.Audit {
			callers = append(callers, group(everyAccount))
		}
	}
	if len(workloads) == 0 {
		return objects{}
	}
	var o objects
	for i := range rules {
		rule := &rules[i]
		if !admits(rule, now) {
			continue
		}
		if end := rule.Spec.Expires; end != nil && (o.until.IsZero() || end.Time.Before(o.until)) {
			o.until = end.Time
		}
		for j := range rule.Spec.From {
			callers = append(callers, subjects(rule.Namespace, &rule.Spec.From[j], accounts, defaults.TrustDomain)...)
		}
	}
	o.defaults = corev1ac.ConfigMap(xinhariv1alpha1.RuntimeConfigMap, namespace).WithLabels(ownLabels()).WithData(data(defaults, t))
	o.workload = roleBinding(xinhariv1alpha1.WorkloadRole, namespace, workloads)
	o.caller = roleBinding(xinhariv1alpha1.CallerRole, namespace, callers)
	return o
}

// admits says whether a rule lets anyone call a Service now.
func admits(rule *xinhariv1alpha1.AccessRule, now time.Time) bool {
	switch {
	case !rule.DeletionTimestamp.IsZero(),
		rule.Spec.Action != xinhariv1alpha1.Allow,
		rule.Spec.EffectiveMode() != xinhariv1alpha1.Enforce,
		rule.Spec.Expires != nil && !now.Before(rule.Spec.Expires.Time):
		return false
	}
	return slices.ContainsFunc(rule.Spec.To, func(t xinhariv1alpha1.Target) bool { return t.Service != nil })
}

// subjects returns those whom RBAC knows of the callers that a rule names. A Service that does not exist has none.
func subjects(namespace string, p *xinhariv1alpha1.Peer, accounts map[client.ObjectKey]string, trustDomain string) []rbacv1.Subject {
	switch {
	case p.Service != nil:
		key := serviceKey(namespace, p.Service)
		if name, ok := accounts[key]; ok {
			return []rbacv1.Subject{account(key.Namespace, name)}
		}
	case p.ServiceAccount != nil:
		return []rbacv1.Subject{account(cmp.Or(p.ServiceAccount.Namespace, namespace), p.ServiceAccount.Name)}
	case p.EveryoneIn != "":
		return []rbacv1.Subject{group(everyAccount + ":" + p.EveryoneIn)}
	case p.SPIFFEID != "":
		path, ours := strings.CutPrefix(p.SPIFFEID, "spiffe://"+trustDomain+"/ns/")
		if ns, name, ok := strings.Cut(path, "/sa/"); ours && ok {
			return []rbacv1.Subject{account(ns, name)}
		}
	case p.Anyone != "":
		return []rbacv1.Subject{group(everyAccount)}
	}
	return nil
}

// servicesNamed returns the Services that a rule names as callers.
func servicesNamed(rule *xinhariv1alpha1.AccessRule) []client.ObjectKey {
	var keys []client.ObjectKey
	for _, p := range rule.Spec.From {
		if p.Service != nil {
			keys = append(keys, serviceKey(rule.Namespace, p.Service))
		}
	}
	return keys
}

func serviceKey(namespace string, r *xinhariv1alpha1.ServiceReference) client.ObjectKey {
	return client.ObjectKey{Namespace: cmp.Or(r.Namespace, namespace), Name: r.Name}
}

func account(namespace, name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: name}
}

func group(name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: name}
}

// roleBinding returns a RoleBinding of the ClusterRole of the same name to the subjects, each once and in order; nil for
// no subjects.
func roleBinding(role, namespace string, subjects []rbacv1.Subject) *rbacv1ac.RoleBindingApplyConfiguration {
	if len(subjects) == 0 {
		return nil
	}
	slices.SortFunc(subjects, func(a, b rbacv1.Subject) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	binding := rbacv1ac.RoleBinding(role, namespace).WithLabels(ownLabels()).
		WithRoleRef(rbacv1ac.RoleRef().WithAPIGroup(rbacv1.GroupName).WithKind("ClusterRole").WithName(role))
	for _, s := range slices.Compact(subjects) {
		subject := rbacv1ac.Subject().WithKind(s.Kind).WithName(s.Name)
		if s.APIGroup != "" {
			subject.WithAPIGroup(s.APIGroup)
		}
		if s.Namespace != "" {
			subject.WithNamespace(s.Namespace)
		}
		binding.WithSubjects(subject)
	}
	return binding
}

func data(d Defaults, t trusted) map[string]string {
	all := map[string]string{
		xinhariv1alpha1.KeyTrustDomain:   d.TrustDomain,
		xinhariv1alpha1.KeyOperatorID:    d.OperatorID,
		xinhariv1alpha1.KeyNATSURL:       d.NATSURL,
		xinhariv1alpha1.KeyEtcdEndpoints: strings.Join(d.EtcdEndpoints, ","),
		xinhariv1alpha1.KeyTrustBundle:   t.bundle,
		xinhariv1alpha1.KeyIssuer:        t.issuer,
	}
	for key, value := range all {
		if value == "" {
			delete(all, key)
		}
	}
	return all
}

func ownLabels() map[string]string {
	return map[string]string{xinhariv1alpha1.LabelManagedBy: xinhariv1alpha1.ManagedBy}
}
