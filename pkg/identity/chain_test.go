package identity_test

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"testing"
	"time"

	"github.com/xinhari/xinhari/pkg/identity"
)

// intermediate returns a CA beneath a.
func (a *authority) intermediate() *authority {
	a.Helper()
	key := newKey(a, p256)
	return &authority{TB: a.TB, key: key, cert: a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "between"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(100 * time.Hour),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}, a.cert, key.Public())}
}

// TestChains has what lies between a certificate and the roots.
func TestChains(t *testing.T) {
	ca := newCA(t)
	between, stranger := ca.intermediate(), newCA(t)
	workload := ca.leaf(inventory, nil, nil)
	byWorkload := &authority{TB: t, cert: workload.Leaf, key: workload.PrivateKey.(crypto.Signer)}
	with := func(leaf tls.Certificate, rest ...*x509.Certificate) tls.Certificate {
		for _, c := range rest {
			leaf.Certificate = append(leaf.Certificate, c.Raw)
		}
		return leaf
	}
	many := func(n int) []*x509.Certificate {
		all := make([]*x509.Certificate, n)
		for i := range all {
			all[i] = stranger.cert
		}
		return all
	}
	for _, tt := range []struct {
		name  string
		chain tls.Certificate
		said  func(error) bool // nil: it is taken
	}{
		{name: "by an intermediate", chain: with(between.leaf(inventory, nil, nil), between.cert)},
		{name: "by an intermediate that is not shown", chain: between.leaf(inventory, nil, nil), said: unknownAuthority},
		{name: "by an intermediate of another root", chain: func() tls.Certificate {
			other := stranger.intermediate()
			return with(other.leaf(inventory, nil, nil), other.cert, stranger.cert)
		}(), said: unknownAuthority},
		{name: "by another workload", chain: with(byWorkload.leaf(inventory, nil, nil), workload.Leaf), said: anyError},
		{name: "an intermediate itself", chain: tls.Certificate{Certificate: [][]byte{between.cert.Raw}, PrivateKey: between.key, Leaf: between.cert}, said: anyError},
		{name: "the root itself", chain: tls.Certificate{Certificate: [][]byte{ca.cert.Raw}, PrivateKey: ca.key, Leaf: ca.cert}, said: anyError},
		{name: "behind the certificate of another", chain: with(stranger.leaf(inventory, nil, nil), workload.Leaf, ca.cert), said: unknownAuthority},
		{name: "with 200 that are no part of it", chain: with(stranger.leaf(inventory, nil, nil), many(200)...), said: unknownAuthority},
		{name: "longer than a handshake may be", chain: with(workload, many(2000)...), said: anyError},
	} {
		t.Run(tt.name, func(t *testing.T) {
			began := time.Now()
			h := handshake(t, bareClient(&tls.Config{
				RootCAs: ca.pool(), ServerName: "orders.shop.svc",
				GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &tt.chain, nil },
			}), transport(ca.credentials(orders)).Accept)
			check(t, h.serverErr, tt.said)
			h = handshake(t, ownClient(transport(ca.credentials(orders)), "inventory"), bareServer(&tls.Config{
				Certificates: []tls.Certificate{tt.chain}, NextProtos: []string{identity.ProtocolGRPC},
			}))
			check(t, h.clientErr, tt.said)
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// TestTheNameAskedForChoosesNothing holds that a server is who it is, whatever
// name a client sends, and that a client is not talked out of the name.
func TestTheNameAskedForChoosesNothing(t *testing.T) {
	ca := newCA(t)
	for _, name := range []string{"inventory.shop.svc", "localhost", ""} {
		var conn *tls.Conn
		h := handshake(t, func(ctx context.Context, c net.Conn) (net.Conn, error) {
			conn = tls.Client(c, &tls.Config{ServerName: name, InsecureSkipVerify: true}) //nolint:gosec // to see who answers
			return conn, conn.HandshakeContext(ctx)
		}, transport(ca.credentials(orders)).Accept)
		if h.clientErr != nil || h.serverErr != nil {
			t.Fatal(h.clientErr, h.serverErr)
		}
		if id, err := identity.IDOf(conn.ConnectionState().PeerCertificates[0]); err != nil || id != orders {
			t.Errorf("asked for %q: %v answered, %v", name, id, err)
		}
	}
}

func anyError(err error) bool { return err != nil }
