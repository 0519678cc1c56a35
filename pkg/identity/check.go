package identity

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
)

// minRSABits is the least modulus that is not weak (NIST SP 800-131A).
const minRSABits = 2048

// checkLeaf holds a certificate to the rules for workloads, which are those of
// the X509-SVID standard for leaves and stricter where it leaves room, and
// returns its ID. Signatures, times and names are crypto/x509's to verify.
func checkLeaf(leaf *x509.Certificate, usages ...x509.ExtKeyUsage) (ID, error) {
	id, err := IDOf(leaf)
	if err != nil {
		return ID{}, err
	}
	switch {
	case leaf.IsCA:
		return ID{}, fmt.Errorf("%w: %s: it is a CA's", ErrRefused, id)
	case leaf.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0:
		return ID{}, fmt.Errorf("%w: %s: its key may sign certificates or revocations", ErrRefused, id)
	case leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return ID{}, fmt.Errorf("%w: %s: its key usage lacks digital signature", ErrRefused, id)
	}
	for _, usage := range usages {
		if !slices.Contains(leaf.ExtKeyUsage, usage) {
			return ID{}, fmt.Errorf("%w: %s: its extended key usage lacks %s authentication", ErrRefused, id, usageName(usage))
		}
	}
	if err := checkKey(leaf.PublicKey); err != nil {
		return ID{}, fmt.Errorf("%w: %s: %w", ErrRefused, id, err)
	}
	return id, nil
}

func usageName(usage x509.ExtKeyUsage) string {
	if usage == x509.ExtKeyUsageServerAuth {
		return "server"
	}
	return "client"
}

// checkKey refuses weak keys and kinds of key that TLS 1.3 has no use for.
func checkKey(public any) error {
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() || k.Curve == elliptic.P384() || k.Curve == elliptic.P521() {
			return nil
		}
		return fmt.Errorf("its key is on curve %s: P-256, P-384 or P-521 is needed", k.Params().Name)
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < minRSABits {
			return fmt.Errorf("its RSA key has %d bits: at least %d are needed", n, minRSABits)
		}
		return nil
	case ed25519.PublicKey:
		return nil
	default:
		return fmt.Errorf("its key is a %T: ECDSA, Ed25519 or RSA is needed", public)
	}
}

// peerCheck is what one side demands of the other beyond a verified chain.
type peerCheck struct {
	trustDomain string
	usage       x509.ExtKeyUsage // what the peer's certificate must be for
	exact       ID               // the only one to speak to; zero = any
}

// verify is a tls.Config's VerifyConnection. crypto/tls calls it after it
// verified the chain, and for resumed sessions, of which it verifies less.
func (p peerCheck) verify(state tls.ConnectionState) error {
	if state.DidResume {
		return fmt.Errorf("%w: the session was resumed: who the peer was then is not who it is now", ErrRefused)
	}
	if len(state.PeerCertificates) == 0 {
		return nil // a client; a server always has one
	}
	if len(state.VerifiedChains) == 0 {
		return fmt.Errorf("%w: nobody verified it", ErrRefused)
	}
	id, err := checkLeaf(state.PeerCertificates[0], p.usage)
	switch {
	case err != nil:
		return err
	case id.TrustDomain != p.trustDomain:
		return fmt.Errorf("%w: %s is not of trust domain %s", ErrRefused, id, p.trustDomain)
	case !p.exact.IsZero() && id != p.exact:
		return fmt.Errorf("%w: asked for %s, but %s answered", ErrWrongService, p.exact, id)
	}
	return nil
}
