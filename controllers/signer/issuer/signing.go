package issuer

import (
	"crypto/x509"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/xinhari/xinhari/internal/pemfile"
)

// Keys of the Secret named SigningSecret beside those of an issuer.
const (
	// KeyNext holds roots that are distributed so that an issuer under them can sign next.
	KeyNext = "next.crt"
	// KeyRetiring holds roots of issuers that signed before, for as long as certificates under them are in use.
	KeyRetiring = "retiring.crt"
)

// Signing is what the Secret named SigningSecret holds. What signs and which roots everybody is to trust stand in one
// object, so that no crash can part them.
type Signing struct {
	Issuer   *Issuer // nil where it cannot be read
	Next     []*x509.Certificate
	Retiring []*x509.Certificate
	Damaged  bool // a list of roots could not be read
}

// ParseSigning reads the data of the Secret. The error is why there is no Issuer; all else is read nevertheless.
func ParseSigning(data map[string][]byte) (Signing, error) {
	var s Signing
	for key, into := range map[string]*[]*x509.Certificate{KeyNext: &s.Next, KeyRetiring: &s.Retiring} {
		if len(data[key]) == 0 {
			continue
		}
		certs, err := pemfile.Certificates(data[key])
		*into, s.Damaged = certs, s.Damaged || err != nil
	}
	var err error
	s.Issuer, err = Parse(data)
	return s, err
}

// Bundle returns the roots that everybody is to trust, each once: those of the issuer first.
func (s Signing) Bundle() []*x509.Certificate {
	var all []*x509.Certificate
	if s.Issuer != nil {
		all = append(all, s.Issuer.roots...)
	}
	var each []*x509.Certificate
	for _, cert := range slices.Concat(all, s.Next, s.Retiring) {
		if !slices.ContainsFunc(each, cert.Equal) {
			each = append(each, cert)
		}
	}
	return each
}

// SigningData returns the data of the Secret for an issuer that data holds, which may be that of the Secret itself.
func SigningData(data map[string][]byte, i *Issuer, next, retiring []*x509.Certificate) map[string][]byte {
	out := map[string][]byte{
		corev1.TLSCertKey:       data[corev1.TLSCertKey],
		corev1.TLSPrivateKeyKey: data[corev1.TLSPrivateKeyKey],
		KeyRoots:                pemfile.EncodeCertificates(i.roots...),
	}
	if len(next) > 0 {
		out[KeyNext] = pemfile.EncodeCertificates(next...)
	}
	if len(retiring) > 0 {
		out[KeyRetiring] = pemfile.EncodeCertificates(retiring...)
	}
	return out
}
