package keypair

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
	"github.com/xinhari/xinhari/controllers/signer/issuer"
	"github.com/xinhari/xinhari/pkg/identity"
)

// began is when the certificates of these tests are made.
func began() time.Time { return time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC) }

func service(t *testing.T, name, spec string) xinhariv1alpha1.Service {
	t.Helper()
	s := xinhariv1alpha1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop", UID: "one", Generation: 1}}
	if err := yaml.UnmarshalStrict([]byte(spec), &s.Spec); err != nil {
		t.Fatal(err)
	}
	return s
}

func newIssuer(t *testing.T) issuer.Current {
	t.Helper()
	data, err := issuer.New("cluster.local", began())
	if err != nil {
		t.Fatal(err)
	}
	i, err := issuer.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return issuer.Current{Issuer: i, Ends: i.RootsEnd()}
}

func newWanted(t *testing.T) wanted {
	t.Helper()
	s := service(t, "inventory", "selector: {app: inventory}\nidentity: {secretName: inventory-tls}")
	i := newIssuer(t)
	return wanted{
		service: &s, services: givers(&s, []xinhariv1alpha1.Service{s}), issuer: i, roots: i.Roots(), now: began(),
		id: identity.ID{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "inventory"},
	}
}

// TestStale holds what makes a pair one that is to be replaced, and what does not.
func TestStale(t *testing.T) {
	other := newIssuer(t)
	for _, test := range []struct {
		name   string
		change func(t *testing.T, w *wanted, p *pair)
		want   string // nothing where the pair stays
	}{
		{"it is as it was made", func(*testing.T, *wanted, *pair) {}, ""},
		{"just before half of its life", func(_ *testing.T, w *wanted, _ *pair) { w.now = w.now.Add(12*time.Hour - time.Second) }, ""},
		{"half of its life", func(_ *testing.T, w *wanted, _ *pair) { w.now = w.now.Add(12 * time.Hour) }, "half"},
		{"it ended", func(_ *testing.T, w *wanted, _ *pair) { w.now = w.now.Add(25 * time.Hour) }, "valid from"},
		{"the clock was put back", func(_ *testing.T, w *wanted, _ *pair) { w.now = w.now.Add(-time.Hour) }, "valid from"},
		{"no key", func(_ *testing.T, _ *wanted, p *pair) { p.key = nil }, "no key"},
		{"no certificate", func(_ *testing.T, _ *wanted, p *pair) { p.chain = nil }, "needed"},
		{"another key", func(t *testing.T, _ *wanted, p *pair) {
			var err error
			if p.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
				t.Fatal(err)
			}
		}, "key is not"},
		{"a certificate more", func(_ *testing.T, w *wanted, p *pair) { p.chain = append(slices.Clone(p.chain), w.roots...) }, "another issuer"},
		{"a root more", func(_ *testing.T, w *wanted, _ *pair) { w.roots = append(slices.Clone(w.roots), other.Roots()...) }, ""},
		{"another root alone", func(_ *testing.T, w *wanted, _ *pair) { w.roots = other.Roots() }, "unknown authority"},
		{"another issuer", func(_ *testing.T, w *wanted, _ *pair) {
			w.issuer, w.roots = other, append(slices.Clone(w.roots), other.Roots()...)
		}, "another issuer"},
		{"no issuer that can sign", func(_ *testing.T, w *wanted, _ *pair) { w.issuer, w.unusable = issuer.Current{}, issuer.ErrUnusable }, "cannot sign"},
		{"another account", func(_ *testing.T, w *wanted, _ *pair) { w.id.ServiceAccount = "stock" }, "another account"},
		{"a Service more", func(t *testing.T, w *wanted, _ *pair) {
			w.services = append(w.services, service(t, "stock", "clientOnly: true"))
		}, "names"},
		{"a shorter life", func(t *testing.T, w *wanted, _ *pair) {
			w.services = []xinhariv1alpha1.Service{service(t, "inventory", "identity: {duration: 23h}")}
		}, "another life"},
		{"a longer life", func(t *testing.T, w *wanted, _ *pair) {
			w.services = []xinhariv1alpha1.Service{service(t, "inventory", "identity: {duration: 72h}")}
		}, "another life"},
		{"the issuer ends with it", func(t *testing.T, w *wanted, p *pair) {
			w.issuer.Ends = w.now.Add(time.Hour)
			var err error
			if *p, err = w.make(); err != nil {
				t.Fatal(err)
			}
			w.now = w.now.Add(59 * time.Minute)
		}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWanted(t)
			p, err := w.make()
			if err != nil {
				t.Fatal(err)
			}
			test.change(t, &w, &p)
			got := w.stale(p)
			if test.want == "" && got != "" || !strings.Contains(got, test.want) {
				t.Errorf("it is stale since %q, want %q", got, test.want)
			}
		})
	}
}

// TestMake holds that a pair is never one that its own readers would refuse, and that what is written is what is read.
func TestMake(t *testing.T) {
	w := newWanted(t)
	p, err := w.make()
	if err != nil {
		t.Fatal(err)
	}
	data, err := p.data()
	if err != nil {
		t.Fatal(err)
	}
	again := parse(data)
	if !again.key.Equal(p.key) || !slices.EqualFunc(again.chain, p.chain, (*x509.Certificate).Equal) || !slices.EqualFunc(again.roots, w.roots, (*x509.Certificate).Equal) {
		t.Error("what is read is not what was written")
	}
	if second, err := w.make(); err != nil || second.key.Equal(p.key) {
		t.Errorf("the next pair has the same key, %v", err)
	}
	w.roots = newIssuer(t).Roots()
	if _, err := w.make(); err == nil {
		t.Error("a pair is made that does not go with the roots")
	}
}

func TestGivers(t *testing.T) {
	all := []xinhariv1alpha1.Service{
		service(t, "inventory", "selector: {app: inventory, tier: back}"),
		service(t, "all-of-it", "selector: {app: inventory}\nserviceAccountName: inventory"),
		service(t, "worker", "clientOnly: true\nserviceAccountName: inventory"),
		service(t, "blue", "selector: {app: inventory, colour: blue}\nserviceAccountName: inventory"),
		service(t, "back", "selector: {tier: back}"),
		service(t, "machine", "serviceAccountName: inventory\nendpoints: [{address: 192.0.2.1}]"),
	}
	for _, test := range []struct {
		of   int
		want []string
	}{
		{0, []string{"all-of-it", "inventory", "worker"}},
		{1, []string{"all-of-it", "worker"}},
		{4, []string{"back"}},
		{5, []string{"machine", "worker"}},
	} {
		var got []string
		for _, s := range givers(&all[test.of], all) {
			got = append(got, s.Name)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", all[test.of].Name, diff)
		}
	}
}

func TestOurs(t *testing.T) {
	s := service(t, "inventory", "selector: {app: inventory}")
	before := s
	before.UID = "another"
	other := service(t, "orders", "selector: {app: orders}")
	labels := func(service string) map[string]string {
		return map[string]string{xinhariv1alpha1.LabelService: service, xinhariv1alpha1.LabelManagedBy: xinhariv1alpha1.ManagedBy}
	}
	owner := func(o *xinhariv1alpha1.Service) []metav1.OwnerReference {
		return []metav1.OwnerReference{*metav1.NewControllerRef(o, xinhariv1alpha1.Kind("Service"))}
	}
	for _, test := range []struct {
		name string
		o    metav1.ObjectMeta
		want bool
	}{
		{"made for it", metav1.ObjectMeta{Labels: labels("inventory"), OwnerReferences: owner(&s)}, true},
		{"labels alone", metav1.ObjectMeta{Labels: labels("inventory")}, true},
		{"made for one before it", metav1.ObjectMeta{Labels: labels("inventory"), OwnerReferences: owner(&before)}, true},
		{"an owner alone", metav1.ObjectMeta{OwnerReferences: owner(&s)}, false},
		{"another Service's", metav1.ObjectMeta{Labels: labels("orders"), OwnerReferences: owner(&other)}, false},
		{"another's by its owner", metav1.ObjectMeta{Labels: labels("inventory"), OwnerReferences: owner(&other)}, false},
		{"managed by another", metav1.ObjectMeta{Labels: map[string]string{xinhariv1alpha1.LabelService: "inventory"}}, false},
	} {
		secret := &corev1.Secret{ObjectMeta: test.o}
		if got := ours(secret, &s); got != test.want {
			t.Errorf("%s: it is ours: %v", test.name, got)
		}
		if !test.want {
			continue
		}
		shape(secret, &s)
		if !metav1.IsControlledBy(secret, &s) || len(secret.OwnerReferences) != 1 || shape(secret, &s) {
			t.Errorf("%s: afterwards it is %+v", test.name, secret.ObjectMeta)
		}
	}
}

// TestKept holds what a rotation is told of a Secret, as time goes by.
func TestKept(t *testing.T) {
	w := newWanted(t)
	other := newIssuer(t)
	secret := func(p pair, roots []*x509.Certificate) *corev1.Secret {
		p.roots = roots
		data, err := p.data()
		if err != nil {
			t.Fatal(err)
		}
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "inventory-tls"}, Data: data}
	}
	first, err := w.make()
	if err != nil {
		t.Fatal(err)
	}
	second, err := w.make()
	if err != nil {
		t.Fatal(err)
	}
	both := append(slices.Clone(w.roots), other.Roots()...)
	one, two := identity.BundleHash(w.roots), identity.BundleHash(both)
	m := newMemory(2 * time.Minute)
	if _, known, _ := m.kept(w.service, began()); known {
		t.Fatal("a Secret is known that nobody looked at")
	}
	m.hide(w.service, began().Add(-time.Hour))
	m.hide(w.service, began())
	if k, known, holds := m.kept(w.service, began()); !known || !holds || k.Bundle != "" || len(k.Chains[0]) > 0 || !k.Until.Equal(began().Add(71*time.Hour)) {
		t.Errorf("of a Secret that cannot be read: known %v, holds %v: %+v", known, holds, k)
	}
	m.missing(w.service)
	if _, known, holds := m.kept(w.service, began()); !known || holds {
		t.Errorf("of a Secret that is not there: known %v, holds %v", known, holds)
	}
	for _, step := range []struct {
		name   string
		after  time.Duration
		look   *corev1.Secret // nil is a look that finds none
		bundle string
		chains [][]*x509.Certificate
	}{
		{"first seen", 0, secret(first, w.roots), "", [][]*x509.Certificate{first.chain, nil}},
		{"not yet read by all", 119 * time.Second, secret(first, w.roots), "", [][]*x509.Certificate{first.chain, nil}},
		{"read by all", 120 * time.Second, secret(first, w.roots), one, [][]*x509.Certificate{first.chain}},
		{"a root more", 130 * time.Second, secret(first, both), "", [][]*x509.Certificate{first.chain}},
		{"a new pair", 140 * time.Second, secret(second, both), "", [][]*x509.Certificate{second.chain, first.chain}},
		{"the root is read by all", 250 * time.Second, secret(second, both), two, [][]*x509.Certificate{second.chain, first.chain}},
		{"deleted", 255 * time.Second, nil, two, [][]*x509.Certificate{second.chain, first.chain}},
		{"the pair is read by all", 260 * time.Second, secret(second, both), two, [][]*x509.Certificate{second.chain}},
		{"the root goes and comes", 270 * time.Second, secret(second, w.roots), "", [][]*x509.Certificate{second.chain}},
		{"anew", 280 * time.Second, secret(second, both), "", [][]*x509.Certificate{second.chain}},
		{"not two minutes of it", 399 * time.Second, secret(second, both), "", [][]*x509.Certificate{second.chain}},
		{"two minutes of it", 400 * time.Second, secret(second, both), two, [][]*x509.Certificate{second.chain}},
		{"the clock is put back", 10 * time.Second, secret(second, both), "", [][]*x509.Certificate{second.chain}},
	} {
		now := began().Add(step.after)
		if step.look == nil {
			m.missing(w.service)
			m.hide(w.service, now) // what is known stays
		} else {
			m.look(w.service, step.look, now)
		}
		k, known, holds := m.kept(w.service, now)
		if !known || !holds || k.Object != "secret/inventory-tls" || k.Namespace != "shop" {
			t.Fatalf("%s: known %v, holds %v: %+v", step.name, known, holds, k)
		}
		if diff := cmp.Diff(step.bundle, k.Bundle); diff != "" {
			t.Errorf("%s: bundle (-want +got):\n%s", step.name, diff)
		}
		same := func(a, b []*x509.Certificate) bool { return slices.EqualFunc(a, b, (*x509.Certificate).Equal) }
		if !slices.EqualFunc(step.chains, k.Chains, same) {
			t.Errorf("%s: there are %d certificates, want %d others", step.name, len(k.Chains), len(step.chains))
		}
	}
	again := *w.service
	again.UID = "another"
	if _, known, _ := m.kept(&again, began()); known {
		t.Error("a Service that was made again is taken for the one before")
	}
}
