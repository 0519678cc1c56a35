package pemfile_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/xinhari/xinhari/internal/pemfile"
)

func files(t testing.TB) (certificate, key []byte) {
	t.Helper()
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, signer.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if key, err = pemfile.EncodeKey(signer); err != nil {
		t.Fatal(err)
	}
	return pemfile.EncodeCertificates(cert), key
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func TestCertificates(t *testing.T) {
	certificate, key := files(t)
	for _, tt := range []struct {
		name string
		text []byte
		want int // 0: refused
	}{
		{name: "one", text: certificate, want: 1},
		{name: "two with comments", text: join([]byte("# a root\n"), certificate, []byte("\n# another\n"), certificate), want: 2},
		{name: "Windows line ends", text: bytes.ReplaceAll(certificate, []byte("\n"), []byte("\r\n")), want: 1},
		{name: "none"},
		{name: "a second one cut off", text: join(certificate, certificate[:len(certificate)/2])},
		{name: "a first one cut off", text: join(certificate[:len(certificate)/2], certificate)},
		{name: "a damaged one between", text: join(certificate, bytes.ReplaceAll(certificate, []byte("A"), []byte("!")), certificate)},
		{name: "a key among them", text: join(certificate, key)},
		{name: "not a certificate", text: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := pemfile.Certificates(tt.text)
			if len(got) != tt.want || (err == nil) != (tt.want > 0) {
				t.Errorf("%d certificates, %v; want %d", len(got), err, tt.want)
			}
		})
	}
}

func TestKey(t *testing.T) {
	certificate, key := files(t)
	signer, err := pemfile.Key(key)
	if err != nil {
		t.Fatal(err)
	}
	old, err := x509.MarshalECPrivateKey(signer.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	for _, tt := range []struct {
		name string
		text []byte
		good bool
	}{
		{name: "PKCS #8", text: key, good: true},
		{name: "the older form", text: block("EC PRIVATE KEY", old), good: true},
		{name: "after a certificate", text: join(certificate, key), good: true},
		{name: "none", text: certificate},
		{name: "two", text: join(key, key)},
		{name: "cut off", text: key[:len(key)-30]},
		{name: "encrypted", text: block("ENCRYPTED PRIVATE KEY", old)},
		{name: "of another form than it says", text: block("RSA PRIVATE KEY", old)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := pemfile.Key(tt.text)
			if (err == nil) != tt.good {
				t.Fatalf("Key: %v", err)
			}
			if tt.good && !signer.(*ecdsa.PrivateKey).Equal(got) {
				t.Error("another key")
			}
		})
	}
}

// FuzzPEM holds that what is read can be written and read again, and that an
// error never quotes the file.
func FuzzPEM(f *testing.F) {
	certificate, key := files(f)
	f.Add(certificate)
	f.Add(key)
	f.Add(join(certificate, key, certificate[:40]))
	f.Fuzz(func(t *testing.T, text []byte) {
		if certs, err := pemfile.Certificates(text); err == nil {
			again, err := pemfile.Certificates(pemfile.EncodeCertificates(certs...))
			if err != nil || len(again) != len(certs) {
				t.Fatalf("%d certificates became %d: %v", len(certs), len(again), err)
			}
		}
		if _, err := pemfile.Key(text); err != nil {
			for line := range strings.Lines(string(text)) {
				if len(line) > 40 && strings.Contains(err.Error(), line) {
					t.Fatalf("the error quotes the file: %v", err)
				}
			}
		}
	})
}
