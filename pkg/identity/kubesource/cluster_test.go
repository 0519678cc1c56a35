package kubesource_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
	"github.com/xinhari/xinhari/internal/apiservertest"
	"github.com/xinhari/xinhari/internal/pemfile"
	"github.com/xinhari/xinhari/internal/watchtest"
	"github.com/xinhari/xinhari/pkg/identity"
	"github.com/xinhari/xinhari/pkg/identity/kubesource"
)

// cluster is an API server, and a CA by which the test signs itself: when, is
// what these tests are about.
type cluster struct {
	*testing.T
	client.Client
	server *apiservertest.Server
	root   *x509.Certificate
	key    *ecdsa.PrivateKey
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{T: t, server: apiservertest.New(t, apiservertest.Options{})}
	c.Client = c.server.Client(t)
	var err error
	if c.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "root"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}
	c.root = c.certificate(template, template, c.key.Public())
	for _, o := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}},
		&corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: xinhariv1alpha1.RuntimeConfigMap},
			Data:       map[string]string{xinhariv1alpha1.KeyTrustBundle: string(pemfile.EncodeCertificates(c.root))},
		},
		&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "workload"}, Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{"certificates.k8s.io"}, Resources: []string{"certificatesigningrequests"}, Verbs: []string{"create", "get"}},
			{APIGroups: []string{""}, Resources: []string{"configmaps"}, ResourceNames: []string{"xinhari"}, Verbs: []string{"list", "watch"}},
		}},
		&rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "workload"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "workload"},
			Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: "shop", Name: "orders"}},
		},
	} {
		if err := c.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func (c *cluster) certificate(template, parent *x509.Certificate, public any) *x509.Certificate {
	c.Helper()
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, c.key)
	if err != nil {
		c.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		c.Fatal(err)
	}
	return cert
}

// eventually calls check until it is true.
func (c *cluster) eventually(what string, check func() bool) {
	c.Helper()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.Now().Add(time.Minute)
	for !check() {
		if time.Now().After(deadline) {
			c.Fatalf("after a minute not: %s", what)
		}
		<-ticker.C
	}
}

// pending waits for the one request without a verdict.
func (c *cluster) pending() *certificatesv1.CertificateSigningRequest {
	c.Helper()
	var found *certificatesv1.CertificateSigningRequest
	c.eventually("one pending request", func() bool {
		var list certificatesv1.CertificateSigningRequestList
		if err := c.List(c.Context(), &list); err != nil {
			return false
		}
		n := 0
		for i := range list.Items {
			if len(list.Items[i].Status.Conditions) == 0 {
				found = &list.Items[i]
				n++
			}
		}
		return n == 1
	})
	return found
}

// sign approves and signs a request.
func (c *cluster) sign(r *certificatesv1.CertificateSigningRequest) {
	c.Helper()
	block, _ := pem.Decode(r.Spec.Request)
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		c.Fatal(err)
	}
	id := identity.ID{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "orders"}
	leaf := c.certificate(&x509.Certificate{
		URIs: []*url.URL{id.URL()}, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, c.root, request.PublicKey)
	r.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{
		Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "Test", Message: "by the test",
	}}
	c.eventually("approved", func() bool { return c.SubResource("approval").Update(c.Context(), r) == nil })
	r.Status.Certificate = pemfile.EncodeCertificates(leaf)
	c.eventually("signed", func() bool { return c.Status().Update(c.Context(), r) == nil })
}

// TestKilledServer holds that a request goes on when the API server comes back
// after it was killed, and that credentials outlive it.
func TestKilledServer(t *testing.T) {
	c := newCluster(t)
	s, err := kubesource.New(c.server.Account("shop", "orders"), kubesource.Options{Namespace: "shop", Account: "orders"})
	if err != nil {
		t.Fatal(err)
	}
	watchtest.Run(t, s.Run)
	request := c.pending()
	told := func(texts ...string) {
		t.Helper()
		c.eventually("told "+strings.Join(texts, ", "), func() bool {
			for _, text := range texts {
				if s.Err() == nil || !strings.Contains(s.Err().Error(), text) {
					return false
				}
			}
			return true
		})
	}

	c.server.Kill(t)
	told("request "+request.Name, "ConfigMap shop/xinhari")
	c.server.Restart(t)
	c.sign(request)
	c.eventually("ready", func() bool { return !s.Current().IsZero() })
	first := s.Current()

	c.server.Kill(t)
	s.Renew()
	told("create certificatesigningrequests", "ConfigMap shop/xinhari")
	if s.Current() != first {
		t.Error("the credentials are gone with the API server")
	}
	c.server.Restart(t)
	c.sign(c.pending())
	c.eventually("renewed, and nothing to tell", func() bool { return s.Current() != first && s.Err() == nil })
}
