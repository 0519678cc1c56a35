package identity

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"
)

// ServerOptions are the options of ServerConfig; the zero value is good.
type ServerOptions struct {
	// NextProtos are the protocols to choose from by ALPN, the preferred one
	// first; nil chooses none. Servers of net/http need them here.
	NextProtos []string

	// Now is the wall clock that certificates are held against; nil is time.Now.
	Now func() time.Time
}

// ServerConfig returns a TLS configuration for servers that follows current:
// every handshake is done with the certificate and the roots of its moment,
// and refused while there are none. It is TLS 1.3 without resumption.
//
// A client with a certificate must be a workload of the own trust domain, or
// the handshake fails. A client without one is let in, as nobody: who serves
// it has to ask [PeerOf] or [PeerFromContext].
func ServerConfig(current func() Credentials, o ServerOptions) *tls.Config {
	var made cache
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		SessionTicketsDisabled: true,
		ClientAuth:             tls.VerifyClientCertIfGiven,
		NextProtos:             o.NextProtos,
		Time:                   o.Now,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return made.config(current(), func(m *material) *tls.Config {
				return &tls.Config{
					MinVersion:             tls.VersionTLS13,
					SessionTicketsDisabled: true,
					Certificates:           []tls.Certificate{m.certificate},
					ClientAuth:             tls.VerifyClientCertIfGiven,
					ClientCAs:              m.roots,
					VerifyConnection:       peerCheck{trustDomain: m.id.TrustDomain, usage: x509.ExtKeyUsageClientAuth}.verify,
					NextProtos:             o.NextProtos,
					Time:                   o.Now,
				}
			})
		},
	}
}

// ClientOptions are the options of ClientConfig; the zero value is good.
type ClientOptions struct {
	// NextProtos are the protocols to offer by ALPN; nil offers none.
	NextProtos []string

	// ID is the one identity that the server may have, in addition to its
	// name; the zero ID leaves that to the name.
	ID ID

	// Now is the wall clock that certificates are held against; nil is time.Now.
	Now func() time.Time
}

// ClientConfig returns a TLS configuration for connections to the server called
// serverName, a [ServiceName] or another DNS name in its certificate. It
// follows current, so that clients that keep one configuration for all their
// life, as those of databases and NATS do, get renewed certificates and roots
// with their next connection. It is TLS 1.3 without resumption, and shows the
// server the own certificate whatever CAs the server lists. While there are no
// credentials handshakes fail with ErrNotReady.
//
// InsecureSkipVerify is set since RootCAs cannot change: the server is verified
// by VerifyConnection, against the roots of the moment. Whoever replaces that
// function verifies nothing.
func ClientConfig(current func() Credentials, serverName string, o ClientOptions) *tls.Config {
	now := o.Now
	if now == nil {
		now = time.Now
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		ServerName:         serverName,
		InsecureSkipVerify: true,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			c := current()
			if c.IsZero() {
				return nil, ErrNotReady
			}
			return &c.m.certificate, nil
		},
		VerifyConnection: func(state tls.ConnectionState) error {
			c := current()
			if c.IsZero() {
				return ErrNotReady
			}
			if err := verifyServer(&state, c.m.roots, serverName, now()); err != nil {
				return nameServers(err, serverName)
			}
			return peerCheck{trustDomain: c.m.id.TrustDomain, usage: x509.ExtKeyUsageServerAuth, exact: o.ID}.verify(state)
		},
		SessionTicketsDisabled: true,
		NextProtos:             o.NextProtos,
		Time:                   now,
	}
}

// verifyServer does what crypto/tls does with RootCAs, and notes the chains.
func verifyServer(state *tls.ConnectionState, roots *x509.CertPool, serverName string, now time.Time) error {
	if serverName == "" {
		return errors.New("identity: a server without a name cannot be verified")
	}
	if len(state.PeerCertificates) == 0 {
		return fmt.Errorf("%w: the server showed none", ErrRefused)
	}
	between := x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		between.AddCert(c)
	}
	chains, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, DNSName: serverName, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: state.PeerCertificates, Err: err}
	}
	state.VerifiedChains = chains
	return nil
}

func clientConfig(m *material, serverName string, o ClientOptions) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		ServerName: serverName,
		RootCAs:    m.roots,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &m.certificate, nil
		},
		VerifyConnection:       peerCheck{trustDomain: m.id.TrustDomain, usage: x509.ExtKeyUsageServerAuth, exact: o.ID}.verify,
		SessionTicketsDisabled: true,
		NextProtos:             o.NextProtos,
		Time:                   o.Now,
	}
}

// ServiceName returns the DNS name in the certificates of a service's
// instances: <name>.<namespace>.svc.
func ServiceName(namespace, name string) string { return name + "." + namespace + ".svc" }

// Dialer makes TLS connections to the server called serverName, each with the
// credentials of its moment. The function fits net/http's
// Transport.DialTLSContext and the dialling hooks of database clients. A
// server that is another one is an error that matches ErrWrongService.
func Dialer(current func() Credentials, serverName string, o ClientOptions) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c := current()
		if c.IsZero() {
			return nil, ErrNotReady
		}
		if serverName == "" {
			return nil, errors.New("identity: a server without a name cannot be verified")
		}
		var d net.Dialer
		conn, err := d.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		secured := tls.Client(conn, clientConfig(c.m, serverName, o))
		if err := secured.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return nil, nameServers(err, serverName)
		}
		return secured, nil
	}
}

// nameServers says of an error about the server's name who was asked for and
// who answered.
func nameServers(err error, serverName string) error {
	var other x509.HostnameError
	if !errors.As(err, &other) {
		return err
	}
	answered := "a certificate without an ID"
	if id, err := IDOf(other.Certificate); err == nil {
		answered = id.String()
	}
	return fmt.Errorf("%w: asked for %s, but %s answered (its names are %q)", ErrWrongService, serverName, answered, other.Certificate.DNSNames)
}

// cache holds the configuration that was made of the last credentials.
type cache struct{ last atomic.Pointer[cached] }

type cached struct {
	of     *material
	config *tls.Config
}

// config returns what build makes of c, or ErrNotReady. Handshakes at the
// same moment may each make one; all are as good.
func (k *cache) config(c Credentials, build func(*material) *tls.Config) (*tls.Config, error) {
	if c.IsZero() {
		return nil, ErrNotReady
	}
	if last := k.last.Load(); last != nil && last.of == c.m {
		return last.config, nil
	}
	made := &cached{of: c.m, config: build(c.m)}
	k.last.Store(made)
	return made.config, nil
}
