package envtest

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
	"github.com/xinhari/xinhari/controllers"
	"github.com/xinhari/xinhari/controllers/signer"
	"github.com/xinhari/xinhari/controllers/signer/issuer"
	"github.com/xinhari/xinhari/controllers/trust"
	"github.com/xinhari/xinhari/internal/pemfile"
	"github.com/xinhari/xinhari/pkg/identity"
)

// settle is how long the operators of these tests wait for what was just signed.
const settle = 200 * time.Millisecond

// trustAhead is by how much the operators' clocks for trust are ahead.
var trustAhead atomic.Int64

func trustNow() time.Time { return time.Now().Add(time.Duration(trustAhead.Load())) }

// testTrust needs an operator that runs, stops it and starts another.
func testTrust(t *testing.T, stop, start func()) {
	t.Run("a rotation that was asked for ends when all acknowledged and renewed", testRotation)
	t.Run("what others change is put back", testTrustDrift)
	t.Run("who never acknowledges is waited for until the certificate ends", func(t *testing.T) { testRunsOut(t, stop, start) })
	t.Run("force goes on without waiting", testForce)
	t.Run("an issuer that cannot sign replaces none that can", testBrokenWanted)
	t.Run("the wanted issuer is overwritten", testSwitch)
	t.Run("an own root at four fifths of its life is replaced", testDue)
	t.Run("the Secrets are deleted", testLost)
	stop()
	t.Run("the operator dies after each write", testCrashes)
	t.Run("two replicas", testReplicas)
	start()
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

func testTrustDrift(t *testing.T) {
	w, members := newMembers(t, 1)
	defer dismiss(members...)
	good := w.bundle()
	data, err := issuer.New("cluster.local", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	foreign := string(data["ca.crt"])
	for _, key := range []client.ObjectKey{w.key("xinhari"), {Namespace: operatorNamespace, Name: "xinhari-trust"}} {
		for _, edit := range []map[string]any{{"ca.crt": foreign}, {"ca.crt": nil}, {"ca.crt": "none"}, {"state": "phase: Nowhere"}} {
			if edit["state"] != nil && key.Namespace != operatorNamespace {
				continue
			}
			object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
			patch, err := json.Marshal(map[string]any{"data": edit})
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Patch(t.Context(), object, client.RawPatch(types.MergePatchType, patch)); err != nil {
				t.Fatal(err)
			}
			eventually(t, func() string {
				if err := w.Get(t.Context(), key, object); err != nil {
					return err.Error()
				}
				roots, err := pemfile.Certificates([]byte(object.Data["ca.crt"]))
				if err != nil || identity.BundleHash(roots) != identity.BundleHash(good) || strings.Contains(object.Data["state"], "Nowhere") {
					return fmt.Sprintf("%v after %v holds %q, %v", key, edit, rootNames(roots), err)
				}
				return ""
			})
		}
	}
	w.rotate("restart")
	w.wantCondition("Request", "False", `"restart"`, "start", "force")
	w.rotate("force")
	w.wantCondition("Request", "NothingToForce", "start")
	if object, _ := w.trusted(); len(object.Annotations) > 0 {
		t.Errorf("annotations are %v", object.Annotations)
	}
	w.wantPhase(trust.Stable)
}

func testRunsOut(t *testing.T, stop, start func()) {
	w, members := newMembers(t, 2)
	defer dismiss(members...)
	// Another leader knows of certificates whose requests are gone.
	eventually(t, func() string {
		var list certificatesv1.CertificateSigningRequestList
		if err := w.List(t.Context(), &list); err != nil {
			return err.Error()
		}
		for i := range list.Items {
			if strings.HasPrefix(list.Items[i].Spec.Username, "system:serviceaccount:"+w.namespace+":") {
				return list.Items[i].Name + " is still there"
			}
		}
		return ""
	})
	stop()
	start()
	w.rotate("start")
	w.wantCondition("Rotating", "waits for 2 of 2 workloads to trust", w.namespace+"/inventory-1")
	w.wantBundle(2)
	members[0].learn()
	members[0].renew()
	w.wantCondition("Rotating", "waits for 1 of 2 workloads to trust")
	trustAhead.Store(int64(25 * time.Hour))
	defer trustAhead.Store(0)
	// Who acknowledged ran out as well, by this clock.
	w.wantPhase(trust.Stable)
	w.wantBundle(1)
}

func testForce(t *testing.T) {
	w, members := newMembers(t, 1)
	defer dismiss(members...)
	before := members[0].issuedBy()
	w.rotate("start")
	w.wantCondition("Rotating", "waits for 1 of 1 workloads to trust")
	w.rotate("start")
	w.wantCondition("Request", "AlreadyRotating")
	w.rotate("force")
	w.wantCondition("Rotating", "waits for 1 of 1 workloads to be signed by")
	w.rotate("force")
	w.wantPhase(trust.Stable)
	if object, _ := w.trusted(); len(object.Annotations) > 0 {
		t.Errorf("annotations are %v", object.Annotations)
	}
	w.wantBundle(1)
	members[0].learn()
	members[0].renew()
	if members[0].issuedBy() == before {
		t.Error("the old issuer signs")
	}
	for _, reason := range []string{"Distributing", "Switching", "Retiring", "Stable", "AlreadyRotating"} {
		w.wantTrustEvent(reason)
	}
}

// wantTrustEvent waits for an event at the state object.
func (w *world) wantTrustEvent(reason string) {
	w.Helper()
	eventually(w.T, func() string {
		var list eventsv1.EventList
		if err := w.List(w.Context(), &list); err != nil {
			return err.Error()
		}
		for _, e := range list.Items {
			if e.Reason == reason && e.Regarding.Name == "xinhari-trust" && e.Regarding.Namespace == operatorNamespace {
				return ""
			}
		}
		return "no event " + reason
	})
}

func testBrokenWanted(t *testing.T) {
	w, members := newMembers(t, 1)
	defer dismiss(members...)
	before := members[0].issuedBy()
	good := w.secret("xinhari-ca").Data
	own, err := issuer.New("cluster.local", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	old, err := issuer.New("cluster.local", time.Now().Add(-2*issuer.Life))
	if err != nil {
		t.Fatal(err)
	}
	_, leaf := brought(t, "not a CA", false)
	for _, bad := range []struct {
		name, want string
		data       map[string][]byte
	}{
		{"a key that is lost", "tls.key", map[string][]byte{"tls.crt": own["tls.crt"], "tls.key": []byte("lost"), "ca.crt": own["ca.crt"]}},
		{"another's root", "does not verify", map[string][]byte{"tls.crt": own["tls.crt"], "tls.key": own["tls.key"], "ca.crt": good["ca.crt"]}},
		{"no CA", "not a CA", leaf},
		{"nothing", "tls.crt", map[string][]byte{"tls.crt": {}, "tls.key": {}}},
	} {
		t.Run(bad.name, func(t *testing.T) {
			w := &world{T: t, Client: w.Client, namespace: w.namespace}
			w.want(bad.data)
			w.wantCondition("Ready", "False", "WantedIssuerUnusable", bad.want, "goes on signing")
			members[0].renew()
			if members[0].issuedBy() != before {
				t.Error("another issuer signs")
			}
			w.wantPhase(trust.Stable)
			w.wantBundle(1)
		})
	}
	w.wantTrustEvent("WantedIssuerUnusable")
	w.want(good)
	w.wantCondition("Ready", "True")
	// An own root that has ended is nobody's wish.
	w.want(old)
	w.wantPhase(trust.Distributing)
	w.wantCondition("Ready", "True")
	w.want(good)
	w.wantPhase(trust.Stable)
	w.wantBundle(1)
}

// want overwrites the Secret of the wanted issuer.
func (w *world) want(data map[string][]byte) {
	w.Helper()
	eventually(w.T, func() string {
		s := w.secret("xinhari-ca")
		s.Data = data
		if err := w.Update(w.Context(), s); err != nil {
			return err.Error()
		}
		return ""
	})
}

// brought makes an intermediate under a new root, and returns the data of a Secret for each: of a CA, or not.
func brought(t *testing.T, name string, ca bool) (root *x509.Certificate, data map[string][]byte) {
	t.Helper()
	certify := func(name string, ca bool, key *ecdsa.PrivateKey, parent *x509.Certificate, by *ecdsa.PrivateKey) *x509.Certificate {
		template := &x509.Certificate{
			SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
			NotAfter: time.Now().Add(1000 * time.Hour), IsCA: ca, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		}
		if parent == nil {
			parent = template
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	rootKey, key := p256(t), p256(t)
	root = certify(name+" root", true, rootKey, nil, rootKey)
	cert := certify(name, ca, key, root, rootKey)
	text, err := pemfile.EncodeKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return root, map[string][]byte{"tls.crt": pemfile.EncodeCertificates(cert), "tls.key": text, "ca.crt": pemfile.EncodeCertificates(root)}
}

func testSwitch(t *testing.T) {
	w, members := newMembers(t, 2)
	defer dismiss(members...)
	own := w.secret("xinhari-ca").Data
	root, bought := brought(t, "company", true)
	w.want(bought)
	w.wantCondition("Rotating", "waits for 2 of 2 workloads to trust CN=company")
	w.wantBundle(2)
	members[0].learn()
	members[0].renew()
	w.wantCondition("Rotating", "waits for 1 of 2 workloads to trust CN=company")

	// It is taken back, and wanted again: who acknowledged it before may have learned of the way back and not of the way here.
	w.want(own)
	w.wantPhase(trust.Stable)
	w.wantBundle(1)
	members[0].learn()
	w.want(bought)
	w.wantCondition("Rotating", "waits for 2 of 2 workloads to trust CN=company")
	w.wantBundle(2)
	for _, m := range members {
		m.learn()
		m.renew()
	}
	w.wantPhase(trust.Retiring)
	for _, m := range members {
		m.renew()
		if m.chain[0].Issuer.CommonName != "company" || len(m.chain) != 2 {
			t.Errorf("%s is signed by %v, with a chain of %d", m.pod.Name, m.chain[0].Issuer, len(m.chain))
		}
	}
	if problem := meet(members); problem != "" {
		t.Error(problem)
	}
	w.wantPhase(trust.Stable)
	if roots := w.wantBundle(1); !roots[0].Equal(root) {
		t.Errorf("%q is trusted", rootNames(roots))
	}
	w.rotate("start")
	w.wantCondition("Request", "IssuerIsBrought", "xinhari-system/xinhari-ca")

	// Another issuer under the same root signs at once.
	_, other := brought(t, "other company", true)
	both := maps.Clone(bought)
	both["ca.crt"] = append(slices.Clone(bought["ca.crt"]), other["ca.crt"]...)
	w.want(both)
	w.wantCondition("Rotating", "waits for 2 of 2 workloads to trust CN=company")
	w.rotate("force")
	w.wantPhase(trust.Stable)
	other["ca.crt"] = both["ca.crt"]
	w.want(other)
	eventually(t, func() string {
		if got := w.secret("xinhari-signing").Data["tls.crt"]; string(got) != string(other["tls.crt"]) {
			return "the other issuer does not sign"
		}
		return ""
	})
	w.wantPhase(trust.Stable)
	w.want(own)
	w.wantCondition("Rotating", "workloads to trust", "O=cluster.local")
	w.rotate("force")
	w.wantPhase(trust.Retiring)
	dismiss(members...)
	w.wantPhase(trust.Stable)
	w.wantBundle(1)
}

func testDue(t *testing.T) {
	w, _ := newMembers(t, 0)
	old, err := issuer.New("cluster.local", time.Now().Add(-issuer.Life/10*9))
	if err != nil {
		t.Fatal(err)
	}
	w.want(old)
	eventually(t, func() string {
		if got := w.secret("xinhari-ca").Data["tls.crt"]; string(got) == string(old["tls.crt"]) {
			return "the old root is wanted"
		}
		return ""
	})
	w.wantPhase(trust.Stable)
	i, err := issuer.Parse(w.secret("xinhari-signing").Data)
	if err != nil || time.Until(i.RootsEnd()) < issuer.Life-time.Hour {
		t.Errorf("what signs ends at %v, %v", i.RootsEnd(), err)
	}
}

func testLost(t *testing.T) {
	w, members := newMembers(t, 1)
	defer dismiss(members...)
	before := members[0].issuedBy()
	if err := w.Delete(t.Context(), w.secret("xinhari-signing")); err != nil {
		t.Fatal(err)
	}
	members[0].renew()
	if members[0].issuedBy() != before {
		t.Error("another issuer signs")
	}
	w.wantBundle(1)
	if err := w.Delete(t.Context(), w.secret("xinhari-ca")); err != nil {
		t.Fatal(err)
	}
	w.wantCondition("Rotating", "waits for 1 of 1 workloads to trust")
	w.wantBundle(2)
	members[0].renew()
	if members[0].issuedBy() != before {
		t.Error("another issuer signs before it is trusted")
	}
	// What signs is lost on the way: the wanted one signs at once, and what was trusted stays so for those who need it.
	if err := w.Delete(t.Context(), w.secret("xinhari-signing")); err != nil {
		t.Fatal(err)
	}
	w.wantCondition("Rotating", "waits for 1 of 1 workloads to be signed by")
	members[0].learn()
	if problem := meet(members); problem != "" {
		t.Error(problem)
	}
	members[0].renew()
	if members[0].issuedBy() == before {
		t.Error("a lost issuer signs")
	}
	if problem := meet(members); problem != "" {
		t.Error(problem)
	}
	w.wantPhase(trust.Stable)
	w.wantBundle(1)
}

// mortal is a client that dies after one write that matters for trust.
type mortal struct {
	client.Client
	writes *atomic.Int64
	wrote  chan<- string
}

func (m *mortal) matters(o client.Object) bool {
	if o.GetNamespace() != operatorNamespace {
		return false
	}
	switch o.(type) {
	case *corev1.Secret, *corev1.ConfigMap:
		return true
	}
	return false
}

func (m *mortal) once(o client.Object, write func() error) error {
	if !m.matters(o) {
		return write()
	}
	if m.writes.Load() > 0 {
		return errors.New("it is dead")
	}
	err := write()
	if err == nil {
		m.writes.Add(1)
		m.wrote <- o.GetName()
	}
	return err
}

// Create is part of client.Client.
func (m *mortal) Create(ctx context.Context, o client.Object, options ...client.CreateOption) error {
	return m.once(o, func() error { return m.Client.Create(ctx, o, options...) })
}

// Update is part of client.Client.
func (m *mortal) Update(ctx context.Context, o client.Object, options ...client.UpdateOption) error {
	return m.once(o, func() error { return m.Client.Update(ctx, o, options...) })
}

// tick does what there is to do for a runtime, without waiting.
func (m *member) tick(pending *string, always bool) {
	m.Helper()
	if *pending == "" {
		if m.learn() || always {
			*pending = m.ask(m.request())
		}
		return
	}
	m.learn()
	r, err := m.CertificatesV1().CertificateSigningRequests().Get(m.Context(), *pending, metav1.GetOptions{})
	if err != nil {
		m.Fatal(err)
	}
	if len(r.Status.Certificate) > 0 {
		chain, err := pemfile.Certificates(r.Status.Certificate)
		if err != nil {
			m.Fatal(err)
		}
		m.mu.Lock()
		m.chain = chain
		m.mu.Unlock()
		*pending = ""
	}
}

func testCrashes(t *testing.T) {
	_, stop := startReplica(t)
	w, members := newMembers(t, 3)
	defer dismiss(members...)
	w.wantPhase(trust.Stable)
	before := members[0].issuedBy()
	w.rotate("start")
	stop()
	pending := make([]string, len(members))
	var wrote []string
	for over := false; !over; {
		if len(wrote) > 40 {
			object, _ := w.trusted()
			t.Fatalf("it does not end: %q\n%s", wrote, object.Data["state"])
		}
		died := make(chan string, 1)
		writes := new(atomic.Int64)
		_, stop := startWith(t, func(o *ctrl.Options, _ *controllers.Deps) {
			o.NewClient = func(config *rest.Config, options client.Options) (client.Client, error) {
				c, err := client.New(config, options)
				return &mortal{Client: c, writes: writes, wrote: died}, err
			}
		})
		for dead := false; !dead && !over; {
			select {
			case name := <-died:
				wrote = append(wrote, name)
				if name == "xinhari-trust" {
					wrote[len(wrote)-1] += " (" + w.condition("Rotating") + ")"
				}
				dead = true
			case <-time.After(20 * time.Millisecond):
			}
			_, s := w.trusted()
			for i, m := range members {
				m.tick(&pending[i], s.Phase == trust.Retiring && m.issuedBy() == before)
			}
			if problem := meet(members); problem != "" {
				t.Fatalf("after %q: %s", wrote, problem)
			}
			over = s.Phase == trust.Stable && len(wrote) > 5 && len(w.bundle()) == 1 && members[0].issuedBy() != before
		}
		stop()
	}
	t.Logf("it died after writing %q", wrote)
}

func testReplicas(t *testing.T) {
	first, stopFirst := startReplica(t)
	<-first.Elected()
	_, stopSecond := startReplica(t)
	defer stopSecond()
	w, members := newMembers(t, 2)
	defer dismiss(members...)
	before := members[0].issuedBy()
	w.rotate("start")
	w.wantCondition("Rotating", "waits for 2 of 2 workloads to trust")
	// The other one leads on, with what the first one recorded.
	stopFirst()
	w.wantBundle(2)
	for _, m := range members {
		m.learn()
		m.renew()
	}
	w.wantPhase(trust.Retiring)
	for _, m := range members {
		m.renew()
		if m.issuedBy() == before {
			t.Errorf("%s is signed by the old issuer", m.pod.Name)
		}
	}
	w.wantPhase(trust.Stable)
	if problem := meet(members); problem != "" {
		t.Error(problem)
	}
}
