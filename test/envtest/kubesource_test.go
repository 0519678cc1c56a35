package envtest

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
	"github.com/xinhari/xinhari/internal/apiservertest"
	"github.com/xinhari/xinhari/internal/pemfile"
	"github.com/xinhari/xinhari/internal/watchtest"
	"github.com/xinhari/xinhari/pkg/catalog/kubecatalog"
	"github.com/xinhari/xinhari/pkg/identity"
	"github.com/xinhari/xinhari/pkg/identity/kubesource"
)

func TestKubesource(t *testing.T) {
	// Whoever rotates roots later shall not wait for this test's workloads.
	t.Cleanup(func() { forgetTrust(t) })
	startOperator(t)
	permitSource(t)
	t.Run("a workload gets a certificate, and every request names its bundle and its source", testSourceIssues)
	t.Run("it renews when a Service of its account comes, changes or goes, and for no other", testSourceRenews)
	t.Run("it says which Service it waits for, and has its certificate soon after that comes", testSourceWaits)
	t.Run("a denial is told", testSourceDenied)
	t.Run("a request that somebody deletes is followed by another", testSourceDeleted)
	t.Run("new roots are trusted at once and acknowledged, and what is no bundle changes nothing", testSourceRoots)
	t.Run("while the API server is away everything stays, and goes on when it is back", testSourceCut)
	t.Run("a certificate of another trust domain is refused", testSourceTrustDomain)
	t.Run("a token that the API server does not take is told", testSourceToken)
	t.Run("a missing right is told, and heals when it is given", testSourceRight)
}

// permitSource has the admission policy take the annotation, in case that it does not yet.
func permitSource(t *testing.T) {
	t.Helper()
	c := adminClient(t)
	policy := new(admissionv1.ValidatingAdmissionPolicy)
	if err := c.Get(t.Context(), client.ObjectKey{Name: "xinhari-requests"}, policy); err != nil {
		t.Fatal(err)
	}
	for i := range policy.Spec.Validations {
		v := &policy.Spec.Validations[i]
		if strings.Contains(v.Expression, xinhariv1alpha1.AnnotationBundleHash) && !strings.Contains(v.Expression, xinhariv1alpha1.AnnotationSource) {
			v.Expression = `!has(object.metadata.annotations) || object.metadata.annotations.all(k, ` +
				`k == "xinhari.com/bundle-hash" && object.metadata.annotations[k].matches("^[0-9a-f]{64}$") || ` +
				`k == "xinhari.com/source" && object.metadata.annotations[k].matches("^[0-9a-f]{16}$"))`
			if err := c.Update(t.Context(), policy); err != nil {
				t.Fatal(err)
			}
		}
	}
	w := newWorld(t)
	pod := w.newWorkload("probe", "probe-0")
	eventually(t, func() string {
		r := request(t, p256(t), x509.CertificateRequest{})
		r.Annotations = map[string]string{xinhariv1alpha1.AnnotationSource: "0123456789abcdef"}
		if _, err := pod.CertificatesV1().CertificateSigningRequests().Create(t.Context(), r, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
			return err.Error()
		}
		return ""
	})
}

// publish writes the ConfigMap of the namespace, as nobody's that the operator would look after.
func (w *world) publish(data map[string]string) {
	w.Helper()
	o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: xinhariv1alpha1.RuntimeConfigMap, Namespace: w.namespace}, Data: data}
	err := w.Create(w.Context(), o)
	if client.IgnoreAlreadyExists(err) == nil && err != nil {
		err = w.Update(w.Context(), o)
	}
	if err != nil {
		w.Fatal(err)
	}
}

// rootsText returns the roots of the operator's Secret.
func (w *world) rootsText() string {
	w.Helper()
	secret := new(corev1.Secret)
	eventually(w.T, func() string {
		if err := w.Get(w.Context(), client.ObjectKey{Namespace: operatorNamespace, Name: "xinhari-ca"}, secret); err != nil {
			return err.Error()
		}
		return ""
	})
	return string(secret.Data["ca.crt"])
}

// boundTo returns the configuration that a pod has in its files.
func (w *world) boundTo(account string, pod *corev1.Pod) *rest.Config {
	w.Helper()
	all, err := kubernetes.NewForConfig(admin)
	if err != nil {
		w.Fatal(err)
	}
	ask := &authenticationv1.TokenRequest{}
	if pod != nil {
		ask.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}
	}
	token, err := all.CoreV1().ServiceAccounts(w.namespace).CreateToken(w.Context(), account, ask, metav1.CreateOptions{})
	if err != nil {
		w.Fatal(err)
	}
	config := rest.AnonymousClientConfig(admin)
	config.BearerToken = token.Status.Token
	return config
}

// source runs a source until the test ends.
func (w *world) source(config *rest.Config) *identity.Source {
	w.Helper()
	all, err := kubecatalog.New(config, nil)
	if err != nil {
		w.Fatal(err)
	}
	s, err := kubesource.New(config, kubesource.Options{Namespace: w.namespace, Catalog: all})
	if err != nil {
		w.Fatal(err)
	}
	watchtest.Run(w.T, s.Run)
	return s
}

// ready waits for the first credentials.
func wantReady(t *testing.T, s *identity.Source) identity.Credentials {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	select {
	case <-s.Ready():
		return s.Current()
	case <-ctx.Done():
		t.Fatalf("not ready after %s: %v", patience, s.Err())
		return identity.Credentials{}
	}
}

// wantTold waits until the source says all of the texts.
func wantTold(t *testing.T, s *identity.Source, texts ...string) {
	t.Helper()
	eventually(t, func() string {
		err := s.Err()
		for _, text := range texts {
			if err == nil || !strings.Contains(err.Error(), text) {
				return fmt.Sprintf("Err() = %v, want it to say %q", err, text)
			}
		}
		return ""
	})
}

// wantNames waits for a certificate with exactly the Services.
func (w *world) wantNames(s *identity.Source, services ...string) identity.Credentials {
	w.Helper()
	var want []string
	for _, name := range services {
		want = append(want, name+"."+w.namespace+".svc")
	}
	eventually(w.T, func() string {
		if s.Current().IsZero() {
			return fmt.Sprintf("no certificate: %v", s.Err())
		}
		return cmp.Diff(want, s.Current().Certificate().Leaf.DNSNames)
	})
	return s.Current()
}

// asked returns the requests of the namespace that are still there, oldest first.
func (w *world) asked() []certificatesv1.CertificateSigningRequest {
	w.Helper()
	var list certificatesv1.CertificateSigningRequestList
	if err := w.List(w.Context(), &list); err != nil {
		w.Fatal(err)
	}
	list.Items = slices.DeleteFunc(list.Items, func(r certificatesv1.CertificateSigningRequest) bool {
		return !strings.HasPrefix(r.Spec.Username, "system:serviceaccount:"+w.namespace+":")
	})
	return list.Items
}

func (w *world) withRoots() string {
	w.Helper()
	text := w.rootsText()
	w.publish(map[string]string{xinhariv1alpha1.KeyTrustDomain: "cluster.local", xinhariv1alpha1.KeyTrustBundle: text})
	return text
}

func testSourceIssues(t *testing.T) {
	w := newWorld(t)
	w.withRoots()
	w.service("inventory", "selector: {app: inventory}\nidentity: {duration: 1h}")
	pod := w.newWorkload("inventory", "inventory-0")
	s := w.source(w.boundTo("inventory", pod.pod))
	c := wantReady(t, s)
	if want := (identity.ID{TrustDomain: "cluster.local", Namespace: w.namespace, ServiceAccount: "inventory"}); c.ID() != want {
		t.Errorf("the ID is %s, want %s", c.ID(), want)
	}
	w.wantNames(s, "inventory")
	s.Renew()
	eventually(t, func() string {
		if s.Current() == c {
			return fmt.Sprintf("not renewed: %v", s.Err())
		}
		return ""
	})
	if s.Err() != nil || s.Name() != "Kubernetes API" {
		t.Errorf("%s: %v", s.Name(), s.Err())
	}
	all := w.asked()
	if len(all) != 2 {
		t.Fatalf("%d requests", len(all))
	}
	name := regexp.MustCompile(`^xinhari-[a-z0-9-]{26,90}$`)
	source := regexp.MustCompile(`^[0-9a-f]{16}$`)
	for _, r := range all {
		got := r.Annotations[xinhariv1alpha1.AnnotationSource]
		if r.Annotations[xinhariv1alpha1.AnnotationBundleHash] != c.BundleHash() || !source.MatchString(got) || got != all[0].Annotations[xinhariv1alpha1.AnnotationSource] {
			t.Errorf("annotations are %v", r.Annotations)
		}
		if !name.MatchString(r.Name) || r.Spec.ExpirationSeconds != nil {
			t.Errorf("request %s, %v", r.Name, r.Spec.ExpirationSeconds)
		}
	}
}

func testSourceRenews(t *testing.T) {
	w := newWorld(t)
	w.withRoots()
	w.service("inventory", "selector: {app: inventory}")
	pod := w.newWorkload("inventory", "inventory-0")
	s := w.source(w.boundTo("inventory", pod.pod))
	first := w.wantNames(s, "inventory")
	w.service("orders", "selector: {app: orders}") // of another account
	w.service("stock", "selector: {app: inventory}\nserviceAccountName: inventory")
	w.service("stock", "selector: {app: inventory}\nserviceAccountName: inventory\nidentity: {duration: 1h}")
	w.service("store", "selector: {app: inventory}\nserviceAccountName: inventory")
	second := w.wantNames(s, "inventory", "stock", "store")
	if n := len(w.asked()); first == second || n > 4 {
		t.Errorf("%d requests for one burst of changes", n)
	}
	w.service("stock", "selector: {app: inventory}\nserviceAccountName: inventory\nidentity: {duration: 30m}")
	eventually(t, func() string {
		if life := time.Until(s.Current().NotAfter()); life > 30*time.Minute {
			return fmt.Sprintf("the certificate lives %s", life)
		}
		return ""
	})
	for _, name := range []string{"stock", "store"} {
		if err := w.Delete(t.Context(), &xinhariv1alpha1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}}); err != nil {
			t.Fatal(err)
		}
	}
	w.wantNames(s, "inventory")
}

func testSourceWaits(t *testing.T) {
	w := newWorld(t)
	pod := w.newWorkload("stock", "stock-0")
	s := w.source(w.boundTo("stock", pod.pod))
	wantTold(t, s, "no permission to", "configmaps", "make a Service whose serviceAccountName (or, if omitted, whose name) is stock")
	w.withRoots()
	w.service("inventory", "selector: {app: inventory}\nserviceAccountName: stock")
	wantTold(t, s, "Service inventory names account stock", "its selector {app: inventory} does not match this pod's labels")
	for _, r := range w.asked() {
		t.Logf("asked by %s, pending: %s", r.Name, s.Err())
	}
	began := time.Now()
	w.service("inventory", "selector: {app: stock}\nserviceAccountName: stock")
	w.wantNames(s, "inventory")
	t.Logf("ready %s after the Service was mended", time.Since(began))
	if s.Err() != nil || len(w.asked()) != 1 {
		t.Errorf("%d requests, %v", len(w.asked()), s.Err())
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("ready %s after the Service was mended", took)
	}
}

func testSourceDenied(t *testing.T) {
	w := newWorld(t)
	w.withRoots()
	w.service("inventory", "selector: {app: inventory}")
	w.newWorkload("inventory", "inventory-0")
	s := w.source(w.boundTo("inventory", nil))
	wantTold(t, s, "was denied (NoPod)", "not bound to a pod")
	if !errors.Is(s.Err(), identity.ErrRefused) {
		t.Errorf("%v is not ErrRefused", s.Err())
	}
}

func testSourceDeleted(t *testing.T) {
	w := newWorld(t)
	w.withRoots()
	w.service("inventory", "selector: {app: none}")
	pod := w.newWorkload("inventory", "inventory-0")
	s := w.source(w.boundTo("inventory", pod.pod))
	var first certificatesv1.CertificateSigningRequest
	eventually(t, func() string {
		all := w.asked()
		if len(all) != 1 {
			return fmt.Sprintf("%d requests: %v", len(all), s.Err())
		}
		first = all[0]
		return ""
	})
	if err := w.Delete(t.Context(), &first); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		if all := w.asked(); len(all) != 1 || all[0].Name == first.Name {
			return fmt.Sprintf("%d requests: %v", len(all), s.Err())
		}
		return ""
	})
	w.service("inventory", "selector: {app: inventory}")
	w.wantNames(s, "inventory")
}

func testSourceRoots(t *testing.T) {
	w := newWorld(t)
	old := w.withRoots()
	w.service("inventory", "selector: {app: inventory}")
	pod := w.newWorkload("inventory", "inventory-0")
	s := w.source(w.boundTo("inventory", pod.pod))
	first := wantReady(t, s)
	other := selfSigned(t)
	both := old + string(pemfile.EncodeCertificates(other))
	w.publish(map[string]string{xinhariv1alpha1.KeyTrustBundle: both})
	want := identity.BundleHash(append(first.Bundle(), other))
	eventually(t, func() string {
		if got := s.Current(); got.BundleHash() != want || got.IssuedAt().Equal(first.IssuedAt()) {
			return fmt.Sprintf("bundle %s, want %s, with a new certificate: %v", got.BundleHash(), want, s.Err())
		}
		for _, r := range w.asked() {
			if r.Annotations[xinhariv1alpha1.AnnotationBundleHash] == want {
				return ""
			}
		}
		return "no request names the new bundle"
	})
	for _, bad := range []struct{ text, told string }{
		{"", "there is no certificate: the last roots are kept"},
		{both[:len(both)-40], "damaged"},
		{"-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n", "RSA PRIVATE KEY"},
	} {
		w.publish(map[string]string{xinhariv1alpha1.KeyTrustBundle: bad.text})
		wantTold(t, s, bad.told)
	}
	w.publish(map[string]string{})
	wantTold(t, s, "has no ca.crt yet")
	if got := s.Current().BundleHash(); got != want {
		t.Errorf("bundle %s, want %s", got, want)
	}
	w.publish(map[string]string{xinhariv1alpha1.KeyTrustBundle: both})
	eventually(t, func() string {
		if s.Err() != nil {
			return s.Err().Error()
		}
		return ""
	})
}

func testSourceCut(t *testing.T) {
	w := newWorld(t)
	old := w.withRoots()
	w.service("inventory", "selector: {app: inventory}")
	pod := w.newWorkload("inventory", "inventory-0")
	link, config := apiservertest.NewLink(t, w.boundTo("inventory", pod.pod))
	s := w.source(config)
	first := wantReady(t, s)
	link.Cut()
	wantTold(t, s, "ConfigMap "+w.namespace+"/xinhari")
	s.Renew()
	wantTold(t, s, "create certificatesigningrequests")
	if s.Current() != first {
		t.Error("the credentials changed while the API server was away")
	}
	other := selfSigned(t)
	w.publish(map[string]string{xinhariv1alpha1.KeyTrustBundle: old + string(pemfile.EncodeCertificates(other))})
	w.service("stock", "selector: {app: inventory}\nserviceAccountName: inventory")
	link.Heal()
	w.wantNames(s, "inventory", "stock")
	want := identity.BundleHash(append(first.Bundle(), other))
	eventually(t, func() string {
		if got := s.Current().BundleHash(); got != want || s.Err() != nil {
			return fmt.Sprintf("bundle %s, want %s: %v", got, want, s.Err())
		}
		return ""
	})
}

func testSourceTrustDomain(t *testing.T) {
	w := newWorld(t)
	w.publish(map[string]string{xinhariv1alpha1.KeyTrustDomain: "example.org", xinhariv1alpha1.KeyTrustBundle: w.rootsText()})
	w.service("inventory", "selector: {app: inventory}")
	pod := w.newWorkload("inventory", "inventory-0")
	s := w.source(w.boundTo("inventory", pod.pod))
	wantTold(t, s, "is not of trust domain example.org")
	if !errors.Is(s.Err(), identity.ErrRefused) || !s.Current().IsZero() {
		t.Errorf("%v, %v", s.Current().ID(), s.Err())
	}
}

func testSourceToken(t *testing.T) {
	w := newWorld(t)
	w.withRoots()
	config := w.boundTo("inventory", w.newWorkload("inventory", "inventory-0").pod)
	config.BearerToken += "x"
	s := w.source(config)
	wantTold(t, s, "ConfigMap "+w.namespace+"/xinhari: the API server does not take this pod's token")
}

func testSourceRight(t *testing.T) {
	w := newWorld(t)
	w.withRoots()
	w.service("inventory", "selector: {app: inventory}")
	pod := w.newWorkload("inventory", "inventory-0")
	binding := new(rbacv1.ClusterRoleBinding)
	if err := w.Get(t.Context(), client.ObjectKey{Name: "xinhari-requester"}, binding); err != nil {
		t.Fatal(err)
	}
	if err := w.Delete(t.Context(), binding); err != nil {
		t.Fatal(err)
	}
	binding.ResourceVersion, binding.UID = "", ""
	eventually(t, func() string { // the API server's own view of rights takes a moment
		if _, err := pod.CertificatesV1().CertificateSigningRequests().Get(t.Context(), "none", metav1.GetOptions{}); !apierrors.IsForbidden(err) {
			return fmt.Sprintf("the right is still there: %v", err)
		}
		return ""
	})
	s := w.source(w.boundTo("inventory", pod.pod))
	wantTold(t, s, "no permission to create certificatesigningrequests", "the chart gives it to every ServiceAccount", "xinhari-requester")
	ensure(t, w, binding)
	wantReady(t, s)
}

// selfSigned returns the certificate of a CA.
func selfSigned(t *testing.T) *x509.Certificate {
	t.Helper()
	key := p256(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "another root"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// forgetTrust removes what an operator knows of roots and of who has certificates, and with it who has to be waited for.
func forgetTrust(t *testing.T) {
	t.Helper()
	c := adminClient(t)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	defer cancel()
	ours := client.MatchingLabels{xinhariv1alpha1.LabelManagedBy: xinhariv1alpha1.ManagedBy}
	for _, err := range []error{
		c.DeleteAllOf(ctx, new(corev1.ConfigMap), client.InNamespace(operatorNamespace), ours),
		c.DeleteAllOf(ctx, new(corev1.Secret), client.InNamespace(operatorNamespace), ours),
		c.DeleteAllOf(ctx, new(certificatesv1.CertificateSigningRequest)),
	} {
		if err != nil {
			t.Error(err)
		}
	}
}
