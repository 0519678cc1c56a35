package certmanager

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmetav1 "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// certificate returns what is desired as the object that the API server makes of it.
func certificate(t *testing.T, trustDomain string, o Options, owner *rbacv1.Role) certmanagerv1.Certificate {
	t.Helper()
	text, err := yaml.Marshal(desired("xinhari-system", trustDomain, o, owner))
	if err != nil {
		t.Fatal(err)
	}
	var c certmanagerv1.Certificate
	if err := yaml.UnmarshalStrict(text, &c); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return c
}

func TestDesired(t *testing.T) {
	ours := map[string]string{"app.kubernetes.io/managed-by": "xinhari"}
	plain := certmanagerv1.Certificate{
		TypeMeta:   metav1.TypeMeta{APIVersion: "cert-manager.io/v1", Kind: "Certificate"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "xinhari-system", Name: "xinhari-issuer", Labels: ours},
		Spec: certmanagerv1.CertificateSpec{
			SecretName: "xinhari-issuer", SecretTemplate: &certmanagerv1.CertificateSecretTemplate{Labels: ours},
			IssuerRef: cmmetav1.IssuerReference{Name: "root", Kind: "ClusterIssuer", Group: "cert-manager.io"},
			IsCA:      true, CommonName: "Xinhari issuer of example.org", Subject: &certmanagerv1.X509Subject{Organizations: []string{"example.org"}},
			Duration: &metav1.Duration{Duration: 90 * 24 * time.Hour}, RenewBefore: &metav1.Duration{Duration: 30 * 24 * time.Hour},
			Usages: []certmanagerv1.KeyUsage{"cert sign", "crl sign", "digital signature", "server auth", "client auth"},
			PrivateKey: &certmanagerv1.CertificatePrivateKey{
				Algorithm: certmanagerv1.ECDSAKeyAlgorithm, Size: 256, Encoding: certmanagerv1.PKCS8, RotationPolicy: certmanagerv1.RotationPolicyAlways,
			},
			NameConstraints: &certmanagerv1.NameConstraints{
				Critical:  true,
				Permitted: &certmanagerv1.NameConstraintItem{URIDomains: []string{"example.org"}, DNSDomains: []string{"svc"}},
				Excluded:  &certmanagerv1.NameConstraintItem{IPRanges: []string{"0.0.0.0/0", "::/0"}},
			},
		},
	}
	for _, test := range []struct {
		name    string
		options Options
		owner   *rbacv1.Role
		change  func(*certmanagerv1.Certificate)
	}{
		{"a name alone", Options{Issuer: "root"}, nil, func(*certmanagerv1.Certificate) {}},
		{"all", Options{Issuer: "pca", Kind: "AWSPCAIssuer", Group: "awspca.cert-manager.io", Duration: 2 * time.Hour, RenewBefore: time.Hour, Unconstrained: true}, nil,
			func(c *certmanagerv1.Certificate) {
				c.Spec.IssuerRef = cmmetav1.IssuerReference{Name: "pca", Kind: "AWSPCAIssuer", Group: "awspca.cert-manager.io"}
				c.Spec.Duration, c.Spec.RenewBefore = &metav1.Duration{Duration: 2 * time.Hour}, &metav1.Duration{Duration: time.Hour}
				c.Spec.Usages, c.Spec.NameConstraints = c.Spec.Usages[:3], nil
			}},
		{"a Role of the chart", Options{Issuer: "root"}, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: RoleName, UID: "1"}},
			func(c *certmanagerv1.Certificate) {
				c.OwnerReferences = []metav1.OwnerReference{{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "Role", Name: RoleName, UID: "1"}}
			}},
	} {
		t.Run(test.name, func(t *testing.T) {
			want := *plain.DeepCopy()
			test.change(&want)
			if diff := cmp.Diff(want, certificate(t, "example.org", test.options, test.owner)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// RFC 5280 bounds both names at 64 characters, and cert-manager's webhook holds the common name to it.
func TestNamesFit(t *testing.T) {
	c := certificate(t, strings.Repeat("a", 255), Options{Issuer: "root"}, nil)
	if cn, o := len(c.Spec.CommonName), len(c.Spec.Subject.Organizations[0]); cn != 64 || o != 64 {
		t.Errorf("the common name has %d characters, the organization %d", cn, o)
	}
}

func TestWhatIsWrongIsAWarning(t *testing.T) {
	for reason, want := range map[string]string{ReasonIssued: "Normal", ReasonNotIssued: "Warning", ReasonRenewalOverdue: "Warning"} {
		if got := event("xinhari-system", because(reason, "so"), time.Now()).Type; got != want {
			t.Errorf("%s is %s, want %s", reason, got, want)
		}
	}
}

func TestLongNotesAreCut(t *testing.T) {
	e := event("xinhari-system", because(ReasonRefused, "%s", strings.Repeat("ä", 600)), time.Now())
	if len(e.Note) > 1024 || !utf8.ValidString(e.Note) || e.Type != "Warning" {
		t.Errorf("a %s with %d bytes, valid: %t", e.Type, len(e.Note), utf8.ValidString(e.Note))
	}
}
