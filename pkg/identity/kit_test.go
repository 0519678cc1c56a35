package identity_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/xinhari/xinhari/pkg/identity"
)

var (
	orders    = identity.ID{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "orders"}
	inventory = identity.ID{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "inventory"}
)

// authority is a CA of a test.
type authority struct {
	testing.TB
	cert *x509.Certificate
	key  crypto.Signer
}

func newKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newCA(t testing.TB) *authority {
	t.Helper()
	key := newKey(t, elliptic.P256())
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: rand.Text()},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(1000 * time.Hour),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}
	a := &authority{TB: t, key: key}
	a.cert = a.sign(template, template, key.Public())
	return a
}

func (a *authority) sign(template, parent *x509.Certificate, public crypto.PublicKey) *x509.Certificate {
	a.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, a.key)
	if err != nil {
		a.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.Fatal(err)
	}
	return cert
}

// template is a good certificate of a workload.
func template(id identity.ID) *x509.Certificate {
	return &x509.Certificate{
		URIs:      []*url.URL{id.URL()},
		DNSNames:  []string{identity.ServiceName(id.Namespace, id.ServiceAccount)},
		NotBefore: time.Now().Add(-2 * time.Minute), NotAfter: time.Now().Add(time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
}

// leaf signs a certificate, which change may spoil, for key; nil is a new one.
func (a *authority) leaf(id identity.ID, key crypto.Signer, change func(*x509.Certificate)) tls.Certificate {
	a.Helper()
	if key == nil {
		key = newKey(a, elliptic.P256())
	}
	tmpl := template(id)
	if change != nil {
		change(tmpl)
	}
	cert := a.sign(tmpl, a.cert, key.Public())
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

// credentials are good ones of id, that trust roots; none = the CA itself.
func (a *authority) credentials(id identity.ID, roots ...*x509.Certificate) identity.Credentials {
	a.Helper()
	leaf := a.leaf(id, nil, nil)
	if len(roots) == 0 {
		roots = []*x509.Certificate{a.cert}
	}
	c, err := identity.NewCredentials([]*x509.Certificate{leaf.Leaf}, leaf.PrivateKey.(crypto.Signer), roots, time.Now())
	if err != nil {
		a.Fatal(err)
	}
	return c
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// always returns a function that returns c.
func always(c identity.Credentials) func() identity.Credentials {
	return func() identity.Credentials { return c }
}

// pair returns the two ends of a TCP connection on the loopback network.
func pair() (client, server net.Conn, err error) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = lis.Close() }()
	if client, err = net.Dial("tcp", lis.Addr().String()); err != nil {
		return nil, nil, err
	}
	if server, err = lis.Accept(); err != nil {
		return nil, nil, errors.Join(err, client.Close())
	}
	return client, server, nil
}

// handshakes are what both sides said of one handshake.
type handshakes struct {
	accepted             identity.Accepted
	clientErr, serverErr error
}

// handshake runs both sides at once. The server then sends a byte that the
// client reads: only then does a TLS 1.3 client know what the server thinks.
func handshake(t testing.TB, client func(context.Context, net.Conn) (net.Conn, error), server func(context.Context, net.Conn) (identity.Accepted, error)) handshakes {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, s, err := pair()
	if err != nil {
		return handshakes{clientErr: err, serverErr: err}
	}
	defer func() { _ = c.Close() }()
	defer func() { _ = s.Close() }()
	var h handshakes
	var both sync.WaitGroup
	both.Go(func() {
		h.accepted, h.serverErr = server(ctx, s)
		if h.serverErr == nil {
			_, _ = h.accepted.Conn.Write([]byte{1})
		}
		_ = s.Close()
	})
	both.Go(func() {
		var conn net.Conn
		if conn, h.clientErr = client(ctx, c); h.clientErr == nil {
			_, h.clientErr = io.ReadFull(conn, make([]byte, 1))
		} else {
			_ = c.Close()
		}
	})
	both.Wait()
	return h
}

// bareClient is a client of crypto/tls.
func bareClient(config *tls.Config) func(context.Context, net.Conn) (net.Conn, error) {
	return func(ctx context.Context, conn net.Conn) (net.Conn, error) {
		c := tls.Client(conn, config)
		return c, c.HandshakeContext(ctx)
	}
}

// bareServer is a server of crypto/tls.
func bareServer(config *tls.Config) func(context.Context, net.Conn) (identity.Accepted, error) {
	return func(ctx context.Context, conn net.Conn) (identity.Accepted, error) {
		c := tls.Server(conn, config)
		return identity.Accepted{Conn: c}, c.HandshakeContext(ctx)
	}
}

// ownClient is a client of transport to the service name of namespace shop.
func ownClient(transport identity.Transport, name string) func(context.Context, net.Conn) (net.Conn, error) {
	credentials := transport.Client("shop", name)
	return func(ctx context.Context, conn net.Conn) (net.Conn, error) {
		conn, _, err := credentials.ClientHandshake(ctx, "", conn)
		return conn, err
	}
}
