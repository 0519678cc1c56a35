package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"maps"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmetav1 "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
	"github.com/xinhari/xinhari/controllers/certmanager"
	"github.com/xinhari/xinhari/controllers/signer/issuer"
	"github.com/xinhari/xinhari/controllers/trust"
	"github.com/xinhari/xinhari/internal/pemfile"
)

// Values of the chart: the ClusterIssuer of issuers.yaml, and another life of the intermediate.
const (
	rootIssuer = "certManager.issuer=xinhari-root"
	shorter    = rootIssuer + ",certManager.duration=1000h,certManager.renewBefore=300h"
)

// TestCertManager is the life of an installation that takes its CA from cert-manager. Each step goes on from the one before.
func TestCertManager(t *testing.T) {
	c := open(t)
	for _, step := range []struct {
		name string
		take func(*testing.T, *cluster)
	}{
		{"without cert-manager the operator says so and signs with what it has", withoutCertManager},
		{"an issuer that is not there is told", withoutIssuer},
		{"the intermediate is issued and can sign, and nothing but our identities", issued},
		{"every workload trusts its root before it signs", switched},
		{"a renewal changes key and certificate in one write", renewed},
		{"nothing breaks while cert-manager is away", away},
		{"issuers give roots, or what they have instead", given},
		{"nobody else gets certificates of the issuer", exclusive},
		{"without an issuer the Certificate goes and its Secret stays", turnedOff},
		{"a Certificate that is someone else's is left alone", notOwned},
		{"what the API server refuses is quoted", refused},
		{"cert-manager that goes is missed", gone},
		{"the operator was forbidden nothing and wrote no more than it had to", frugal},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.take(t, c) }) {
			t.Fatalf("what the operator logged:\n%s", must(t, "kubectl", "-n", operatorNamespace, "logs", "deployment/xinhari-operator", "--tail=30"))
		}
	}
}

func withoutCertManager(t *testing.T, c *cluster) {
	install(t, "certManager.issuer=")
	c.makeWorkload(t, "shop")
	c.signs(t, issuer.WantedSecret)
	install(t, rootIssuer)
	c.told(t, certmanager.ReasonNoCertManager, "install cert-manager")
	c.measured(t, certmanager.ReasonNoCertManager, "0")
	c.signs(t, issuer.WantedSecret)
	c.unharmed(t)
}

func withoutIssuer(t *testing.T, c *cluster) {
	module := strings.TrimSpace(must(t, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/cert-manager/cert-manager"))
	crds, err := filepath.Glob(filepath.Join(module, "deploy", "crds", "*.yaml"))
	if err != nil || len(crds) < 4 {
		t.Fatalf("cert-manager's module has the CRDs %v, %v", crds, err)
	}
	for _, crd := range crds {
		must(t, "kubectl", "apply", "--server-side", "-f", crd)
	}
	must(t, "kubectl", "apply", "-f", "certmanager.yaml")
	c.told(t, certmanager.ReasonNotIssued, `Referenced "ClusterIssuer" not found`)
	c.measured(t, certmanager.ReasonNotIssued, "0")
	c.unharmed(t)
}

func issued(t *testing.T, c *cluster) {
	must(t, "kubectl", "apply", "-f", "issuers.yaml")
	c.told(t, certmanager.ReasonIssued, "can sign until")
	c.measured(t, certmanager.ReasonIssued, "1")
	i, err := issuer.Parse(c.secret(t, certmanager.SecretName))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := i.Verify(time.Now()); err != nil {
		t.Fatal(err)
	}
	if cn := i.Roots()[0].Subject.CommonName; len(i.Roots()) != 1 || cn != "root" {
		t.Errorf("%d roots, the first %s, want the ClusterIssuer's", len(i.Roots()), cn)
	}
	if life := i.Certificate().NotAfter.Sub(i.Certificate().NotBefore); life != certmanager.Life {
		t.Errorf("it lasts %s", life)
	}
	for _, test := range []struct {
		name string
		uri  string
		dns  string
		want bool
	}{
		{"a workload's", "spiffe://cluster.local/ns/shop/sa/inventory", "inventory.shop.svc", true},
		{"one of another trust domain", "spiffe://example.org/ns/shop/sa/inventory", "inventory.shop.svc", false},
		{"one for names of the world", "spiffe://cluster.local/ns/shop/sa/inventory", "www.example.org", false},
	} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		id, err := url.Parse(test.uri)
		if err != nil {
			t.Fatal(err)
		}
		_, err = i.Sign(&x509.Certificate{
			NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour), PublicKey: key.Public(), URIs: []*url.URL{id}, DNSNames: []string{test.dns},
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		}, time.Now())
		if got := err == nil; got != test.want {
			t.Errorf("certificate %s is signed: %t (%v), want %t", test.name, got, err, test.want)
		}
	}
}

// switched shows the trust bundle between two issuers, and hurries: the test's workload asks once and never acknowledges.
func switched(t *testing.T, c *cluster) {
	roots := func() []string {
		bundle, err := pemfile.Certificates([]byte(must(t, "kubectl", "-n", "shop", "get", "configmap", xinhariv1alpha1.RuntimeConfigMap, "-o", `jsonpath={.data.ca\.crt}`)))
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, root := range bundle {
			names = append(names, root.Subject.CommonName)
		}
		return names
	}
	eventually(t, func(context.Context) string {
		if names := roots(); len(names) != 2 || !slices.Contains(names, "root") {
			return fmt.Sprintf("the bundle has the roots %q, want the own one and cert-manager's", names)
		}
		return ""
	})
	c.signs(t, issuer.WantedSecret)
	c.rotated(t, certmanager.SecretName)
	c.signs(t, certmanager.SecretName)
	if names := roots(); len(names) != 1 || names[0] != "root" {
		t.Errorf("in the end the bundle has the roots %q", names)
	}
}

// rotated takes the rotation to the issuer in a Secret to its end, without waiting for workloads.
func (c *cluster) rotated(t *testing.T, secret string) {
	t.Helper()
	to, err := issuer.Parse(c.secret(t, secret))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, func(ctx context.Context) string {
		state := new(corev1.ConfigMap)
		if err := c.Get(ctx, client.ObjectKey{Namespace: operatorNamespace, Name: xinhariv1alpha1.TrustConfigMap}, state); err != nil {
			return err.Error()
		}
		signs := state.Data[xinhariv1alpha1.KeyIssuer]
		if signs != "" && strings.HasPrefix(to.ID(), signs) && strings.Contains(state.Data[trust.KeyState], "phase: "+string(trust.Stable)) {
			return ""
		}
		before := client.MergeFrom(state.DeepCopy())
		state.Annotations = map[string]string{xinhariv1alpha1.AnnotationRotation: xinhariv1alpha1.RotationForce}
		if err := c.Patch(ctx, state, before); err != nil {
			return err.Error()
		}
		return state.Data[trust.KeyState]
	})
}

// signs wants a new certificate to be signed by the issuer in a Secret.
func (c *cluster) signs(t *testing.T, secret string) {
	t.Helper()
	if err := verify(c.leaf(t, "shop"), c.secret(t, secret)); err != nil {
		t.Errorf("under Secret %s: %v", secret, err)
	}
}

// renew asks cert-manager to renew the operator's Certificate, as cmctl does.
func (c *cluster) renew(t *testing.T) {
	t.Helper()
	var cert certmanagerv1.Certificate
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: operatorNamespace, Name: certmanager.Name}, &cert); err != nil {
		t.Fatal(err)
	}
	now := metav1.Now()
	cert.Status.Conditions = append(cert.Status.Conditions, certmanagerv1.CertificateCondition{
		Type: certmanagerv1.CertificateConditionIssuing, Status: cmmetav1.ConditionTrue, Reason: "ManuallyTriggered", Message: "by a test",
		LastTransitionTime: &now, ObservedGeneration: cert.Generation,
	})
	if err := c.Status().Update(t.Context(), &cert); err != nil {
		t.Fatal(err)
	}
}

func renewed(t *testing.T, c *cluster) {
	before := c.secret(t, certmanager.SecretName)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	w, err := c.Watch(ctx, new(corev1.SecretList), client.InNamespace(operatorNamespace), client.MatchingFields{"metadata.name": certmanager.SecretName})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	c.renew(t)
	for event := range w.ResultChan() {
		secret, ok := event.Object.(*corev1.Secret)
		if !ok {
			t.Fatalf("watching the Secret: %v", event.Object)
		}
		i, err := issuer.Parse(secret.Data)
		if err != nil {
			t.Fatalf("a moment of the renewal: %v", err)
		}
		if _, err := i.Verify(time.Now()); err != nil {
			t.Fatalf("a moment of the renewal: %v", err)
		}
		if bytes.Equal(secret.Data[corev1.TLSCertKey], before[corev1.TLSCertKey]) {
			continue
		}
		if bytes.Equal(secret.Data[corev1.TLSPrivateKeyKey], before[corev1.TLSPrivateKeyKey]) {
			t.Error("the key is the old one")
		}
		if !bytes.Equal(secret.Data[issuer.KeyRoots], before[issuer.KeyRoots]) {
			t.Error("the root is another")
		}
		return
	}
	t.Fatalf("not renewed within %s", patience)
}

func away(t *testing.T, c *cluster) {
	c.scale(t, 0)
	before := c.secret(t, certmanager.SecretName)
	c.renew(t)
	install(t, shorter)
	c.told(t, certmanager.ReasonWaiting, "the Certificate changed, and cert-manager has not looked at it since")
	c.leaf(t, "shop")
	c.unharmed(t)
	if diff := cmp.Diff(before, c.secret(t, certmanager.SecretName)); diff != "" {
		t.Error("the Secret changed while cert-manager was away")
	}
	c.scale(t, 1)
	eventually(t, func(context.Context) string {
		i, err := issuer.Parse(c.secret(t, certmanager.SecretName))
		if err != nil {
			t.Fatal(err)
		}
		if life := i.Certificate().NotAfter.Sub(i.Certificate().NotBefore); life != 1000*time.Hour {
			return fmt.Sprintf("the intermediate lasts %s, want the new duration", life)
		}
		return ""
	})
	c.measured(t, certmanager.ReasonIssued, "1")
}

// given is what different issuers write into tls.crt, after the certificate itself, and into ca.crt. Where that is not a root, what
// one trusts is replaced with it.
func given(t *testing.T, c *cluster) {
	middle := c.certify(t, "middle", "xinhari-root")
	bare := maps.Clone(middle)
	delete(bare, issuer.KeyRoots)
	for name, data := range map[string]map[string][]byte{"middle": middle, "bare": bare} {
		if err := c.Create(t.Context(), &corev1.Secret{ObjectMeta: object("cert-manager", name), Type: corev1.SecretTypeTLS, Data: data}); err != nil {
			t.Fatal(err)
		}
		err := c.Create(t.Context(), &certmanagerv1.ClusterIssuer{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: certmanagerv1.IssuerSpec{
			IssuerConfig: certmanagerv1.IssuerConfig{CA: &certmanagerv1.CAIssuer{SecretName: name}},
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name   string
		issuer string
		chain  []string
		root   string
	}{
		{"a CA that is a root", "xinhari-root", nil, "root"},
		{"a CA under a root, in a Secret of cert-manager's", "middle", []string{"middle"}, "root"},
		{"a CA under a root, in a Secret without ca.crt", "bare", []string{"middle"}, "middle"},
		{"what signs itself", "self-signed", nil, "by-self-signed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			name := "by-" + test.issuer
			data := c.certify(t, name, test.issuer)
			i, err := issuer.Parse(data)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := i.Verify(time.Now()); err != nil {
				t.Error(err)
			}
			chain, err := pemfile.Certificates(data[corev1.TLSCertKey])
			if err != nil {
				t.Fatal(err)
			}
			var between []string
			for _, cert := range chain[1:] {
				between = append(between, cert.Subject.CommonName)
			}
			if diff := cmp.Diff(test.chain, between); diff != "" {
				t.Errorf("certificates after the issuer's (-want +got):\n%s", diff)
			}
			if got := i.Roots()[0].Subject.CommonName; len(i.Roots()) != 1 || got != test.root {
				t.Errorf("%d roots, the first %s, want %s", len(i.Roots()), got, test.root)
			}
		})
	}
}

// certify has an issuer make a CA in the operator's namespace and returns its Secret's data.
func (c *cluster) certify(t *testing.T, name, by string) map[string][]byte {
	t.Helper()
	return c.obtain(t, operatorNamespace, name, certmanagerv1.CertificateSpec{
		SecretName: name, CommonName: name, IsCA: true, IssuerRef: cmmetav1.IssuerReference{Name: by, Kind: certmanagerv1.ClusterIssuerKind},
	})
}

// obtain makes a Certificate and returns its Secret's data.
func (c *cluster) obtain(t *testing.T, namespace, name string, spec certmanagerv1.CertificateSpec) map[string][]byte {
	t.Helper()
	if err := c.Create(t.Context(), &certmanagerv1.Certificate{ObjectMeta: object(namespace, name), Spec: spec}); err != nil {
		t.Fatal(err)
	}
	var s corev1.Secret
	eventually(t, func(ctx context.Context) string {
		if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &s); err != nil {
			return err.Error()
		}
		return ""
	})
	return s.Data
}

// forged is an identity that a namespace's editor would like to have.
const forged = "spiffe://cluster.local/ns/xinhari-system/sa/xinhari-operator"

// exclusive shows what the chart's policy is for: without it, a Certificate of any namespace is an identity of any other.
func exclusive(t *testing.T, c *cluster) {
	spec := certmanagerv1.CertificateSpec{
		SecretName: "forged", URIs: []string{forged}, IssuerRef: cmmetav1.IssuerReference{Name: "xinhari-root", Kind: certmanagerv1.ClusterIssuerKind},
	}
	cert := &certmanagerv1.Certificate{ObjectMeta: object("shop", "forged"), Spec: spec}
	if err := c.Create(t.Context(), cert); err == nil || !strings.Contains(err.Error(), "could pass for any workload") {
		t.Errorf("a Certificate of another namespace: %v", err)
	}
	asked := &certmanagerv1.CertificateRequest{ObjectMeta: object("shop", "forged"), Spec: certmanagerv1.CertificateRequestSpec{
		IssuerRef: spec.IssuerRef, Request: []byte("a request"),
	}}
	asked.Spec.IssuerRef.Group = "cert-manager.io"
	if err := c.Create(t.Context(), asked); err == nil || !strings.Contains(err.Error(), "could pass for any workload") {
		t.Errorf("a request of another namespace: %v", err)
	}
	// One of another issuer is nobody's business, until it turns to this one.
	asked.Spec.IssuerRef.Name = "self-signed"
	if err := c.Create(t.Context(), asked); err != nil {
		t.Fatal(err)
	}
	turn := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"issuerRef":{"name":"xinhari-root"}}}`))
	if err := c.Patch(t.Context(), asked, turn); err == nil || !strings.Contains(err.Error(), "could pass for any workload") {
		t.Errorf("a request that turns to the issuer: %v", err)
	}

	install(t, shorter+",certManager.exclusive=false")
	eventually(t, func(ctx context.Context) string {
		if err := c.Create(ctx, cert.DeepCopy(), client.DryRunAll); err != nil {
			return err.Error()
		}
		return ""
	})
	leaf, err := pemfile.Certificates(c.obtain(t, "shop", "forged", spec)[corev1.TLSCertKey])
	if err != nil {
		t.Fatal(err)
	}
	if err := verify(leaf, c.secret(t, certmanager.SecretName)); err != nil || leaf[0].URIs[0].String() != forged {
		t.Errorf("the policy keeps nobody from anything: %v", err)
	}
	install(t, shorter)
}

func turnedOff(t *testing.T, c *cluster) {
	before := c.secret(t, certmanager.SecretName)
	install(t, "certManager.issuer=")
	eventually(t, func(ctx context.Context) string {
		err := c.Get(ctx, client.ObjectKey{Namespace: operatorNamespace, Name: certmanager.Name}, new(certmanagerv1.Certificate))
		if apierrors.IsNotFound(err) {
			return ""
		}
		return fmt.Sprintf("the Certificate is there (%v)", err)
	})
	if diff := cmp.Diff(before, c.secret(t, certmanager.SecretName)); diff != "" {
		t.Error("the Secret is another")
	}
	c.rotated(t, issuer.WantedSecret)
	c.signs(t, issuer.WantedSecret)
	c.unharmed(t)
}

func notOwned(t *testing.T, c *cluster) {
	theirs := &certmanagerv1.Certificate{ObjectMeta: object(operatorNamespace, certmanager.Name), Spec: certmanagerv1.CertificateSpec{
		SecretName: "theirs", CommonName: "theirs", IssuerRef: cmmetav1.IssuerReference{Name: "self-signed", Kind: certmanagerv1.ClusterIssuerKind},
	}}
	if err := c.Create(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	install(t, shorter)
	c.told(t, certmanager.ReasonNotOwned, "someone else's")
	var found certmanagerv1.Certificate
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(theirs), &found); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(theirs.Spec, found.Spec); diff != "" {
		t.Errorf("it is another (-want +got):\n%s", diff)
	}
	if err := c.Delete(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	c.measured(t, certmanager.ReasonIssued, "1")
}

func refused(t *testing.T, c *cluster) {
	must(t, "kubectl", "apply", "-f", "refusal.yaml")
	// The policy takes effect some time after it is there.
	eventually(t, func(ctx context.Context) string {
		probe := &certmanagerv1.Certificate{ObjectMeta: object("shop", "probe"), Spec: certmanagerv1.CertificateSpec{
			SecretName: "probe", CommonName: "probe", IsCA: true, IssuerRef: cmmetav1.IssuerReference{Name: "none"},
		}}
		if err := c.Create(ctx, probe, client.DryRunAll); apierrors.IsInvalid(err) || apierrors.IsForbidden(err) {
			return ""
		}
		return "the policy refuses nothing"
	})
	must(t, "kubectl", "-n", operatorNamespace, "delete", "certificate", certmanager.Name)
	c.told(t, certmanager.ReasonRefused, "no CAs, says the test")
	c.unharmed(t)
	must(t, "kubectl", "delete", "-f", "refusal.yaml")
	c.measured(t, certmanager.ReasonIssued, "1")
}

func gone(t *testing.T, c *cluster) {
	before := c.secret(t, certmanager.SecretName)
	must(t, "kubectl", "delete", "crd", "certificates.cert-manager.io")
	c.measured(t, certmanager.ReasonNoCertManager, "0")
	if diff := cmp.Diff(before, c.secret(t, certmanager.SecretName)); diff != "" {
		t.Error("the Secret is another")
	}
	c.leaf(t, "shop")
	c.unharmed(t)
}

func frugal(t *testing.T, _ *cluster) {
	writes := 0
	for _, r := range requests(t) {
		// An operator that ends may have seen its rights to Certificates go before it.
		if r.ResponseStatus.Code == 403 && r.ObjectRef.Resource != "certificates" {
			t.Errorf("the operator was forbidden to %s %+v", r.Verb, r.ObjectRef)
		}
		if r.Verb == "patch" && r.ObjectRef.Resource == "certificates" && r.ResponseStatus.Code < 300 {
			writes++
		}
	}
	if writes != 4 {
		t.Errorf("the operator wrote its Certificate %d times, want once each for what steps did: at first, a new duration, one that was in the way, one that was refused", writes)
	}
}
