// Package issuer is the operator's certificate authority: it makes one, reads one that someone brought, and signs with it,
// but only while its chain verifies.
//
// It is kept in a Secret of type kubernetes.io/tls: tls.crt is the issuer's certificate and, after it, those between it and
// the root; tls.key is its key; ca.crt holds the roots, and may be left out where tls.crt is itself a root.
//
// There are two such Secrets. One holds the issuer that the installer wants (see Wanted) and may be overwritten or deleted
// at any time. The other, xinhari-signing, is the operator's copy of the one that signs now (see Signing): every replica
// signs with that, and package trust exchanges it when everybody trusts the roots of the wanted one.
package issuer

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/xinhari/xinhari/internal/pemfile"
	"github.com/xinhari/xinhari/pkg/identity"
)

// KeyRoots is the key of the Secret that holds the roots.
const KeyRoots = "ca.crt"

// ErrUnusable is matched by every error that says why nothing can be signed with an issuer now.
var ErrUnusable = errors.New("the issuer cannot sign")

// Issuer signs certificates. It never changes, and is safe for concurrent use.
type Issuer struct {
	cert  *x509.Certificate
	key   crypto.Signer
	chain []*x509.Certificate // certificates between the issuer's and a root
	roots []*x509.Certificate
}

// Parse reads the data of a Secret. It does not look at the time: see Verify. Errors match ErrUnusable.
func Parse(data map[string][]byte) (*Issuer, error) {
	pair, err := tls.X509KeyPair(data[corev1.TLSCertKey], data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return nil, fmt.Errorf("%w: %s and %s: %w", ErrUnusable, corev1.TLSCertKey, corev1.TLSPrivateKeyKey, err)
	}
	certs := make([]*x509.Certificate, 0, len(pair.Certificate))
	for _, der := range pair.Certificate {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrUnusable, corev1.TLSCertKey, err)
		}
		certs = append(certs, cert)
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%w: %s cannot sign", ErrUnusable, corev1.TLSPrivateKeyKey)
	}
	i := &Issuer{cert: certs[0], key: key, chain: certs[1:]}
	if text := data[KeyRoots]; len(text) > 0 {
		if i.roots, err = pemfile.Certificates(text); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrUnusable, KeyRoots, err)
		}
	} else {
		if !bytes.Equal(i.cert.RawSubject, i.cert.RawIssuer) {
			return nil, fmt.Errorf("%w: %s is not a root, and %s holds none: put the root there", ErrUnusable, corev1.TLSCertKey, KeyRoots)
		}
		i.roots = certs[:1]
	}
	return i, nil
}

// ID names the issuer by its certificates and roots: SHA-256, in hex.
func (i *Issuer) ID() string {
	h := sha256.New()
	write(h, i.cert.Raw)
	for _, cert := range i.chain {
		write(h, cert.Raw)
	}
	write(h, []byte(identity.BundleHash(i.roots)))
	return hex.EncodeToString(h.Sum(nil))
}

// Made says whether New made this issuer for the trust domain.
func (i *Issuer) Made(trustDomain string) bool {
	s := i.cert.Subject
	return len(i.roots) == 1 && len(i.chain) == 0 && i.roots[0].Equal(i.cert) &&
		strings.HasPrefix(s.CommonName, madeName) && slices.Equal(s.Organization, []string{short(trustDomain)})
}

// Certificate returns the issuer's own certificate, which must not be changed.
func (i *Issuer) Certificate() *x509.Certificate { return i.cert }

// Roots returns the roots that those who verify must have. They must not be changed.
func (i *Issuer) Roots() []*x509.Certificate { return i.roots }

// RootsEnd returns when the first of the roots ends.
func (i *Issuer) RootsEnd() time.Time {
	return slices.MinFunc(i.roots, func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) }).NotAfter
}

// Verify returns when the first certificate of the issuer's chain ends, or why it cannot sign at that time. Errors match
// ErrUnusable.
func (i *Issuer) Verify(now time.Time) (ends time.Time, err error) {
	switch {
	case !i.cert.BasicConstraintsValid || !i.cert.IsCA:
		return time.Time{}, fmt.Errorf("%w: its certificate (%s) is not a CA: bring one with basic constraints CA:TRUE", ErrUnusable, i.cert.Subject)
	case i.cert.KeyUsage != 0 && i.cert.KeyUsage&x509.KeyUsageCertSign == 0:
		return time.Time{}, fmt.Errorf("%w: its certificate (%s) may not sign certificates: bring one with key usage certSign", ErrUnusable, i.cert.Subject)
	}
	if err := strong(i.key.Public()); err != nil {
		return time.Time{}, fmt.Errorf("%w: %w", ErrUnusable, err)
	}
	chains, err := i.cert.Verify(i.options(now, x509.ExtKeyUsageAny))
	if err != nil {
		return time.Time{}, fmt.Errorf("%w: its chain does not verify: %w", ErrUnusable, err)
	}
	for _, chain := range chains {
		first := chain[0].NotAfter
		for _, cert := range chain {
			if cert.NotAfter.Before(first) {
				first = cert.NotAfter
			}
		}
		if first.After(ends) {
			ends = first
		}
	}
	return ends, nil
}

// strong says why a key is too weak to vouch for others.
func strong(key crypto.PublicKey) error {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		if size := key.Curve.Params().BitSize; size < 256 {
			return fmt.Errorf("its key is ECDSA of %d bits: bring one of P-256 or more", size)
		}
	case *rsa.PublicKey:
		if size := key.N.BitLen(); size < 2048 {
			return fmt.Errorf("its key is RSA of %d bits: bring one of 2048 or more", size)
		}
	case ed25519.PublicKey:
	default:
		return fmt.Errorf("its key is a %T: bring ECDSA, RSA or Ed25519", key)
	}
	return nil
}

func (i *Issuer) options(now time.Time, usage ...x509.ExtKeyUsage) x509.VerifyOptions {
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	for _, cert := range i.roots {
		roots.AddCert(cert)
	}
	for _, cert := range i.chain {
		between.AddCert(cert)
	}
	return x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: now, KeyUsages: usage}
}

// Sign makes a certificate of the template for its PublicKey, with a serial number of its own, and returns it with its
// chain, but for the root, in PEM. What it made it verifies, as a peer would, so that a constraint of the issuer's (on
// names, usages or the length of the path) shows here and not at the peers. Errors match ErrUnusable.
func (i *Issuer) Sign(template *x509.Certificate, now time.Time) ([]byte, error) {
	if _, err := i.Verify(now); err != nil {
		return nil, err
	}
	leaf := *template
	leaf.SerialNumber = nil
	der, err := x509.CreateCertificate(rand.Reader, &leaf, i.cert, template.PublicKey, i.key)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnusable, err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnusable, err)
	}
	options := i.options(now, template.ExtKeyUsage...)
	options.Intermediates.AddCert(i.cert)
	for _, usage := range template.ExtKeyUsage {
		options.KeyUsages = []x509.ExtKeyUsage{usage}
		if _, err := made.Verify(options); err != nil {
			return nil, fmt.Errorf("%w: what it signs does not verify: %w", ErrUnusable, err)
		}
	}
	return pemfile.EncodeCertificates(append([]*x509.Certificate{made}, i.between()...)...), nil
}

// Signed says whether a leaf and those after it are what Sign returns of this issuer. It does not look at the time.
func (i *Issuer) Signed(chain []*x509.Certificate) bool {
	return len(chain) > 0 && slices.EqualFunc(chain[1:], i.between(), (*x509.Certificate).Equal) && chain[0].CheckSignatureFrom(i.cert) == nil
}

// between returns what is sent with a leaf: the issuer's chain, but for the root.
func (i *Issuer) between() []*x509.Certificate {
	var certs []*x509.Certificate
	for _, cert := range append([]*x509.Certificate{i.cert}, i.chain...) {
		if !bytes.Equal(cert.RawSubject, cert.RawIssuer) {
			certs = append(certs, cert)
		}
	}
	return certs
}
