package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
	"github.com/xinhari/xinhari/controllers/signer"
	"github.com/xinhari/xinhari/controllers/signer/issuer"
	"github.com/xinhari/xinhari/internal/pemfile"
)

// workload is the name of a Service, its account and its pod, which never runs.
const workload = "inventory"

// makeWorkload makes what the signer wants to see before it signs for a pod.
func (c *cluster) makeWorkload(t *testing.T, namespace string) {
	t.Helper()
	must(t, "kubectl", "create", "namespace", namespace)
	for _, o := range []client.Object{
		&corev1.ServiceAccount{ObjectMeta: object(namespace, workload)},
		&xinhariv1alpha1.Service{ObjectMeta: object(namespace, workload), Spec: xinhariv1alpha1.ServiceSpec{Selector: xinhariv1alpha1.Labels{"app": workload}}},
		&corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: workload, Labels: map[string]string{"app": workload}},
			Spec: corev1.PodSpec{
				ServiceAccountName: workload, Containers: []corev1.Container{{Name: "c", Image: "none"}},
				SchedulingGates: []corev1.PodSchedulingGate{{Name: "example.com/never"}},
			},
		},
	} {
		if err := c.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}

// leaf asks for a certificate as the workload's pod would, and returns it with its chain.
func (c *cluster) leaf(t *testing.T, namespace string) []*x509.Certificate {
	t.Helper()
	pod := new(corev1.Pod)
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: workload}, pod); err != nil {
		t.Fatal(err)
	}
	admin, err := kubernetes.NewForConfig(c.config)
	if err != nil {
		t.Fatal(err)
	}
	token, err := admin.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), workload, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config := rest.AnonymousClientConfig(c.config)
	config.BearerToken = token.Status.Token
	own, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	asked := &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{GenerateName: xinhariv1alpha1.RequestPrefix},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			Request:    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
			SignerName: xinhariv1alpha1.SignerName, Usages: signer.Usages(),
		},
	}
	made, err := own.CertificatesV1().CertificateSigningRequests().Create(t.Context(), asked, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var chain []*x509.Certificate
	eventually(t, func(ctx context.Context) string {
		r, err := own.CertificatesV1().CertificateSigningRequests().Get(ctx, made.Name, metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		if len(r.Status.Certificate) == 0 {
			return fmt.Sprintf("no certificate: %+v", r.Status.Conditions)
		}
		chain, err = pemfile.Certificates(r.Status.Certificate)
		if err != nil {
			t.Fatal(err)
		}
		return ""
	})
	return chain
}

// verify says whether who trusts the roots of a Secret takes a leaf.
func verify(chain []*x509.Certificate, data map[string][]byte) error {
	i, err := issuer.Parse(data)
	if err != nil {
		return err
	}
	o := x509.VerifyOptions{
		Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: time.Now(),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, root := range i.Roots() {
		o.Roots.AddCert(root)
	}
	for _, between := range chain[1:] {
		o.Intermediates.AddCert(between)
	}
	_, err = chain[0].Verify(o)
	return err
}
