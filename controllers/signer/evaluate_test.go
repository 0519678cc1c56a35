package signer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // of requests that are to be refused
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
)

var now = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func csr(t testing.TB, key crypto.Signer, template x509.CertificateRequest) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &template, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der})
}

// good returns an input whose verdict is to sign.
func good(t testing.TB) *Input {
	t.Helper()
	return &Input{
		Request: &certificatesv1.CertificateSigningRequest{
			ObjectMeta: metav1.ObjectMeta{Name: "xinhari-a", UID: "r1", CreationTimestamp: metav1.NewTime(now)},
			Spec: certificatesv1.CertificateSigningRequestSpec{
				Request: csr(t, newKey(t), x509.CertificateRequest{}), SignerName: xinhariv1alpha1.SignerName, Usages: Usages(),
				Username: "system:serviceaccount:shop:inventory",
				Extra: map[string]certificatesv1.ExtraValue{
					extraPodName: {"inventory-0"}, extraPodUID: {"u1"}, extraNodeName: {"n1"},
				},
			},
		},
		Pod: &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "inventory-0", Namespace: "shop", UID: "u1", Labels: map[string]string{"app": "inventory", "x": "y"}},
			Spec:       corev1.PodSpec{ServiceAccountName: "inventory", NodeName: "n1"},
			Status:     corev1.PodStatus{Phase: corev1.PodRunning},
		},
		Services: []xinhariv1alpha1.Service{
			service("stock", func(s *xinhariv1alpha1.Service) { s.Spec.ServiceAccountName = "inventory" }),
			service("inventory", nil),
			service("other", nil),
			service("going", func(s *xinhariv1alpha1.Service) {
				s.Spec.ServiceAccountName, s.DeletionTimestamp = "inventory", new(metav1.NewTime(now))
			}),
		},
		TrustDomain: "cluster.local", Now: now, IssuerEnds: now.Add(1000 * time.Hour), Limits: DefaultLimits(),
	}
}

func service(name string, change func(*xinhariv1alpha1.Service)) xinhariv1alpha1.Service {
	s := xinhariv1alpha1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop"},
		Spec:       xinhariv1alpha1.ServiceSpec{Selector: xinhariv1alpha1.Labels{"app": "inventory"}},
	}
	if change != nil {
		change(&s)
	}
	return s
}

const spiffeID = "spiffe://cluster.local/ns/shop/sa/inventory"

func TestEvaluateSigns(t *testing.T) {
	id, err := url.Parse(spiffeID)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"inventory.shop.svc", "stock.shop.svc"}
	for _, test := range []struct {
		name     string
		change   func(*Input)
		life     time.Duration
		dnsNames []string
	}{
		{name: "nothing but a key", life: 24 * time.Hour},
		{name: "exactly what it gets", change: func(in *Input) {
			in.Request.Spec.Request = csr(t, newKey(t), x509.CertificateRequest{URIs: []*url.URL{id}, DNSNames: []string{names[1], names[0]}})
		}, life: 24 * time.Hour},
		{name: "P-384", change: func(in *Input) {
			key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			in.Request.Spec.Request = csr(t, key, x509.CertificateRequest{})
		}, life: 24 * time.Hour},
		{name: "the shortest of the Services' lives", change: func(in *Input) {
			in.Services[0].Spec.Identity = &xinhariv1alpha1.ServiceIdentity{Duration: "30s"}
		}, life: 30 * time.Second},
		{name: "a Service that selects other pods has no say", change: func(in *Input) {
			in.Services[0].Spec.Selector = xinhariv1alpha1.Labels{"app": "inventory", "x": "z"}
			in.Services[0].Spec.Identity = &xinhariv1alpha1.ServiceIdentity{Duration: "30s"}
		}, life: 24 * time.Hour, dnsNames: names[:1]},
		{name: "a shorter life is asked for", change: func(in *Input) { in.Request.Spec.ExpirationSeconds = new(int32(600)) }, life: 10 * time.Minute},
		{name: "a longer life is asked for", change: func(in *Input) { in.Request.Spec.ExpirationSeconds = new(int32(259200)) }, life: 24 * time.Hour},
		{name: "the issuer ends", change: func(in *Input) { in.IssuerEnds = now.Add(5 * time.Minute) }, life: 5 * time.Minute},
		{name: "a life that the API would refuse", change: func(in *Input) {
			in.Services[0].Spec.Identity = &xinhariv1alpha1.ServiceIdentity{Duration: "99999h"}
			in.Services[1].Spec.Identity = in.Services[0].Spec.Identity
		}, life: 72 * time.Hour},
		{name: "a Service that is never called, without selector", change: func(in *Input) {
			in.Services = in.Services[:1]
			in.Services[0].Spec.Selector, in.Services[0].Spec.ClientOnly = nil, true
		}, life: 24 * time.Hour, dnsNames: names[1:]},
		{name: "no node in the token", change: func(in *Input) { delete(in.Request.Spec.Extra, extraNodeName) }, life: 24 * time.Hour},
		{name: "its own key again", change: func(in *Input) { in.Others = []certificatesv1.CertificateSigningRequest{another(in, "r0", "u1")} }, life: 24 * time.Hour},
		{name: "its key was copied before, in a request that was denied", change: func(in *Input) {
			denied := another(in, "r0", "u2")
			denied.CreationTimestamp = metav1.NewTime(now.Add(-time.Second))
			denied.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateDenied, Status: corev1.ConditionTrue}}
			in.Others = []certificatesv1.CertificateSigningRequest{denied}
		}, life: 24 * time.Hour},
		{name: "its public key was asked with before, by one who has not the private one", change: func(in *Input) {
			claimed := another(in, "r0", "u2")
			claimed.CreationTimestamp = metav1.NewTime(now.Add(-time.Second))
			block, _ := pem.Decode(claimed.Spec.Request)
			block.Bytes[len(block.Bytes)-1] ^= 1
			claimed.Spec.Request = pem.EncodeToMemory(block)
			in.Others = []certificatesv1.CertificateSigningRequest{claimed}
		}, life: 24 * time.Hour},
		{name: "another pod has all requests it may have", change: func(in *Input) {
			for i := range DefaultLimits().PerPod {
				other := another(in, string(rune('A'+i)), "u2")
				other.Spec.Request = nil
				in.Others = append(in.Others, other)
			}
		}, life: 24 * time.Hour},
		{name: "its key was copied later", change: func(in *Input) {
			copied := another(in, "r2", "u2")
			copied.CreationTimestamp = metav1.NewTime(now.Add(time.Second))
			in.Others = []certificatesv1.CertificateSigningRequest{copied}
		}, life: 24 * time.Hour},
	} {
		t.Run(test.name, func(t *testing.T) {
			in := good(t)
			if test.change != nil {
				test.change(in)
			}
			v := Evaluate(*in)
			if v.Sign == nil {
				t.Fatalf("verdict is %+v, %s", v.Deny, v.Wait)
			}
			if test.dnsNames == nil {
				test.dnsNames = names
			}
			got := v.Sign
			request, err := parse(in.Request.Spec.Request)
			if err != nil {
				t.Fatal(err)
			}
			want := &x509.Certificate{
				NotBefore: now.Add(-2 * time.Minute), NotAfter: now.Add(test.life), URIs: []*url.URL{id}, DNSNames: test.dnsNames,
				KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
				BasicConstraintsValid: true, PublicKey: request.PublicKey,
			}
			// Without methods: by its own Equal a certificate is its Raw, of which templates have none.
			type fields x509.Certificate
			if diff := cmp.Diff(fields(*want), fields(*got)); diff != "" {
				t.Errorf("template (-want +got):\n%s", diff)
			}
		})
	}
}

// another returns a request with the same key, of another UID and pod.
func another(in *Input, uid, pod string) certificatesv1.CertificateSigningRequest {
	other := *in.Request.DeepCopy()
	other.UID = types.UID(uid)
	other.Spec.Extra[extraPodUID] = certificatesv1.ExtraValue{pod}
	return other
}

func extension(t testing.TB, id asn1.ObjectIdentifier, value any) []pkix.Extension {
	t.Helper()
	raw, err := asn1.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return []pkix.Extension{{Id: id, Value: raw}}
}

// signedWithSHA1 returns a request that is good but for the hash, which the standard library signs with no more.
func signedWithSHA1(t testing.TB, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	block, _ := pem.Decode(csr(t, key, x509.CertificateRequest{}))
	var request struct {
		Info      asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}
	if _, err := asn1.Unmarshal(block.Bytes, &request); err != nil {
		t.Fatal(err)
	}
	sum := sha1.Sum(request.Info.FullBytes) //nolint:gosec // it is there to be refused
	signature, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	request.Algorithm.Algorithm = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 1}
	request.Signature = asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}
	der, err := asn1.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	if read, err := x509.ParseCertificateRequest(der); err != nil || read.SignatureAlgorithm != x509.ECDSAWithSHA1 || read.CheckSignature() != nil {
		t.Fatalf("the request is not one that only its hash speaks against: %v", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der})
}

type refusal struct {
	name   string
	want   Reason
	change func(*testing.T, *Input)
}

// ask makes a request with a template.
func ask(template func(*testing.T) x509.CertificateRequest) func(*testing.T, *Input) {
	return func(t *testing.T, in *Input) { in.Request.Spec.Request = csr(t, newKey(t), template(t)) }
}

func withURIs(all ...string) func(*testing.T, *Input) {
	return ask(func(t *testing.T) x509.CertificateRequest {
		r := x509.CertificateRequest{}
		for _, s := range all {
			u, err := url.Parse(s)
			if err != nil {
				t.Fatal(err)
			}
			r.URIs = append(r.URIs, u)
		}
		return r
	})
}

// refusals are of checks that can be taken out: without its check each is signed.
func refusals() []refusal {
	return []refusal{
		{"another signer", OtherSigner, func(_ *testing.T, in *Input) { in.Request.Spec.SignerName = "kubernetes.io/kube-apiserver-client" }},
		{"a pod with another UID", OtherPod, func(_ *testing.T, in *Input) { in.Pod.UID = "u2" }},
		{"a pod with another name", OtherPod, func(_ *testing.T, in *Input) { in.Pod.Name = "b" }},
		{"a pod of another namespace", OtherPod, func(_ *testing.T, in *Input) {
			in.Pod.Namespace = "bank"
			for i := range in.Services {
				in.Services[i].Namespace = "bank"
			}
		}},
		{"a pod of another account", OtherAccount, func(_ *testing.T, in *Input) { in.Pod.Spec.ServiceAccountName = "default" }},
		{"a token of another node", OtherNode, func(_ *testing.T, in *Input) { in.Pod.Spec.NodeName = "n2" }},
		{"a pod that succeeded", PodEnded, func(_ *testing.T, in *Input) { in.Pod.Status.Phase = corev1.PodSucceeded }},
		{"a pod that failed", PodEnded, func(_ *testing.T, in *Input) { in.Pod.Status.Phase = corev1.PodFailed }},
		{"one byte too many", TooLarge, func(_ *testing.T, in *Input) {
			in.Request.Spec.Request = append(in.Request.Spec.Request, []byte(strings.Repeat("\n", 4097-len(in.Request.Spec.Request)))...)
		}},
		{"RSA", WeakKey, func(t *testing.T, in *Input) {
			key, err := rsa.GenerateKey(rand.Reader, 2048)
			if err != nil {
				t.Fatal(err)
			}
			in.Request.Spec.Request = csr(t, key, x509.CertificateRequest{})
		}},
		{"P-224", WeakKey, func(t *testing.T, in *Input) {
			key, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			in.Request.Spec.Request = csr(t, key, x509.CertificateRequest{})
		}},
		{"Ed25519", WeakKey, func(t *testing.T, in *Input) {
			_, key, err := ed25519.GenerateKey(rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			in.Request.Spec.Request = csr(t, key, x509.CertificateRequest{})
		}},
		{"signed by another key", BadSignature, func(_ *testing.T, in *Input) {
			block, _ := pem.Decode(in.Request.Spec.Request)
			block.Bytes[len(block.Bytes)-1] ^= 1
			in.Request.Spec.Request = pem.EncodeToMemory(block)
		}},
		{"signed with SHA-1", BadSignature, func(t *testing.T, in *Input) { in.Request.Spec.Request = signedWithSHA1(t, newKey(t)) }},
		{"the CA bit", CertificateOfCA, ask(func(t *testing.T) x509.CertificateRequest {
			return x509.CertificateRequest{ExtraExtensions: extension(t, oidBasicConstraints(), struct{ IsCA bool }{true})}
		})},
		{"a subject", ForeignSubject, ask(func(*testing.T) x509.CertificateRequest {
			return x509.CertificateRequest{Subject: pkix.Name{CommonName: "system:masters"}}
		})},
		{"key usage certSign", ForeignExtension, ask(func(t *testing.T) x509.CertificateRequest {
			return x509.CertificateRequest{ExtraExtensions: extension(t, asn1.ObjectIdentifier{2, 5, 29, 15}, asn1.BitString{Bytes: []byte{4}, BitLength: 6})}
		})},
		{"an extension nobody knows", ForeignExtension, ask(func(t *testing.T) x509.CertificateRequest {
			return x509.CertificateRequest{ExtraExtensions: extension(t, asn1.ObjectIdentifier{1, 2, 3, 4}, "x")}
		})},
		{"an attribute that is no extension", ForeignExtension, ask(func(*testing.T) x509.CertificateRequest {
			//nolint:staticcheck // no other field makes an attribute that is no extension
			return x509.CertificateRequest{Attributes: []pkix.AttributeTypeAndValueSET{{
				Type:  asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 7},
				Value: [][]pkix.AttributeTypeAndValue{{{Type: asn1.ObjectIdentifier{1, 2, 3}, Value: "secret"}}},
			}}}
		})},
		{"the URI of another account", ForeignNames, withURIs("spiffe://cluster.local/ns/shop/sa/orders")},
		{"the URI of another namespace", ForeignNames, withURIs("spiffe://cluster.local/ns/bank/sa/inventory")},
		{"the URI of another trust domain", ForeignNames, withURIs("spiffe://other/ns/shop/sa/inventory")},
		{"two URIs", ForeignNames, withURIs(spiffeID, spiffeID)},
		{"an IP address", ForeignNames, ask(func(*testing.T) x509.CertificateRequest {
			return x509.CertificateRequest{IPAddresses: []net.IP{{10, 0, 0, 1}}}
		})},
		{"an e-mail address", ForeignNames, ask(func(*testing.T) x509.CertificateRequest {
			return x509.CertificateRequest{EmailAddresses: []string{"root@example.org"}}
		})},
		{"a name of a kind that the parser leaves aside", ForeignNames, ask(func(t *testing.T) x509.CertificateRequest {
			return x509.CertificateRequest{ExtraExtensions: extension(t, oidSubjectAltName(), []asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: 8, Bytes: []byte{1, 2}}})}
		})},
		{"a usage less", BadUsages, func(_ *testing.T, in *Input) { in.Request.Spec.Usages = Usages()[:2] }},
		{"a usage more", BadUsages, func(_ *testing.T, in *Input) {
			in.Request.Spec.Usages = append(Usages(), certificatesv1.UsageCertSign)
		}},
		{"too short a life", BadExpiration, func(_ *testing.T, in *Input) { in.Request.Spec.ExpirationSeconds = new(int32(599)) }},
		{"too long a life", BadExpiration, func(_ *testing.T, in *Input) { in.Request.Spec.ExpirationSeconds = new(int32(259201)) }},
		{"a copied request of a pod that has its certificate", CopiedKey, func(_ *testing.T, in *Input) {
			other := another(in, "r0", "u2")
			other.Status.Certificate = []byte("x")
			other.CreationTimestamp = metav1.NewTime(now.Add(time.Hour))
			in.Others = []certificatesv1.CertificateSigningRequest{other}
		}},
		{"a copied request of a pod that still waits", CopiedKey, func(_ *testing.T, in *Input) {
			other := another(in, "r0", "u2")
			other.CreationTimestamp = metav1.NewTime(now.Add(-time.Second))
			in.Others = []certificatesv1.CertificateSigningRequest{other}
		}},
		{"a copy within the second", CopiedKey, func(_ *testing.T, in *Input) {
			in.Others = []certificatesv1.CertificateSigningRequest{another(in, "r0", "u2")}
		}},
		{"one request too many", TooManyRequests, func(t *testing.T, in *Input) {
			for i := range DefaultLimits().PerPod {
				other := another(in, string(rune('A'+i)), "u1")
				in.Others = append(in.Others, other)
			}
		}},
	}
}

// A pod that is being deleted finishes the calls in hand, and its certificate may run out meanwhile.
func TestEvaluateSignsForAPodThatDrains(t *testing.T) {
	in := good(t)
	in.Pod.DeletionTimestamp = new(metav1.NewTime(now))
	if v := Evaluate(*in); v.Sign == nil {
		t.Errorf("verdict %+v, want a certificate", v)
	}
}

func TestEvaluateRefuses(t *testing.T) {
	seen := map[Reason]bool{}
	for _, test := range refusals() {
		seen[test.want] = true
		t.Run(test.name, func(t *testing.T) {
			in := good(t)
			test.change(t, in)
			v := Evaluate(*in)
			if v.Deny == nil || v.Deny.Reason != test.want || v.Deny.Message == "" || v.Sign != nil {
				t.Fatalf("verdict is %+v %q, signed %v; want %s", v.Deny, v.Wait, v.Sign != nil, test.want)
			}
			// The case shows something only if nothing else refuses it.
			f, denial := read(*in)
			if denial != nil {
				t.Fatalf("without its check the case is refused before: %+v", denial)
			}
			for _, c := range checks() {
				if message := c.refuses(f); message != "" && c.reason != test.want {
					t.Errorf("check %s refuses the case too: %s", c.reason, message)
				}
			}
			if v := grant(f); v.Sign == nil {
				t.Errorf("without its check the case is not signed: %+v %q", v.Deny, v.Wait)
			}
		})
	}
	for _, c := range checks() {
		if !seen[c.reason] {
			t.Errorf("check %s has no case", c.reason)
		}
	}
}

// TestEvaluateFindsNothing has the refusals of what leaves nothing to check.
func TestEvaluateFindsNothing(t *testing.T) {
	for _, test := range []refusal{
		{"no request", Unreadable, func(_ *testing.T, in *Input) { in.Request = nil }},
		{"a person", NotAServiceAccount, func(_ *testing.T, in *Input) { in.Request.Spec.Username = "kubernetes-admin" }},
		{"a person named like an account", NotAServiceAccount, func(_ *testing.T, in *Input) { in.Request.Spec.Username = "shop:inventory" }},
		{"a node", NotAServiceAccount, func(_ *testing.T, in *Input) { in.Request.Spec.Username = "system:node:n1" }},
		{"an account without a name", NotAServiceAccount, func(_ *testing.T, in *Input) { in.Request.Spec.Username = "system:serviceaccount:shop:" }},
		{"an account with a path", NotAServiceAccount, func(_ *testing.T, in *Input) { in.Request.Spec.Username = "system:serviceaccount:shop:a/sa/b" }},
		{"a token without a pod", NoPod, func(_ *testing.T, in *Input) { delete(in.Request.Spec.Extra, extraPodName) }},
		{"a token without a pod's UID", NoPod, func(_ *testing.T, in *Input) { delete(in.Request.Spec.Extra, extraPodUID) }},
		{"a token of two pods", NoPod, func(_ *testing.T, in *Input) {
			in.Request.Spec.Extra[extraPodUID] = certificatesv1.ExtraValue{"u1", "u2"}
		}},
		{"a pod that is gone", PodGone, func(_ *testing.T, in *Input) { in.Pod = nil }},
		{"no PEM", Unreadable, func(_ *testing.T, in *Input) { in.Request.Spec.Request = []byte("x") }},
		{"text before the PEM", Unreadable, func(_ *testing.T, in *Input) {
			in.Request.Spec.Request = append([]byte("x\n"), in.Request.Spec.Request...)
		}},
		{"text after the PEM", Unreadable, func(_ *testing.T, in *Input) { in.Request.Spec.Request = append(in.Request.Spec.Request, 'x') }},
		{"two requests", Unreadable, func(_ *testing.T, in *Input) {
			in.Request.Spec.Request = append(in.Request.Spec.Request, in.Request.Spec.Request...)
		}},
		{"PEM of something else", Unreadable, func(_ *testing.T, in *Input) {
			block, _ := pem.Decode(in.Request.Spec.Request)
			block.Type = "CERTIFICATE"
			in.Request.Spec.Request = pem.EncodeToMemory(block)
		}},
		{"PEM with headers", Unreadable, func(_ *testing.T, in *Input) {
			block, _ := pem.Decode(in.Request.Spec.Request)
			block.Headers = map[string]string{"a": "b"}
			in.Request.Spec.Request = pem.EncodeToMemory(block)
		}},
		{"bytes that are no request", Unreadable, func(_ *testing.T, in *Input) {
			in.Request.Spec.Request = pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: []byte("x")})
		}},
		{"a DNS name of another Service", ForeignNames, ask(func(*testing.T) x509.CertificateRequest {
			return x509.CertificateRequest{DNSNames: []string{"inventory.shop.svc", "orders.shop.svc"}}
		})},
		{"some of its DNS names", ForeignNames, ask(func(*testing.T) x509.CertificateRequest {
			return x509.CertificateRequest{DNSNames: []string{"inventory.shop.svc"}}
		})},
	} {
		t.Run(test.name, func(t *testing.T) {
			in := good(t)
			test.change(t, in)
			v := Evaluate(*in)
			if v.Deny == nil || v.Deny.Reason != test.want || v.Sign != nil {
				t.Errorf("verdict is %+v %q, signed %v; want %s", v.Deny, v.Wait, v.Sign != nil, test.want)
			}
		})
	}
}

func TestEvaluateWaits(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*Input)
		want   []string
	}{
		{"no Service", func(in *Input) { in.Services = nil }, []string{"account inventory", "pod inventory-0", "namespace shop"}},
		{"Services of another namespace", func(in *Input) {
			for i := range in.Services {
				in.Services[i].Namespace = "bank"
			}
		}, []string{"account inventory"}},
		{"a Service of another account", func(in *Input) { in.Services = in.Services[2:3] }, []string{"account inventory"}},
		{"a Service that is being deleted", func(in *Input) { in.Services = in.Services[3:] }, []string{"account inventory"}},
		{"labels that are not the pod's", func(in *Input) { in.Pod.Labels = nil }, []string{"selector"}},
		{"a label of another value", func(in *Input) { in.Pod.Labels["app"] = "orders" }, []string{"selector"}},
		{"a Service of instances outside the cluster", func(in *Input) {
			in.Services = in.Services[:1]
			in.Services[0].Spec.Selector = nil
		}, []string{"selector"}},
		{"a duration that is none", func(in *Input) {
			in.Services[0].Spec.Identity = &xinhariv1alpha1.ServiceIdentity{Duration: "soon"}
		}, []string{"stock", "identity.duration"}},
		{"an issuer that ended", func(in *Input) { in.IssuerEnds = now }, []string{"issuer"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			in := good(t)
			test.change(in)
			v := Evaluate(*in)
			if v.Deny != nil || v.Sign != nil {
				t.Fatalf("verdict is %+v, signed %v; want to wait", v.Deny, v.Sign != nil)
			}
			for _, want := range test.want {
				if !strings.Contains(v.Wait, want) {
					t.Errorf("waits for %q, want it to name %s", v.Wait, want)
				}
			}
		})
	}
}
