package identity

import (
	"crypto/dsa" //nolint:staticcheck // it is here to be refused
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net/url"
	"testing"
)

// TestCheckKey covers the keys with which TLS 1.3 would have no handshake.
func TestCheckKey(t *testing.T) {
	bits := func(n int) *rsa.PublicKey {
		return &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), n-1, 1), E: 65537}
	}
	for _, tt := range []struct {
		name string
		key  any
		good bool
	}{
		{name: "P-224", key: &ecdsa.PublicKey{Curve: elliptic.P224()}},
		{name: "P-256", key: &ecdsa.PublicKey{Curve: elliptic.P256()}, good: true},
		{name: "P-384", key: &ecdsa.PublicKey{Curve: elliptic.P384()}, good: true},
		{name: "P-521", key: &ecdsa.PublicKey{Curve: elliptic.P521()}, good: true},
		{name: "Ed25519", key: ed25519.PublicKey(make([]byte, ed25519.PublicKeySize)), good: true},
		{name: "RSA 1024", key: bits(1024)},
		{name: "RSA 2047", key: bits(2047)},
		{name: "RSA 2048", key: bits(2048), good: true},
		{name: "DSA", key: &dsa.PublicKey{}},
		{name: "none"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := checkKey(tt.key); (err == nil) != tt.good {
				t.Errorf("checkKey: %v", err)
			}
		})
	}
}

// TestVerifyIsTheLastLine covers what crypto/tls already keeps away as it is
// configured here: resumed sessions and chains that nobody verified.
func TestVerifyIsTheLastLine(t *testing.T) {
	id := ID{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "orders"}
	leaf := &x509.Certificate{
		URIs: []*url.URL{id.URL()}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		PublicKey: &ecdsa.PublicKey{Curve: elliptic.P256()},
	}
	good := tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}, VerifiedChains: [][]*x509.Certificate{{leaf}}}
	check := peerCheck{trustDomain: "cluster.local", usage: x509.ExtKeyUsageClientAuth}
	if err := check.verify(good); err != nil {
		t.Fatal(err)
	}
	resumed, unverified := good, good
	resumed.DidResume = true
	unverified.VerifiedChains = nil
	for name, state := range map[string]tls.ConnectionState{"resumed": resumed, "resumed and anonymous": {DidResume: true}, "unverified": unverified} {
		if err := check.verify(state); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
