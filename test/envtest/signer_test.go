package envtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
	"github.com/xinhari/xinhari/controllers/signer"
	"github.com/xinhari/xinhari/pkg/identity"
)

func testSigner(t *testing.T) {
	t.Run("a workload asks and gets a certificate that verifies", testSigned)
	t.Run("a request waits for its Service", testSignerWaits)
	t.Run("what a workload must not ask is refused at the door", testAdmission)
	t.Run("what the signer must not sign is denied", testDenied)
	t.Run("who approved and died is succeeded", testResumes)
	t.Run("an issuer that cannot sign signs nothing until it is mended", testUnusableIssuer)
	t.Run("two replicas sign many", testManySigned)
	t.Run("finished requests go", testFinishedGo)
}

// workload is a pod with the token that it would have mounted.
type workload struct {
	*world
	pod *corev1.Pod
	kubernetes.Interface
}

// newWorkload makes a pod of an account, with the label app of the account's name.
func (w *world) newWorkload(account, name string) *workload {
	w.Helper()
	ensure(w.T, w, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: account, Namespace: w.namespace}})
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.namespace, Labels: map[string]string{"app": account}},
		Spec: corev1.PodSpec{
			ServiceAccountName: account, Containers: []corev1.Container{{Name: "c", Image: "i"}}, TerminationGracePeriodSeconds: new(int64(0)),
		},
	}
	if err := w.Create(w.Context(), pod); err != nil {
		w.Fatal(err)
	}
	return &workload{world: w, pod: pod, Interface: w.as(account, pod)}
}

// as returns a client with a token of an account, bound to a pod if there is one.
func (w *world) as(account string, pod *corev1.Pod) kubernetes.Interface {
	w.Helper()
	all, err := kubernetes.NewForConfig(admin)
	if err != nil {
		w.Fatal(err)
	}
	request := &authenticationv1.TokenRequest{}
	if pod != nil {
		request.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}
	}
	token, err := all.CoreV1().ServiceAccounts(w.namespace).CreateToken(w.Context(), account, request, metav1.CreateOptions{})
	if err != nil {
		w.Fatal(err)
	}
	config := rest.AnonymousClientConfig(admin)
	config.BearerToken = token.Status.Token
	config.QPS = -1
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		w.Fatal(err)
	}
	return c
}

func p256(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// request returns a request as a runtime makes it, of a template.
func request(t testing.TB, key crypto.Signer, template x509.CertificateRequest) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &template, key)
	if err != nil {
		t.Fatal(err)
	}
	return &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{GenerateName: xinhariv1alpha1.RequestPrefix},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			Request:    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
			SignerName: xinhariv1alpha1.SignerName, Usages: signer.Usages(),
		},
	}
}

// ask creates a request and returns its name.
func (w *workload) ask(r *certificatesv1.CertificateSigningRequest) string {
	w.Helper()
	r, err := w.CertificatesV1().CertificateSigningRequests().Create(w.Context(), r, metav1.CreateOptions{})
	if err != nil {
		w.Fatal(err)
	}
	return r.Name
}

// wantDenied waits until a request has a final condition with a reason.
func (w *workload) wantDenied(name string, kind certificatesv1.RequestConditionType, want signer.Reason) {
	w.Helper()
	eventually(w.T, func() string {
		r, err := w.CertificatesV1().CertificateSigningRequests().Get(w.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		if len(r.Status.Certificate) > 0 {
			w.Fatalf("%s was signed", name)
		}
		for _, c := range r.Status.Conditions {
			if c.Type == kind && c.Reason == string(want) && c.Message != "" {
				return ""
			}
		}
		return fmt.Sprintf("%s: conditions are %v, want %s %s", name, r.Status.Conditions, kind, want)
	})
}

// certificate waits until a request is signed.
func (w *workload) certificate(name string) []*x509.Certificate {
	w.Helper()
	var chain []*x509.Certificate
	eventually(w.T, func() string {
		r, err := w.CertificatesV1().CertificateSigningRequests().Get(w.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		for rest := r.Status.Certificate; ; {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				break
			}
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				w.Fatal(err)
			}
			chain = append(chain, cert)
		}
		if len(chain) == 0 {
			return fmt.Sprintf("%s: no certificate: %v", name, r.Status.Conditions)
		}
		return ""
	})
	return chain
}

// roots returns what the operator's Secret holds.
func (w *world) roots() *x509.CertPool {
	w.Helper()
	secret := new(corev1.Secret)
	if err := w.Get(w.Context(), client.ObjectKey{Namespace: operatorNamespace, Name: "xinhari-ca"}, secret); err != nil {
		w.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(secret.Data["ca.crt"]) {
		w.Fatal("the Secret holds no root")
	}
	return pool
}

func testSigned(t *testing.T) {
	w := newWorld(t)
	w.service("inventory", "selector: {app: inventory}\nidentity: {duration: 1h}")
	pod := w.newWorkload("inventory", "inventory-0")
	key := p256(t)
	asked := request(t, key, x509.CertificateRequest{})
	asked.Annotations = map[string]string{xinhariv1alpha1.AnnotationBundleHash: strings.Repeat("0a", 32)}
	began := time.Now()
	name := pod.ask(asked)
	chain := pod.certificate(name)
	t.Logf("signed %v after it was asked for", time.Since(began))
	w.wantBasis(name, "inventory")
	w.service("stock", "serviceAccountName: inventory\nselector: {app: another}")
	name = pod.ask(request(t, p256(t), x509.CertificateRequest{}))
	pod.certificate(name)
	w.wantBasis(name, "inventory")
	leaf := chain[0]
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		options := x509.VerifyOptions{Roots: w.roots(), DNSName: "inventory." + w.namespace + ".svc", KeyUsages: []x509.ExtKeyUsage{usage}}
		if _, err := leaf.Verify(options); err != nil {
			t.Error(err)
		}
	}
	id, err := identity.IDOf(leaf)
	if want := (identity.ID{TrustDomain: "cluster.local", Namespace: w.namespace, ServiceAccount: "inventory"}); err != nil || id != want {
		t.Errorf("the certificate is of %v, %v; want %v", id, err, want)
	}
	if !key.PublicKey.Equal(leaf.PublicKey) || leaf.IsCA || leaf.KeyUsage != x509.KeyUsageDigitalSignature || leaf.SerialNumber.BitLen() < 64 {
		t.Errorf("the certificate has CA %v, usage %v, serial %v", leaf.IsCA, leaf.KeyUsage, leaf.SerialNumber)
	}
	if life := leaf.NotAfter.Sub(leaf.NotBefore); life != time.Hour+2*time.Minute {
		t.Errorf("the certificate lives %v", life)
	}

	for _, may := range []struct {
		verb, resource string
		want           bool
	}{
		{"create", "certificatesigningrequests", true}, {"get", "certificatesigningrequests", true}, {"list", "certificatesigningrequests", false},
		{"watch", "certificatesigningrequests", false}, {"update", "certificatesigningrequests", false}, {"patch", "certificatesigningrequests", false},
		{"delete", "certificatesigningrequests", false}, {"update", "certificatesigningrequests/approval", false},
		{"update", "certificatesigningrequests/status", false}, {"approve", "signers", false}, {"sign", "signers", false},
	} {
		if got := w.may(w.namespace+":inventory", may.verb, "certificates.k8s.io", may.resource, "", ""); got != may.want {
			t.Errorf("a workload may %s %s: %v", may.verb, may.resource, got)
		}
	}
	eventually(t, func() string {
		seen := map[string]bool{}
		gather(t, func(metric, _ string, value float64) { seen[metric] = seen[metric] || value > 0 })
		for _, name := range []string{"xinhari_signer_requests_total", "xinhari_signer_expiry_seconds"} {
			if !seen[name] {
				return name + " is zero or not there"
			}
		}
		return ""
	})
}

// wantBasis holds that the certificate of a request was made of the Services of an account, as they are, and says so.
func (w *world) wantBasis(name, account string) {
	w.Helper()
	var services xinhariv1alpha1.ServiceList
	if err := w.List(w.Context(), &services, client.InNamespace(w.namespace)); err != nil {
		w.Fatal(err)
	}
	all := make([]*xinhariv1alpha1.Service, 0, len(services.Items))
	for i := range services.Items {
		all = append(all, &services.Items[i])
	}
	want := xinhariv1alpha1.CertificateBasis(all, account)
	r := new(certificatesv1.CertificateSigningRequest)
	if err := w.Get(w.Context(), client.ObjectKey{Name: name}, r); err != nil {
		w.Fatal(err)
	}
	for _, c := range r.Status.Conditions {
		if c.Type == xinhariv1alpha1.ConditionBasis && c.Status == corev1.ConditionTrue && c.Message == want {
			return
		}
	}
	w.Errorf("conditions of %s are %v, want %s: %s", name, r.Status.Conditions, xinhariv1alpha1.ConditionBasis, want)
}

func (w *workload) events(reason string) []string {
	w.Helper()
	var list eventsv1.EventList
	if err := w.List(w.Context(), &list, client.InNamespace(w.namespace)); err != nil {
		w.Fatal(err)
	}
	var notes []string
	for _, e := range list.Items {
		if e.Reason == reason && e.Regarding.UID == w.pod.UID {
			notes = append(notes, e.Note)
		}
	}
	return notes
}

func testSignerWaits(t *testing.T) {
	w := newWorld(t)
	pod := w.newWorkload("stock", "stock-0")
	name := pod.ask(request(t, p256(t), x509.CertificateRequest{}))
	eventually(t, func() string {
		if notes := pod.events("WaitingForService"); len(notes) != 1 || !strings.Contains(notes[0], "account stock") {
			return fmt.Sprintf("events of waiting are %q", notes)
		}
		return ""
	})
	w.service("inventory", "selector: {app: stock}\nserviceAccountName: stock")
	if leaf := pod.certificate(name)[0]; !cmp.Equal(leaf.DNSNames, []string{"inventory." + w.namespace + ".svc"}) {
		t.Errorf("DNS names are %q", leaf.DNSNames)
	}
}

func testAdmission(t *testing.T) {
	w := newWorld(t)
	pod := w.newWorkload("inventory", "inventory-0")
	create := func(c kubernetes.Interface, r *certificatesv1.CertificateSigningRequest) error {
		_, err := c.CertificatesV1().CertificateSigningRequests().Create(t.Context(), r, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
	for _, test := range []struct {
		name   string
		change func(*certificatesv1.CertificateSigningRequest)
		want   string // nothing where it is let in
	}{
		{"what a runtime asks", func(*certificatesv1.CertificateSigningRequest) {}, ""},
		{"a signer of client certificates", func(r *certificatesv1.CertificateSigningRequest) {
			r.Spec.SignerName = certificatesv1.KubeAPIServerClientSignerName
			r.Spec.Usages = []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth}
		}, "may ask signer xinhari.com/workload only"},
		{"a signer of our domain", func(r *certificatesv1.CertificateSigningRequest) { r.Spec.SignerName = "xinhari.com/other" }, "xinhari.com/workload only"},
		{"a usage more", func(r *certificatesv1.CertificateSigningRequest) {
			r.Spec.Usages = append(signer.Usages(), certificatesv1.UsageCertSign)
		}, "usages"},
		{"a usage less", func(r *certificatesv1.CertificateSigningRequest) { r.Spec.Usages = signer.Usages()[:2] }, "usages"},
		{"another usage", func(r *certificatesv1.CertificateSigningRequest) {
			r.Spec.Usages = append(signer.Usages()[:2], certificatesv1.UsageCodeSigning)
		}, "usages"},
		{"4096 bytes", func(r *certificatesv1.CertificateSigningRequest) { pad(r, 4096) }, ""},
		{"4097 bytes and more", func(r *certificatesv1.CertificateSigningRequest) { pad(r, 4099) }, "4096"},
		{"599 seconds", func(r *certificatesv1.CertificateSigningRequest) { r.Spec.ExpirationSeconds = new(int32(599)) }, "600"},
		{"600 seconds", func(r *certificatesv1.CertificateSigningRequest) { r.Spec.ExpirationSeconds = new(int32(600)) }, ""},
		{"72 hours", func(r *certificatesv1.CertificateSigningRequest) { r.Spec.ExpirationSeconds = new(int32(259200)) }, ""},
		{"a second more than 72 hours", func(r *certificatesv1.CertificateSigningRequest) { r.Spec.ExpirationSeconds = new(int32(259201)) }, "259200"},
		{"a name of the kubelet's kind", func(r *certificatesv1.CertificateSigningRequest) { r.GenerateName = "csr-" }, "must begin with xinhari-"},
		{"a long name", func(r *certificatesv1.CertificateSigningRequest) { r.Name = "xinhari-" + strings.Repeat("a", 121) }, "128"},
		{"a label", func(r *certificatesv1.CertificateSigningRequest) { r.Labels = map[string]string{"a": "b"} }, "labels"},
		{"an annotation", func(r *certificatesv1.CertificateSigningRequest) { r.Annotations = map[string]string{"a": "b"} }, "annotation"},
		{"a bundle hash", func(r *certificatesv1.CertificateSigningRequest) {
			r.Annotations = map[string]string{xinhariv1alpha1.AnnotationBundleHash: strings.Repeat("f", 64)}
		}, ""},
		{"a bundle hash that is none", func(r *certificatesv1.CertificateSigningRequest) {
			r.Annotations = map[string]string{xinhariv1alpha1.AnnotationBundleHash: strings.Repeat("F", 64)}
		}, "hexadecimal"},
		{"a source", func(r *certificatesv1.CertificateSigningRequest) {
			r.Annotations = map[string]string{xinhariv1alpha1.AnnotationSource: strings.Repeat("0", 16)}
		}, ""},
		{"a source that is none", func(r *certificatesv1.CertificateSigningRequest) {
			r.Annotations = map[string]string{xinhariv1alpha1.AnnotationSource: strings.Repeat("0", 17)}
		}, "hexadecimal"},
		{"a finalizer", func(r *certificatesv1.CertificateSigningRequest) { r.Finalizers = []string{"example.org/mine"} }, "finalizers"},
		{"an owner", func(r *certificatesv1.CertificateSigningRequest) {
			r.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: "a", UID: "b"}}
		}, "ownerReferences"},
	} {
		t.Run(test.name, func(t *testing.T) {
			// Policies take a moment to arrive in the API server; after the first has, all have.
			eventually(t, func() string {
				r := request(t, p256(t), x509.CertificateRequest{})
				test.change(r)
				err := create(pod, r)
				switch {
				case err == nil && test.want != "":
					return "let in"
				case err != nil && (test.want == "" || !strings.Contains(err.Error(), test.want)):
					return fmt.Sprintf("answered %v, want %q", err, test.want)
				}
				return ""
			})
		})
	}
	other := func() *certificatesv1.CertificateSigningRequest {
		r := request(t, p256(t), x509.CertificateRequest{})
		r.Spec.SignerName = "example.org/other"
		return r
	}
	all, err := kubernetes.NewForConfig(admin)
	if err != nil {
		t.Fatal(err)
	}
	if err := create(all, other()); err != nil {
		t.Errorf("a person may not ask another signer: %v", err)
	}
	grouped := rest.CopyConfig(admin)
	grouped.Impersonate = rest.ImpersonationConfig{UserName: "someone", Groups: []string{"system:authenticated", "system:serviceaccounts"}}
	member, err := kubernetes.NewForConfig(grouped)
	if err != nil {
		t.Fatal(err)
	}
	if err := create(member, other()); err == nil || !strings.Contains(err.Error(), "xinhari.com/workload only") {
		t.Errorf("one of the group of accounts, by another name: %v", err)
	}
	pod.grantSigner("example.org/other")
	eventually(t, func() string {
		if err := create(pod, other()); err != nil {
			return "an account that was granted another signer may not ask it: " + err.Error()
		}
		return ""
	})
	operator := rest.CopyConfig(admin)
	operator.Impersonate.UserName = operatorUser
	acting, err := kubernetes.NewForConfig(operator)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := all.CertificatesV1().CertificateSigningRequests().Create(t.Context(), other(), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	err = acting.CertificatesV1().CertificateSigningRequests().Delete(t.Context(), foreign.Name, metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}})
	if err == nil || !strings.Contains(err.Error(), "xinhari.com/workload only") {
		t.Errorf("the operator deletes a request for another signer: %v", err)
	}
	if err := all.CertificatesV1().CertificateSigningRequests().Delete(t.Context(), foreign.Name, metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
}

// pad makes a request at least n bytes long, in whole steps of base64.
func pad(r *certificatesv1.CertificateSigningRequest, n int) {
	r.Spec.Request = append([]byte(strings.Repeat("\n", n-len(r.Spec.Request))), r.Spec.Request...)
}

func testDenied(t *testing.T) {
	w := newWorld(t)
	w.service("inventory", "selector: {app: inventory}")
	pod := w.newWorkload("inventory", "inventory-0")
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	other, err := url.Parse("spiffe://cluster.local/ns/" + w.namespace + "/sa/orders")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		want signer.Reason
		r    *certificatesv1.CertificateSigningRequest
	}{
		{signer.WeakKey, request(t, rsaKey, x509.CertificateRequest{})},
		{signer.ForeignNames, request(t, p256(t), x509.CertificateRequest{URIs: []*url.URL{other}})},
		{signer.ForeignNames, request(t, p256(t), x509.CertificateRequest{DNSNames: []string{"orders." + w.namespace + ".svc"}})},
		{signer.ForeignSubject, request(t, p256(t), x509.CertificateRequest{Subject: pkix.Name{CommonName: "root"}})},
		{signer.CertificateOfCA, request(t, p256(t), x509.CertificateRequest{ExtraExtensions: []pkix.Extension{{
			Id: []int{2, 5, 29, 19}, Value: []byte{0x30, 0x03, 0x01, 0x01, 0xff},
		}}})},
	} {
		pod.wantDenied(pod.ask(test.r), certificatesv1.CertificateDenied, test.want)
		eventually(t, func() string {
			if len(pod.events(string(test.want))) == 0 {
				return fmt.Sprintf("the pod has no event %s", test.want)
			}
			return ""
		})
	}

	key := p256(t)
	pod.certificate(pod.ask(request(t, key, x509.CertificateRequest{})))
	thief := w.newWorkload("inventory", "inventory-1")
	thief.wantDenied(thief.ask(request(t, key, x509.CertificateRequest{})), certificatesv1.CertificateDenied, signer.CopiedKey)

	unbound := &workload{world: w, pod: pod.pod, Interface: w.as("inventory", nil)}
	unbound.wantDenied(unbound.ask(request(t, p256(t), x509.CertificateRequest{})), certificatesv1.CertificateDenied, signer.NoPod)

	// The pod goes after it asked: the API server refuses its token as soon as it notices, so the request is made first.
	w.service("late", "selector: {app: late}\nserviceAccountName: nobody")
	late := w.newWorkload("late", "late-0")
	name := late.ask(request(t, p256(t), x509.CertificateRequest{}))
	eventually(t, func() string {
		if len(late.events("WaitingForService")) == 0 {
			return "it does not wait"
		}
		return ""
	})
	if err := w.Delete(t.Context(), late.pod, client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	w.service("late", "selector: {app: late}")
	watcher := &workload{world: w, pod: pod.pod, Interface: pod.Interface}
	watcher.wantDenied(name, certificatesv1.CertificateDenied, signer.PodGone)
}

// grantSigner gives the pod's account the right that the admission policy asks for.
func (w *workload) grantSigner(name string) {
	w.Helper()
	role := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "request-" + w.namespace},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{"certificates.k8s.io"}, Resources: []string{"signers"}, ResourceNames: []string{name}, Verbs: []string{"request"}}},
	}
	ensure(w.T, w, role)
	ensure(w.T, w, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: role.Name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: w.namespace, Name: w.pod.Spec.ServiceAccountName}},
	})
}

func testResumes(t *testing.T) {
	w := newWorld(t)
	pod := w.newWorkload("inventory", "inventory-0")
	all, err := kubernetes.NewForConfig(admin)
	if err != nil {
		t.Fatal(err)
	}
	approved := func(r *certificatesv1.CertificateSigningRequest) string {
		name := pod.ask(r)
		eventually(t, func() string {
			live, err := all.CertificatesV1().CertificateSigningRequests().Get(t.Context(), name, metav1.GetOptions{})
			if err != nil {
				return err.Error()
			}
			live.Status.Conditions = append(live.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
				Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "Evaluated", Message: "by one who died", LastUpdateTime: metav1.Now(),
			})
			_, err = all.CertificatesV1().CertificateSigningRequests().UpdateApproval(t.Context(), name, live, metav1.UpdateOptions{})
			if err != nil {
				return err.Error()
			}
			return ""
		})
		return name
	}
	good := approved(request(t, p256(t), x509.CertificateRequest{}))
	bad := approved(request(t, p256(t), x509.CertificateRequest{DNSNames: []string{"orders.bank.svc"}}))
	w.service("inventory", "selector: {app: inventory}")
	pod.certificate(good)
	pod.wantDenied(bad, certificatesv1.CertificateFailed, signer.ForeignNames)
}

func testUnusableIssuer(t *testing.T) {
	w := newWorld(t)
	w.service("inventory", "selector: {app: inventory}")
	pod := w.newWorkload("inventory", "inventory-0")
	secret := new(corev1.Secret)
	if err := w.Get(t.Context(), client.ObjectKey{Namespace: operatorNamespace, Name: "xinhari-ca"}, secret); err != nil {
		t.Fatal(err)
	}
	whole := secret.Data
	secret.Data = map[string][]byte{"tls.crt": whole["tls.crt"], "tls.key": []byte("lost"), "ca.crt": whole["ca.crt"]}
	if err := w.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	w.wantCondition("Ready", "False", "goes on signing")
	pod.certificate(pod.ask(request(t, p256(t), x509.CertificateRequest{})))
	if err := w.Delete(t.Context(), w.secret("xinhari-signing")); err != nil {
		t.Fatal(err)
	}
	w.wantCondition("Ready", "False", "NoIssuer", "nothing is signed", "xinhari-system/xinhari-ca")
	var name string
	eventually(t, func() string {
		name = pod.ask(request(t, p256(t), x509.CertificateRequest{}))
		var list eventsv1.EventList
		if err := w.List(t.Context(), &list); err != nil {
			return err.Error()
		}
		for _, e := range list.Items {
			if e.Reason == "IssuerUnusable" && e.Regarding.Name == "xinhari-ca" && strings.Contains(e.Note, "secret xinhari-system/xinhari-ca") {
				return ""
			}
		}
		return "no event tells of the issuer"
	})
	r, err := pod.CertificatesV1().CertificateSigningRequests().Get(t.Context(), name, metav1.GetOptions{})
	if err != nil || len(r.Status.Conditions) > 0 || len(r.Status.Certificate) > 0 {
		t.Errorf("the request is %+v, %v; want it to wait", r.Status, err)
	}
	secret.Data = whole
	if err := w.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	pod.certificate(name)
	if err := w.Get(t.Context(), client.ObjectKeyFromObject(secret), secret); err != nil || !cmp.Equal(secret.Data, whole) {
		t.Errorf("the operator wrote the Secret that was there: %v", err)
	}
}

func testManySigned(t *testing.T) {
	_, stop := startReplica(t)
	defer stop()
	w := newWorld(t)
	w.service("inventory", "selector: {app: inventory}")
	const pods, each = 10, 20
	workloads := make([]*workload, pods)
	var requests []*certificatesv1.CertificateSigningRequest
	for i := range workloads {
		workloads[i] = w.newWorkload("inventory", fmt.Sprintf("inventory-%d", i))
		for range each {
			requests = append(requests, request(t, p256(t), x509.CertificateRequest{}))
		}
	}
	began := time.Now()
	var asking sync.WaitGroup
	for i := range workloads {
		asking.Go(func() {
			for _, r := range requests[i*each : (i+1)*each] {
				if _, err := workloads[i].CertificatesV1().CertificateSigningRequests().Create(t.Context(), r, metav1.CreateOptions{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	asking.Wait()
	asked := time.Since(began)
	signed := map[string]bool{}
	eventually(t, func() string {
		var list certificatesv1.CertificateSigningRequestList
		if err := w.List(t.Context(), &list); err != nil {
			return err.Error()
		}
		for i := range list.Items {
			r := &list.Items[i]
			if strings.HasPrefix(r.Spec.Username, "system:serviceaccount:"+w.namespace+":") && len(r.Status.Certificate) > 0 {
				signed[r.Name] = true
			}
		}
		if len(signed) < pods*each {
			return fmt.Sprintf("%d of %d are signed", len(signed), pods*each)
		}
		return ""
	})
	took := time.Since(began)
	t.Logf("%d requests: asked in %v, signed after %v", pods*each, asked, took)
}

func testFinishedGo(t *testing.T) {
	w := newWorld(t)
	eventually(t, func() string {
		var list certificatesv1.CertificateSigningRequestList
		if err := w.List(t.Context(), &list); err != nil {
			return err.Error()
		}
		for i := range list.Items {
			if signer.Finished(&list.Items[i]) {
				return list.Items[i].Name + " is still there"
			}
		}
		return ""
	})
}
