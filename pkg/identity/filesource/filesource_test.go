package filesource_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xinhari/xinhari/internal/pemfile"
	"github.com/xinhari/xinhari/pkg/identity"
	"github.com/xinhari/xinhari/pkg/identity/filesource"
)

// pki is a CA, and files of a certificate that it signed.
type pki struct {
	ca                      *x509.Certificate
	caKey                   crypto.Signer
	certificate, key, roots []byte
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newPKI(t testing.TB) pki {
	t.Helper()
	p := pki{caKey: newKey(t)}
	root := &x509.Certificate{
		Subject: pkix.Name{CommonName: rand.Text()}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(100 * time.Hour),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}
	p.ca = p.sign(t, root, root, p.caKey.Public())
	return p.renewed(t)
}

func (p pki) sign(t testing.TB, template, parent *x509.Certificate, public crypto.PublicKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, p.caKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// renewed returns another certificate of the same CA.
func (p pki) renewed(t testing.TB) pki {
	t.Helper()
	id := identity.ID{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "orders"}
	key := newKey(t)
	leaf := p.sign(t, &x509.Certificate{
		URIs: []*url.URL{id.URL()}, DNSNames: []string{"orders.shop.svc"}, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}, p.ca, key.Public())
	text, err := pemfile.EncodeKey(key)
	if err != nil {
		t.Fatal(err)
	}
	p.certificate, p.key, p.roots = pemfile.EncodeCertificates(leaf), text, pemfile.EncodeCertificates(p.ca)
	return p
}

type folder struct {
	testing.TB
	path string
}

func (f folder) write(name string, text []byte) {
	f.Helper()
	if err := os.WriteFile(filepath.Join(f.path, name), text, 0o600); err != nil {
		f.Fatal(err)
	}
}

func (f folder) put(p pki) {
	f.Helper()
	f.write("tls.crt", p.certificate)
	f.write("tls.key", p.key)
	f.write("ca.crt", p.roots)
}

// world runs a Source over a folder in virtual time.
func world(t *testing.T, f func(dir folder, s *identity.Source, log *bytes.Buffer)) {
	t.Helper()
	dir := folder{t, t.TempDir()}
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s, err := filesource.New(dir.path, filesource.Options{Source: identity.SourceOptions{Logger: slog.New(slog.NewTextHandler(&log, nil))}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() {
			if err := s.Run(ctx); err != nil {
				t.Errorf("Run: %v", err)
			}
		})
		defer running.Wait()
		defer cancel()
		synctest.Wait()
		f(dir, s, &log)
	})
}

func polls(n int) {
	time.Sleep(time.Duration(n) * 2 * time.Second)
	synctest.Wait()
}

func TestReload(t *testing.T) {
	world(t, func(dir folder, s *identity.Source, _ *bytes.Buffer) {
		if !s.Current().IsZero() || s.Err() == nil {
			t.Errorf("an empty folder gives %s, %v", s.Current().ID(), s.Err())
		}
		p := newPKI(t)
		dir.put(p)
		polls(1)
		first := s.Current()
		if first.IsZero() || s.Err() != nil {
			t.Fatalf("not taken: %v", s.Err())
		}
		polls(5)
		if s.Current() != first {
			t.Error("a change without a change")
		}
		dir.put(p.renewed(t))
		polls(1)
		if s.Current() != first {
			t.Error("taken before it was seen twice")
		}
		polls(1)
		if s.Current() == first || s.Err() != nil {
			t.Errorf("not taken: %v", s.Err())
		}
		for _, name := range []string{"tls.crt", "tls.key", "ca.crt"} {
			if err := os.Remove(filepath.Join(dir.path, name)); err != nil {
				t.Fatal(err)
			}
		}
		polls(2)
		if s.Current().IsZero() || s.Err() == nil {
			t.Error("the last good credentials went with the files")
		}
	})
}

func TestWhatIsNotTaken(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spoil func(t *testing.T, dir folder, now, next pki)
	}{
		{name: "a certificate without its key", spoil: func(_ *testing.T, dir folder, _, next pki) { dir.write("tls.crt", next.certificate) }},
		{name: "a key without its certificate", spoil: func(_ *testing.T, dir folder, _, next pki) { dir.write("tls.key", next.key) }},
		{name: "half a certificate", spoil: func(_ *testing.T, dir folder, now, _ pki) { dir.write("tls.crt", now.certificate[:200]) }},
		{name: "half a key", spoil: func(_ *testing.T, dir folder, now, _ pki) { dir.write("tls.key", now.key[:100]) }},
		{name: "half a bundle", spoil: func(_ *testing.T, dir folder, now, next pki) {
			dir.write("ca.crt", append(bytes.Clone(now.roots), next.roots[:200]...))
		}},
		{name: "an empty bundle", spoil: func(_ *testing.T, dir folder, _, _ pki) { dir.write("ca.crt", nil) }},
		{name: "roots of another", spoil: func(t *testing.T, dir folder, _, _ pki) { dir.write("ca.crt", newPKI(t).roots) }},
		{name: "a pair of another CA", spoil: func(t *testing.T, dir folder, _, _ pki) {
			other := newPKI(t)
			dir.write("tls.crt", other.certificate)
			dir.write("tls.key", other.key)
		}},
		{name: "a file too large", spoil: func(_ *testing.T, dir folder, now, _ pki) {
			dir.write("ca.crt", append(bytes.Clone(now.roots), bytes.Repeat([]byte("\n"), 1<<20)...))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			world(t, func(dir folder, s *identity.Source, log *bytes.Buffer) {
				now := newPKI(t)
				next := now.renewed(t)
				dir.put(now)
				polls(1)
				good := s.Current()
				tt.spoil(t, dir, now, next)
				polls(20)
				if s.Current() != good || good.IsZero() {
					t.Error("taken")
				}
				if s.Err() == nil || !strings.Contains(log.String(), "level=WARN") {
					t.Errorf("Err() = %v; the log:\n%s", s.Err(), log)
				}
				if n := strings.Count(log.String(), "level=WARN"); n > 3 {
					t.Errorf("%d warnings in 20 reads:\n%s", n, log)
				}
				for _, line := range strings.Split(string(now.key), "\n")[1:3] {
					if line != "" && strings.Contains(log.String(), line) {
						t.Error("a key is in the log")
					}
				}
				dir.put(next)
				polls(2)
				if s.Current() == good || s.Err() != nil {
					t.Errorf("not mended: %v", s.Err())
				}
			})
		})
	}
}

// TestBundleWrittenInTwo holds that a bundle of two roots that is written with
// a pause between them never lets the first one stand alone.
func TestBundleWrittenInTwo(t *testing.T) {
	world(t, func(dir folder, s *identity.Source, _ *bytes.Buffer) {
		p, other := newPKI(t), newPKI(t)
		p.roots = append(p.roots, other.roots...)
		dir.put(p)
		polls(1)
		good := s.Current()
		dir.write("ca.crt", pemfile.EncodeCertificates(p.ca))
		polls(1)
		dir.write("ca.crt", p.roots)
		polls(3)
		if s.Current() != good {
			t.Error("half of the bundle was trusted")
		}
	})
}

func TestFolderIsNeeded(t *testing.T) {
	if _, err := filesource.New("", filesource.Options{}); err == nil {
		t.Error("no folder is taken")
	}
}
