package issuer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/xinhari/xinhari/internal/pemfile"
)

var now = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

func key(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// authority is a certificate with its key.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// certify makes a CA certificate, changed as told, signed by a parent or, without one, by itself.
func certify(t testing.TB, name string, k crypto.Signer, parent *authority, change func(*x509.Certificate)) *authority {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(1000 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	if change != nil {
		change(template)
	}
	by := &authority{cert: template, key: k}
	if parent != nil {
		by = parent
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, k.Public(), by.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert: cert, key: k}
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// data returns a Secret's data: the issuer, those after it, and the roots.
func data(t testing.TB, a *authority, chain []*authority, roots ...*authority) map[string][]byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		t.Fatal(err)
	}
	d := map[string][]byte{corev1.TLSCertKey: a.pem(), corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})}
	for _, c := range chain {
		d[corev1.TLSCertKey] = append(d[corev1.TLSCertKey], c.pem()...)
	}
	for _, r := range roots {
		d[KeyRoots] = append(d[KeyRoots], r.pem()...)
	}
	return d
}

func leaf(t testing.TB) *x509.Certificate {
	t.Helper()
	return &x509.Certificate{
		NotBefore: now.Add(-2 * time.Minute), NotAfter: now.Add(time.Hour), DNSNames: []string{"inventory.shop.svc"}, PublicKey: key(t).Public(),
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
}

func TestOwnRoot(t *testing.T) {
	d, err := New("cluster.local", now)
	if err != nil {
		t.Fatal(err)
	}
	i, err := Parse(d)
	if err != nil {
		t.Fatal(err)
	}
	if ends, err := i.Verify(now); err != nil || !ends.Equal(now.Add(Life)) || !i.RootsEnd().Equal(ends) {
		t.Errorf("it ends at %v, its roots at %v, %v; want %v", ends, i.RootsEnd(), err, now.Add(Life))
	}
	if c := i.Certificate(); c.PublicKeyAlgorithm != x509.ECDSA || !c.MaxPathLenZero || !strings.Contains(c.Subject.String(), "cluster.local") {
		t.Errorf("the root is %v %v", c.PublicKeyAlgorithm, c.Subject)
	}
	for _, when := range []time.Time{now.Add(-2 * time.Hour), now.Add(Life + time.Second)} {
		if _, err := i.Verify(when); !errors.Is(err, ErrUnusable) {
			t.Errorf("at %v it verifies with %v", when, err)
		}
		if _, err := i.Sign(leaf(t), when); !errors.Is(err, ErrUnusable) {
			t.Errorf("at %v it signs with %v", when, err)
		}
	}
}

func TestBrought(t *testing.T) {
	root := certify(t, "root", key(t), nil, nil)
	between := certify(t, "between", key(t), root, func(c *x509.Certificate) { c.NotAfter = now.Add(10 * time.Hour) })
	own := certify(t, "issuer", key(t), between, nil)
	i, err := Parse(data(t, own, []*authority{between}, root))
	if err != nil {
		t.Fatal(err)
	}
	if ends, err := i.Verify(now); err != nil || !ends.Equal(now.Add(10*time.Hour)) {
		t.Errorf("the chain ends at %v, %v, want the end of the one between", ends, err)
	}
	out, err := i.Sign(leaf(t), now)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := pemfile.Certificates(out)
	if err != nil || len(chain) != 3 {
		t.Fatalf("the chain has %d certificates, %v; want the leaf, the issuer and the one between", len(chain), err)
	}
	again, err := i.Sign(leaf(t), now)
	if err != nil {
		t.Fatal(err)
	}
	second, err := pemfile.Certificates(again)
	if err != nil || second[0].SerialNumber.Cmp(chain[0].SerialNumber) == 0 {
		t.Errorf("two certificates have one serial number: %v", err)
	}
}

func TestUnusable(t *testing.T) {
	root := certify(t, "root", key(t), nil, nil)
	stranger := certify(t, "stranger", key(t), nil, nil)
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	changed := func(change func(*x509.Certificate)) map[string][]byte {
		return data(t, certify(t, "issuer", key(t), root, change), nil, root)
	}
	without := func(name string) map[string][]byte {
		d := data(t, root, nil, root)
		delete(d, name)
		return d
	}
	foreignKey := data(t, root, nil, root)
	foreignKey[corev1.TLSPrivateKeyKey] = data(t, stranger, nil)[corev1.TLSPrivateKeyKey]
	cut := data(t, root, nil, root)
	cut[KeyRoots] = cut[KeyRoots][:len(cut[KeyRoots])-20]
	keyInRoots := data(t, root, nil, root)
	keyInRoots[KeyRoots] = append(keyInRoots[KeyRoots], keyInRoots[corev1.TLSPrivateKeyKey]...)
	for _, test := range []struct {
		name string
		data map[string][]byte
		want string
	}{
		{"no data", nil, "tls.crt"},
		{"no key", without(corev1.TLSPrivateKeyKey), "tls.key"},
		{"no certificate", without(corev1.TLSCertKey), "tls.crt"},
		{"another's key", foreignKey, "does not match"},
		{"a bundle that is cut off", cut, "cut off"},
		{"a key among the roots", keyInRoots, "PRIVATE KEY"},
		{"an intermediate without root", data(t, certify(t, "issuer", key(t), root, nil), nil), "put the root there"},
		{"a root that is another's", data(t, root, nil, stranger), "does not verify"},
		{"an intermediate that is missing", data(t, certify(t, "issuer", key(t), certify(t, "between", key(t), root, nil), nil), nil, root), "does not verify"},
		{"not a CA", changed(func(c *x509.Certificate) { c.IsCA, c.KeyUsage = false, x509.KeyUsageDigitalSignature }), "not a CA"},
		{"may not sign certificates", changed(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature }), "certSign"},
		{"expired", changed(func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) }), "expired"},
		{"not yet valid", changed(func(c *x509.Certificate) { c.NotBefore = now.Add(time.Second) }), "not yet valid"},
		{"names that are not ours", changed(func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"example.org"} }), "what it signs"},
		{"usages that are not ours", changed(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), "what it signs"},
		{"RSA of 1024 bits", data(t, certify(t, "weak", weak, nil, nil), nil), "RSA of 1024"},
		{"ECDSA of 224 bits", data(t, certify(t, "weak", p224, nil, nil), nil), "ECDSA of 224"},
	} {
		t.Run(test.name, func(t *testing.T) {
			i, err := Parse(test.data)
			if err == nil {
				_, err = i.Sign(leaf(t), now)
			}
			if !errors.Is(err, ErrUnusable) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("signs with %v, want %q", err, test.want)
			}
		})
	}
	if i, err := Parse(data(t, root, nil)); err != nil {
		t.Error(err)
	} else if _, err := i.Sign(leaf(t), now); err != nil {
		t.Errorf("a root that is brought without %s: %v", KeyRoots, err)
	}
}

// FuzzParse holds that nothing in a Secret makes the operator panic, and that what signs verifies.
func FuzzParse(f *testing.F) {
	d, err := New("cluster.local", now)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(d[corev1.TLSCertKey], d[corev1.TLSPrivateKeyKey], d[KeyRoots])
	f.Add(d[corev1.TLSCertKey], d[corev1.TLSPrivateKeyKey], []byte(nil))
	template := leaf(f)
	f.Fuzz(func(_ *testing.T, cert, key, roots []byte) {
		i, err := Parse(map[string][]byte{corev1.TLSCertKey: cert, corev1.TLSPrivateKeyKey: key, KeyRoots: roots})
		if err == nil {
			_, _ = i.Sign(template, now)
		}
	})
}

func BenchmarkSign(b *testing.B) {
	d, err := New("cluster.local", now)
	if err != nil {
		b.Fatal(err)
	}
	i, err := Parse(d)
	if err != nil {
		b.Fatal(err)
	}
	template := leaf(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := i.Sign(template, now); err != nil {
			b.Fatal(err)
		}
	}
}
