package identity_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/url"
	"testing"
	"time"

	"github.com/xinhari/xinhari/pkg/identity"
)

func weakRSA(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func is(target error) func(error) bool { return func(err error) bool { return errors.Is(err, target) } }

func outOfTime(err error) bool {
	var invalid x509.CertificateInvalidError
	return errors.As(err, &invalid) && invalid.Reason == x509.Expired
}

func unknownAuthority(err error) bool {
	var unknown x509.UnknownAuthorityError
	return errors.As(err, &unknown)
}

func incompatibleUsage(err error) bool {
	var invalid x509.CertificateInvalidError
	return errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage
}

// refusal is a certificate that neither a server nor a client takes.
type refusal struct {
	name   string
	spoil  func(*x509.Certificate)
	key    func(*testing.T) crypto.Signer
	ca     func(*testing.T) *authority // nil: the one that is trusted
	clock  time.Duration               // how far the clock of who refuses is ahead
	client func(error) bool            // what the server says of it as a client; nil: it takes it
	server func(error) bool            // what the client says of it as a server; nil: it takes it
}

func both(r refusal, said func(error) bool) refusal {
	r.client, r.server = said, said
	return r
}

func refusals() []refusal {
	elsewhere := func(c *x509.Certificate) {
		c.URIs[0] = (identity.ID{TrustDomain: "other.example", Namespace: "shop", ServiceAccount: "inventory"}).URL()
	}
	stranger := func(t *testing.T) *authority { return newCA(t) }
	usage := func(usages ...x509.ExtKeyUsage) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.ExtKeyUsage = usages }
	}
	return []refusal{
		{name: "a good one"},
		both(refusal{name: "another trust domain", spoil: elsewhere}, is(identity.ErrRefused)),
		both(refusal{name: "expired", spoil: func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) }}, outOfTime),
		both(refusal{name: "expired by the clock that was given", clock: 2 * time.Hour}, outOfTime),
		both(refusal{name: "not yet valid", spoil: func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }}, outOfTime),
		both(refusal{name: "not yet valid by the clock that was given", clock: -time.Hour}, outOfTime),
		both(refusal{name: "no URI", spoil: func(c *x509.Certificate) { c.URIs = nil }}, is(identity.ErrInvalidID)),
		both(refusal{name: "two URIs", spoil: func(c *x509.Certificate) { c.URIs = append(c.URIs, orders.URL()) }}, is(identity.ErrInvalidID)),
		both(refusal{name: "the same URI twice", spoil: func(c *x509.Certificate) { c.URIs = append(c.URIs, c.URIs[0]) }}, is(identity.ErrInvalidID)),
		both(refusal{name: "a URI of another form", spoil: func(c *x509.Certificate) {
			c.URIs = []*url.URL{{Scheme: "spiffe", Host: "cluster.local", Path: "/workload"}}
		}}, is(identity.ErrInvalidID)),
		both(refusal{name: "a URI with a query", spoil: func(c *x509.Certificate) { c.URIs[0].RawQuery = "a=b" }}, is(identity.ErrInvalidID)),
		both(refusal{name: "a CA as leaf", spoil: func(c *x509.Certificate) { c.IsCA = true }}, is(identity.ErrRefused)),
		both(refusal{name: "a leaf that may sign certificates", spoil: func(c *x509.Certificate) {
			c.KeyUsage |= x509.KeyUsageCertSign
			c.BasicConstraintsValid = false
		}}, is(identity.ErrRefused)),
		both(refusal{name: "a leaf that may sign revocations", spoil: func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCRLSign }}, is(identity.ErrRefused)),
		both(refusal{name: "a leaf that may not sign", spoil: func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement }}, is(identity.ErrRefused)),
		{name: "for servers only", spoil: usage(x509.ExtKeyUsageServerAuth), client: incompatibleUsage},
		{name: "for clients only", spoil: usage(x509.ExtKeyUsageClientAuth), server: incompatibleUsage},
		both(refusal{name: "for neither", spoil: usage(x509.ExtKeyUsageEmailProtection)}, incompatibleUsage),
		both(refusal{name: "for anything", spoil: usage(x509.ExtKeyUsageAny)}, is(identity.ErrRefused)),
		both(refusal{name: "without a purpose", spoil: usage()}, is(identity.ErrRefused)),
		both(refusal{name: "from a CA that is not trusted", ca: stranger}, unknownAuthority),
		both(refusal{name: "signed by itself", ca: func(t *testing.T) *authority {
			key := newKey(t, p256)
			return &authority{TB: t, key: key, cert: &x509.Certificate{PublicKey: key.Public()}}
		}}, unknownAuthority),
		both(refusal{name: "a weak key", key: func(t *testing.T) crypto.Signer { return weakRSA(t) }}, is(identity.ErrRefused)),
	}
}

// bad returns the certificate of the refusal.
func (r refusal) bad(t *testing.T, trusted *authority) tls.Certificate {
	t.Helper()
	ca := trusted
	if r.ca != nil {
		ca = r.ca(t)
	}
	var key crypto.Signer
	if r.key != nil {
		key = r.key(t)
	}
	if ca.cert.Raw == nil { // it signs for itself
		key = ca.key
		ca.cert = template(inventory)
	}
	return ca.leaf(inventory, key, r.spoil)
}

func (r refusal) now() time.Time { return time.Now().Add(r.clock) }

func check(t *testing.T, err error, refused func(error) bool) {
	t.Helper()
	switch {
	case refused == nil && err != nil:
		t.Errorf("refused: %v", err)
	case refused != nil && err == nil:
		t.Error("not refused")
	case refused != nil && !refused(err):
		t.Errorf("refused for another reason: %v", err)
	}
}

func TestServerRefusesClients(t *testing.T) {
	ca := newCA(t)
	for _, r := range refusals() {
		t.Run(r.name, func(t *testing.T) {
			server := identity.MutualTLS(always(ca.credentials(orders)), identity.MutualTLSOptions{Now: r.now})
			bad := r.bad(t, ca)
			h := handshake(t, bareClient(&tls.Config{
				RootCAs: ca.pool(), ServerName: "orders.shop.svc", NextProtos: []string{identity.ProtocolGRPC},
				GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &bad, nil },
			}), server.Accept)
			check(t, h.serverErr, r.client)
			if (h.clientErr == nil) != (r.client == nil) {
				t.Errorf("the client says %v", h.clientErr)
			}
		})
	}
}

func TestClientRefusesServers(t *testing.T) {
	ca := newCA(t)
	for _, r := range refusals() {
		t.Run(r.name, func(t *testing.T) {
			server := bareServer(&tls.Config{Certificates: []tls.Certificate{r.bad(t, ca)}, NextProtos: []string{identity.ProtocolGRPC}})
			client := identity.MutualTLS(always(ca.credentials(orders)), identity.MutualTLSOptions{Now: r.now})
			h := handshake(t, ownClient(client, "inventory"), server)
			check(t, h.clientErr, r.server)
			config := identity.ClientConfig(always(ca.credentials(orders)), "inventory.shop.svc", identity.ClientOptions{Now: r.now})
			h = handshake(t, bareClient(config), server)
			check(t, h.clientErr, r.server)
		})
	}
}

func TestCredentialsRefuseWhatPeersRefuse(t *testing.T) {
	ca := newCA(t)
	for _, r := range refusals() {
		t.Run(r.name, func(t *testing.T) {
			if r.name == "another trust domain" {
				t.Skip("it is an own one here")
			}
			bad := r.bad(t, ca)
			_, err := identity.NewCredentials([]*x509.Certificate{bad.Leaf}, bad.PrivateKey.(crypto.Signer), []*x509.Certificate{ca.cert}, r.now())
			if (err != nil) != (r.client != nil || r.server != nil) {
				t.Errorf("NewCredentials: %v", err)
			}
			if err != nil && !errors.Is(err, identity.ErrRefused) && !errors.Is(err, identity.ErrInvalidID) {
				t.Errorf("NewCredentials: %v matches neither ErrRefused nor ErrInvalidID", err)
			}
		})
	}
	t.Run("the key of another", func(t *testing.T) {
		leaf := ca.leaf(orders, nil, nil)
		if _, err := identity.NewCredentials([]*x509.Certificate{leaf.Leaf}, newKey(t, p256), []*x509.Certificate{ca.cert}, time.Now()); !errors.Is(err, identity.ErrRefused) {
			t.Errorf("NewCredentials: %v", err)
		}
	})
}
