package v1alpha1

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestCertificateBasis holds what a certificate depends on, and that the order of the Services and what else they say does not count.
func TestCertificateBasis(t *testing.T) {
	orders := func(change func(*Service)) *Service {
		s := &Service{ObjectMeta: metav1.ObjectMeta{Name: "orders"}, Spec: ServiceSpec{Selector: Labels{"app": "orders", "tier": "a"}}}
		change(s)
		return s
	}
	none := func(*Service) {}
	other := &Service{ObjectMeta: metav1.ObjectMeta{Name: "billing"}, Spec: ServiceSpec{ServiceAccountName: "orders"}}
	one := CertificateBasis([]*Service{orders(none)}, "orders")
	both := []*Service{orders(none), other}
	naming, two := NamingAccount(both, "orders"), CertificateBasis(both, "orders")
	if len(naming) != 2 || naming[0] != other || two == one || len(one) != 64 {
		t.Errorf("got %v, %s and %s", naming, one, two)
	}
	for _, test := range []struct {
		name     string
		services []*Service
		want     string
	}{
		{"in another order", []*Service{other, orders(none)}, two},
		{"one of another account", []*Service{orders(none), {ObjectMeta: metav1.ObjectMeta{Name: "x"}}}, one},
		{"one that is being deleted", []*Service{orders(none), {ObjectMeta: metav1.ObjectMeta{Name: "x", DeletionTimestamp: new(metav1.Now())}, Spec: other.Spec}}, one},
		{"another port", []*Service{orders(func(s *Service) { s.Spec.Ports = []ServicePort{{Name: "x", Port: 1}} })}, one},
		{"another mode", []*Service{orders(func(s *Service) { s.Spec.Identity = &ServiceIdentity{Mode: IdentityPermissive} })}, one},
		{"a status", []*Service{orders(func(s *Service) { s.Generation = 7; s.Status.ObservedGeneration = 7 })}, one},
	} {
		if got := CertificateBasis(test.services, "orders"); got != test.want {
			t.Errorf("%s: another basis", test.name)
		}
	}
	for name, change := range map[string]func(*Service){
		"another selector": func(s *Service) { s.Spec.Selector["tier"] = "b" },
		"clientOnly":       func(s *Service) { s.Spec.ClientOnly = true },
		"coreService":      func(s *Service) { s.Spec.CoreService = CoreServiceExisting },
		"another life":     func(s *Service) { s.Spec.Identity = &ServiceIdentity{Duration: "1h"} },
		"another account":  func(s *Service) { s.Spec.ServiceAccountName = "x" },
	} {
		if got := CertificateBasis([]*Service{orders(change)}, "orders"); got == one {
			t.Errorf("%s: the same basis", name)
		}
	}
}
