// Package localsource gives the processes of one user on one machine their
// identities: a CA in a folder that only this user can read signs
// spiffe://local/ns/<namespace>/sa/<name>. There is nothing to set up: the
// first process makes the CA, and processes that start together agree on one.
//
// The boundary is the user account: whoever can read the folder can be any
// service of its trust domain. It is not for clusters.
package localsource

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/xinhari/xinhari/pkg/identity"
)

const (
	// TrustDomain is the trust domain of all local CAs.
	TrustDomain = "local"

	// EnvDir is the environment variable that names the CA's folder.
	EnvDir = "XINHARI_CA_DIR"

	defaultNamespace = "default"
	defaultLife      = 24 * time.Hour
	backdate         = 2 * time.Minute // for clocks of virtual machines on one laptop
)

// Options are the options of New; the zero value is good.
type Options struct {
	// Dir is the CA's folder; "" is what DefaultDir says.
	Dir string

	// Namespace is the identity's namespace; "" is "default".
	Namespace string

	// Life is how long certificates live from their issue, and at most as long
	// as the CA; 0 is 24 h.
	Life time.Duration

	// Source holds the options of the Source.
	Source identity.SourceOptions
}

// DefaultDir returns the CA's folder: $XINHARI_CA_DIR, or else the folder
// xinhari among the user's configuration.
func DefaultDir() (string, error) {
	if dir := os.Getenv(EnvDir); dir != "" {
		return dir, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("%w: no folder for the local CA: %w: set %s", identity.ErrSetup, err, EnvDir)
	}
	return filepath.Join(dir, "xinhari"), nil
}

// New returns a Source of the identity of the service called name. The CA is
// opened, or made, when the Source runs.
func New(name string, o Options) (*identity.Source, error) {
	id, err := identity.NewID(TrustDomain, cmp.Or(o.Namespace, defaultNamespace), name)
	if err != nil {
		return nil, err
	}
	if o.Life < 0 {
		return nil, fmt.Errorf("localsource: a life of %s", o.Life)
	}
	if o.Dir == "" {
		if o.Dir, err = DefaultDir(); err != nil {
			return nil, err
		}
	}
	now := o.Source.Now
	if now == nil {
		now = time.Now
	}
	return identity.NewSource(&driver{id: id, dir: o.Dir, life: cmp.Or(o.Life, defaultLife), now: now}, o.Source), nil
}

type driver struct {
	id   identity.ID
	dir  string
	life time.Duration
	now  func() time.Time
}

func (*driver) Name() string { return "local CA" }

// Issue signs with the CA as it is in the folder now.
func (d *driver) Issue(_ context.Context, r identity.Request) (identity.Issued, error) {
	now := d.now()
	ca, err := open(d.dir, now)
	if err != nil {
		return identity.Issued{}, err
	}
	notAfter := now.Add(d.life)
	if notAfter.After(ca.certificate.NotAfter) {
		notAfter = ca.certificate.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		URIs:                  []*url.URL{d.id.URL()},
		DNSNames:              []string{identity.ServiceName(d.id.Namespace, d.id.ServiceAccount)},
		NotBefore:             now.Add(-backdate),
		NotAfter:              notAfter,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}, ca.certificate, r.Key.Public(), ca.key)
	if err != nil {
		return identity.Issued{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return identity.Issued{}, err
	}
	return identity.Issued{Chain: []*x509.Certificate{leaf}, Roots: []*x509.Certificate{ca.certificate}}, nil
}
