package identity

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"slices"
	"time"
)

// Credentials are all that a process needs to speak for itself and to know
// others: a certificate with its key, and the roots that it trusts. They are
// an immutable snapshot, cheap to copy and equal (==) to itself alone. The
// zero Credentials are none.
type Credentials struct{ m *material }

// material is shared by the copies of one Credentials and never changed.
type material struct {
	certificate tls.Certificate
	id          ID
	bundle      []*x509.Certificate
	roots       *x509.CertPool
	hash        string
	issuedAt    time.Time
}

// NewCredentials returns credentials of a certificate chain, leaf first, with
// its key and the roots to trust. It takes only what peers will take: the key
// is the leaf's, the leaf keeps the rules for workloads as client and as
// server, and the chain verifies against the roots at the time now, which is
// remembered as the time of issue. What breaks a rule matches ErrRefused, or
// ErrInvalidID when there is no ID in the leaf.
func NewCredentials(chain []*x509.Certificate, key crypto.Signer, roots []*x509.Certificate, now time.Time) (Credentials, error) {
	if len(chain) == 0 || key == nil || len(roots) == 0 {
		return Credentials{}, fmt.Errorf("%w: a certificate, its key and at least one root are needed", ErrRefused)
	}
	leaf := chain[0]
	public, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(key.Public()) {
		return Credentials{}, fmt.Errorf("%w: the key is not the certificate's", ErrRefused)
	}
	id, err := checkLeaf(leaf, x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth)
	if err != nil {
		return Credentials{}, err
	}
	if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) { // crypto/x509 says so too, with the time in the text: a log line each time
		return Credentials{}, fmt.Errorf("%w: %s: it is valid from %s to %s", ErrRefused, id, leaf.NotBefore.UTC().Format(time.RFC3339), leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	now = now.Round(0) // wall clock: what was issued before a sleep is as old after it as it looks
	m := &material{id: id, issuedAt: now, certificate: tls.Certificate{PrivateKey: key, Leaf: leaf}}
	for _, c := range chain {
		m.certificate.Certificate = append(m.certificate.Certificate, c.Raw)
	}
	m.setRoots(roots)
	intermediates := x509.NewCertPool()
	for _, c := range chain[1:] {
		intermediates.AddCert(c)
	}
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth} {
		if _, err := leaf.Verify(x509.VerifyOptions{
			Roots: m.roots, Intermediates: intermediates, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage},
		}); err != nil {
			return Credentials{}, fmt.Errorf("%w: %s: %w", ErrRefused, id, err)
		}
	}
	return Credentials{m}, nil
}

// withRoots returns the credentials with other roots. The own chain need not
// verify against them: that a root is trusted no more holds at once, and a new
// certificate follows.
func (c Credentials) withRoots(roots []*x509.Certificate) Credentials {
	m := *c.m
	m.setRoots(roots)
	return Credentials{&m}
}

func (m *material) setRoots(roots []*x509.Certificate) {
	m.bundle = slices.Clone(roots)
	m.hash = BundleHash(roots)
	m.roots = x509.NewCertPool()
	for _, r := range roots {
		m.roots.AddCert(r)
	}
}

// same reports whether both hold the same chain, key and roots.
func (c Credentials) same(d Credentials) bool {
	if c.m == nil || d.m == nil {
		return c.m == d.m
	}
	return c.m.hash == d.m.hash && slices.EqualFunc(c.m.certificate.Certificate, d.m.certificate.Certificate, bytes.Equal)
}

// IsZero reports whether there are no credentials.
func (c Credentials) IsZero() bool { return c.m == nil }

// ID returns who the credentials speak for; the zero ID if they are none.
func (c Credentials) ID() ID {
	if c.m == nil {
		return ID{}
	}
	return c.m.id
}

// Certificate returns the certificate with its key and parsed Leaf, as
// crypto/tls takes it; the zero one if there is none. What it points to is not
// to be changed.
func (c Credentials) Certificate() tls.Certificate {
	if c.m == nil {
		return tls.Certificate{}
	}
	return c.m.certificate
}

// Roots returns the roots as a pool of the caller's own; an empty one, which
// trusts nobody, if there are no credentials.
func (c Credentials) Roots() *x509.CertPool {
	if c.m == nil {
		return x509.NewCertPool()
	}
	return c.m.roots.Clone()
}

// Bundle returns the roots as certificates, in a slice of the caller's own.
func (c Credentials) Bundle() []*x509.Certificate {
	if c.m == nil {
		return nil
	}
	return slices.Clone(c.m.bundle)
}

// BundleHash returns the BundleHash of the roots, empty if there are none.
func (c Credentials) BundleHash() string {
	if c.m == nil {
		return ""
	}
	return c.m.hash
}

// IssuedAt returns when the process got the certificate, by its wall clock.
// The certificate's NotBefore is earlier: issuers date back.
func (c Credentials) IssuedAt() time.Time {
	if c.m == nil {
		return time.Time{}
	}
	return c.m.issuedAt
}

// NotAfter returns when the certificate ends.
func (c Credentials) NotAfter() time.Time {
	if c.m == nil {
		return time.Time{}
	}
	return c.m.certificate.Leaf.NotAfter
}

// BundleHash names a set of roots: SHA-256, in hex, over their DER forms,
// sorted bytewise and each once. Order and repetition make no difference.
func BundleHash(roots []*x509.Certificate) string {
	all := make([][]byte, 0, len(roots))
	for _, r := range roots {
		all = append(all, r.Raw)
	}
	slices.SortFunc(all, bytes.Compare)
	h := sha256.New()
	for _, der := range slices.CompactFunc(all, bytes.Equal) {
		h.Write(der)
	}
	return hex.EncodeToString(h.Sum(nil))
}
