package envtest

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
	"github.com/xinhari/xinhari/controllers/signer"
	"github.com/xinhari/xinhari/controllers/trust"
	"github.com/xinhari/xinhari/internal/pemfile"
	"github.com/xinhari/xinhari/pkg/identity"
)

// settle is how long the operators of these tests wait for what was just signed.
const settle = 200 * time.Millisecond

// trustAhead is by how much the operators' clocks for trust are ahead.
var trustAhead atomic.Int64

func trustNow() time.Time { return time.Now().Add(time.Duration(trustAhead.Load())) }

func testTrust(t *testing.T, stop *func()) {
	t.Run("a rotation that was asked for ends when all acknowledged and renewed", testRotation)
}

// member is a runtime in a pod, as package identity has it: it trusts what its namespace's ConfigMap says, and asks again
// as soon as that changes.
type member struct {
	*workload
	source string

	mu    sync.Mutex
	roots []*x509.Certificate
	chain []*x509.Certificate
}

func (w *world) newMember(name string) *member {
	w.Helper()
	source := make([]byte, 8)
	if _, err := rand.Read(source); err != nil {
		w.Fatal(err)
	}
	m := &member{workload: w.newWorkload("inventory", name), source: hex.EncodeToString(source)}
	m.learn()
	m.renew()
	return m
}

// learn trusts what the ConfigMap says, and returns whether that is something else than before.
func (m *member) learn() bool {
	m.Helper()
	roots := m.bundle()
	m.mu.Lock()
	defer m.mu.Unlock()
	changed := identity.BundleHash(roots) != identity.BundleHash(m.roots)
	m.roots = roots
	return changed
}

// bundle waits until the namespace has a trust bundle.
func (w *world) bundle() (roots []*x509.Certificate) {
	w.Helper()
	eventually(w.T, func() string {
		told := new(corev1.ConfigMap)
		err := w.Get(w.Context(), w.key("xinhari"), told)
		if err == nil {
			roots, err = pemfile.Certificates([]byte(told.Data["ca.crt"]))
		}
		if err != nil {
			return err.Error()
		}
		return ""
	})
	return roots
}

func (m *member) request() *certificatesv1.CertificateSigningRequest {
	m.Helper()
	r := request(m, p256(m), x509.CertificateRequest{})
	m.mu.Lock()
	defer m.mu.Unlock()
	r.Annotations = map[string]string{xinhariv1alpha1.AnnotationBundleHash: identity.BundleHash(m.roots)}
	if m.source != "" {
		r.Annotations[xinhariv1alpha1.AnnotationSource] = m.source
	}
	return r
}

// renew asks for a certificate and takes it up.
func (m *member) renew() {
	m.Helper()
	chain := m.certificate(m.ask(m.request()))
	m.mu.Lock()
	defer m.mu.Unlock()
	m.chain = chain
}

// meet says who of the members does not trust whom.
func meet(members []*member) string {
	for _, a := range members {
		for _, b := range members {
			a.mu.Lock()
			chain := a.chain
			a.mu.Unlock()
			b.mu.Lock()
			pool := x509.NewCertPool()
			for _, root := range b.roots {
				pool.AddCert(root)
			}
			b.mu.Unlock()
			between := x509.NewCertPool()
			for _, cert := range chain[1:] {
				between.AddCert(cert)
			}
			if _, err := chain[0].Verify(x509.VerifyOptions{Roots: pool, Intermediates: between}); err != nil {
				return fmt.Sprintf("%s does not trust %s: %v", b.pod.Name, a.pod.Name, err)
			}
		}
	}
	return ""
}

// trusted returns the state object and what it says.
func (w *world) trusted() (*corev1.ConfigMap, trust.State) {
	w.Helper()
	object := new(corev1.ConfigMap)
	if err := w.Get(w.Context(), client.ObjectKey{Namespace: operatorNamespace, Name: "xinhari-trust"}, object); err != nil {
		w.Fatal(err)
	}
	var s trust.State
	if err := yaml.UnmarshalStrict([]byte(object.Data["state"]), &s); err != nil {
		w.Fatal(err)
	}
	return object, s
}

// condition returns a condition of the state as one line.
func (w *world) condition(kind string) string {
	w.Helper()
	_, s := w.trusted()
	for _, c := range s.Conditions {
		if c.Type == kind {
			return fmt.Sprintf("%s=%s %s: %s", c.Type, c.Status, c.Reason, c.Message)
		}
	}
	return kind + " is not there"
}

// wantCondition waits until a condition says all of some words.
func (w *world) wantCondition(kind string, words ...string) {
	w.Helper()
	eventually(w.T, func() string {
		got := w.condition(kind)
		for _, word := range words {
			if !strings.Contains(got, word) {
				return fmt.Sprintf("%q does not say %q", got, word)
			}
		}
		return ""
	})
}

func (w *world) wantPhase(want trust.Phase) {
	w.Helper()
	eventually(w.T, func() string {
		if _, s := w.trusted(); s.Phase != want {
			return fmt.Sprintf("the phase is %s, want %s: %s", s.Phase, want, w.condition("Rotating"))
		}
		return ""
	})
}

// rotate asks for a step by annotation.
func (w *world) rotate(value string) {
	w.Helper()
	object, _ := w.trusted()
	patch := client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"metadata":{"annotations":{"xinhari.com/rotation":%q}}}`, value))
	if err := w.Patch(w.Context(), object, patch); err != nil {
		w.Fatal(err)
	}
}

// secret returns a Secret of the operator's namespace.
func (w *world) secret(name string) *corev1.Secret {
	w.Helper()
	s := new(corev1.Secret)
	if err := w.Get(w.Context(), client.ObjectKey{Namespace: operatorNamespace, Name: name}, s); err != nil {
		w.Fatal(err)
	}
	return s
}

// rootNames returns the subjects of roots.
func rootNames(roots []*x509.Certificate) []string {
	var all []string
	for _, r := range roots {
		all = append(all, r.Subject.CommonName)
	}
	return all
}

// dismiss deletes the pods of members, so that nobody waits for them.
func dismiss(members ...*member) {
	for _, m := range members {
		if err := client.IgnoreNotFound(m.Delete(context.Background(), m.pod, client.GracePeriodSeconds(0))); err != nil {
			m.Error(err)
		}
	}
}

// issuedBy names the key that signed a member's certificate.
func (m *member) issuedBy() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return hex.EncodeToString(m.chain[0].AuthorityKeyId)
}

// everyoneIn returns members of a new namespace.
func newMembers(t *testing.T, n int) (*world, []*member) {
	t.Helper()
	w := newWorld(t)
	w.service("inventory", "selector: {app: inventory}")
	var members []*member
	for i := range n {
		members = append(members, w.newMember(fmt.Sprintf("inventory-%d", i)))
	}
	return w, members
}

// wantBundle waits until a namespace trusts so many roots.
func (w *world) wantBundle(n int) []*x509.Certificate {
	w.Helper()
	var roots []*x509.Certificate
	eventually(w.T, func() string {
		if roots = w.bundle(); len(roots) != n {
			return fmt.Sprintf("the namespace trusts %q, want %d", rootNames(roots), n)
		}
		return ""
	})
	return roots
}

func testRotation(t *testing.T) {
	w, members := newMembers(t, 3)
	defer dismiss(members...)
	w.wantPhase(trust.Stable)
	before := members[0].issuedBy()
	w.rotate("start")
	w.wantPhase(trust.Distributing)
	if object, _ := w.trusted(); len(object.Annotations) > 0 {
		t.Errorf("the request is still there: %v", object.Annotations)
	}
	roots := w.wantBundle(2)
	w.wantCondition("Rotating", "waits for 3 of 3 workloads to trust", w.namespace+"/inventory-0", "at the latest until 20")
	w.wantCondition("Ready", "True")
	for _, m := range members[:2] {
		if !m.learn() {
			t.Error("nothing new to trust")
		}
		m.renew()
	}
	w.wantCondition("Rotating", "waits for 1 of 3 workloads to trust", w.namespace+"/inventory-2")
	if by := members[1].issuedBy(); by != before {
		t.Errorf("%s signs before all trust it", by)
	}
	// A copy of a hash without the source is another holder: it does not speak for the third.
	other := &member{workload: members[2].workload, roots: roots}
	other.renew()
	w.wantCondition("Rotating", "waits for 1 of 4 workloads to trust")
	members[2].learn()
	members[2].renew()
	w.wantPhase(trust.Retiring)
	if problem := meet(members); problem != "" {
		t.Error(problem)
	}
	w.wantCondition("Rotating", "waits for 4 of 4 workloads to be signed by")
	for _, m := range members {
		m.renew()
		if m.issuedBy() == before {
			t.Errorf("%s is signed by the old issuer", m.pod.Name)
		}
	}
	w.wantCondition("Rotating", "waits for 1 of 4 workloads to be signed by")
	dismiss(members[2])
	members = members[:2]
	w.wantPhase(trust.Stable)
	w.wantBundle(1)
	if problem := meet(members); problem != "" {
		t.Error(problem)
	}
	for _, m := range members {
		m.learn()
	}
	if problem := meet(members); problem != "" {
		t.Error(problem)
	}
	if secret := w.secret("xinhari-signing"); len(secret.Data["next.crt"]) > 0 || len(secret.Data["retiring.crt"]) > 0 {
		t.Error("the Secret of the issuer that signs holds roots that are retired")
	}
	if signer.BundleHashOf(members[0].request()) != func() string { _, s := w.trusted(); return s.BundleHash }() {
		t.Error("the state names another bundle than workloads do")
	}
	if hex.EncodeToString(w.bundle()[0].SubjectKeyId) == before {
		t.Error("the old root is trusted and not the new one")
	}
}
