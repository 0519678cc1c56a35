package identity

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"google.golang.org/grpc/credentials"
)

// MutualTLSOptions are the options of MutualTLS; the zero value is good.
type MutualTLSOptions struct {
	// Now is the wall clock that certificates are held against; nil is time.Now.
	Now func() time.Time
}

// MutualTLS returns the transport on which both sides prove who they are, by
// the credentials that current returns: Source.Current is one. While there are
// none no connection is made or accepted. Servers take clients without a
// certificate as anonymous peers; see [ServerConfig] and [ClientConfig] for
// what is demanded of the others. There is no way back to plaintext.
func MutualTLS(current func() Credentials, o MutualTLSOptions) Transport {
	now := o.Now
	if now == nil {
		now = time.Now
	}
	return &mutualTLS{
		current: current,
		now:     now,
		server: ServerConfig(current, ServerOptions{
			NextProtos: []string{ProtocolGRPC, protocolHTTP2, protocolHTTP1},
			Now:        o.Now,
		}),
	}
}

const (
	protocolHTTP2 = "h2"
	protocolHTTP1 = "http/1.1"
)

type mutualTLS struct {
	current func() Credentials
	now     func() time.Time
	server  *tls.Config
}

func (t *mutualTLS) Client(namespace, name string) credentials.TransportCredentials {
	return &mutualCredentials{transport: t, serverName: ServiceName(namespace, name)}
}

func (t *mutualTLS) Accept(ctx context.Context, conn net.Conn) (Accepted, error) {
	secured := tls.Server(conn, t.server)
	if err := secured.HandshakeContext(ctx); err != nil {
		return Accepted{}, err
	}
	info, err := t.info(secured)
	if err != nil {
		return Accepted{}, err
	}
	return Accepted{Conn: secured, Protocol: secured.ConnectionState().NegotiatedProtocol, AuthInfo: info}, nil
}

// info tells what the handshake of conn proved.
func (t *mutualTLS) info(conn *tls.Conn) (TLSInfo, error) {
	state := conn.ConnectionState()
	p, err := PeerOfTLS(&state)
	if err != nil {
		return TLSInfo{}, err
	}
	now := t.now().Round(0)
	ends := t.current().NotAfter()
	if !p.Anonymous && p.NotAfter.Before(ends) {
		ends = p.NotAfter
	}
	return TLSInfo{
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
		Peer:           p,
		Conn:           conn,
		ReplaceBy:      replaceBy(now, ends),
	}, nil
}

// replaceBy returns when a connection that is made now, with certificates of
// which the first ends at the given time, is to be replaced: when half of what
// is left has passed, so that calls in flight then have the other half.
// Connections that were made together are replaced apart from each other.
func replaceBy(now, ends time.Time) time.Time {
	half := ends.Sub(now) / 2
	return now.Add(max(half-time.Duration(rand.Float64()*replaceSpread*float64(half)), 0))
}

// replaceSpread is the part of a connection's life by which chance shortens it.
const replaceSpread = 0.1

// mutualCredentials make connections to one service.
type mutualCredentials struct {
	transport  *mutualTLS
	serverName string
	made       cache
}

// ClientHandshake implements credentials.TransportCredentials. The authority
// is not asked: it may be chosen call by call, and the service may not.
func (c *mutualCredentials) ClientHandshake(ctx context.Context, _ string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	config, err := c.made.config(c.transport.current(), func(m *material) *tls.Config {
		return clientConfig(m, c.serverName, ClientOptions{NextProtos: []string{ProtocolGRPC, protocolHTTP2}, Now: c.transport.now})
	})
	if err != nil {
		return nil, nil, err
	}
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, nil, nameServers(err, c.serverName)
	}
	if p := secured.ConnectionState().NegotiatedProtocol; p != ProtocolGRPC && p != protocolHTTP2 {
		return nil, nil, fmt.Errorf("identity: the server of %s does not speak gRPC (ALPN %q)", c.serverName, p)
	}
	info, err := c.transport.info(secured)
	if err != nil {
		return nil, nil, err
	}
	return secured, info, nil
}

func (c *mutualCredentials) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("identity: these credentials are a client's")
}

func (c *mutualCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

func (c *mutualCredentials) Clone() credentials.TransportCredentials {
	return &mutualCredentials{transport: c.transport, serverName: c.serverName}
}

func (c *mutualCredentials) OverrideServerName(string) error {
	return errors.New("identity: the server's name is the service's")
}
