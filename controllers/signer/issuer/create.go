package issuer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/xinhari/xinhari/internal/pemfile"
)

// Life is how long an own root lasts: ten years. A short life would not protect its key, which lies in one place for all of
// it; it would make the cluster end on a day that nobody remembers. What limits the harm of a key that got out is rotation,
// which is ordered and at 80 % of the life comes by itself, and takes no longer than a leaf lives.
const Life = 10 * 365 * 24 * time.Hour

// madeName begins the common name of every root that New makes.
const madeName = "Xinhari "

// backdate is for peers whose clock is behind.
const backdate = time.Hour

// New makes a root of its own for a trust domain: the data of a Secret that Parse reads.
func New(trustDomain string, now time.Time) (map[string][]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the key of the CA: %w", err)
	}
	now = now.UTC().Truncate(time.Second)
	template := &x509.Certificate{
		// The time tells roots of one trust domain apart, for people.
		Subject:               pkix.Name{CommonName: madeName + now.Format("2006-01-02 15:04:05"), Organization: []string{short(trustDomain)}},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(Life),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true, // it signs leaves and no further CA
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("making the certificate of the CA: %w", err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("making the certificate of the CA: %w", err)
	}
	text, err := pemfile.EncodeKey(key)
	if err != nil {
		return nil, fmt.Errorf("writing the key of the CA: %w", err)
	}
	cert := pemfile.EncodeCertificates(made)
	return map[string][]byte{
		corev1.TLSCertKey:       cert,
		corev1.TLSPrivateKeyKey: text,
		KeyRoots:                cert,
	}, nil
}

// short returns what fits into an organization's name, RFC 5280 appendix A.
func short(s string) string { return s[:min(len(s), 64)] }
