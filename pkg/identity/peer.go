package identity

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// Peer is what a connection proved of its other side.
type Peer struct {
	// ID is who it is; the zero ID if it is anonymous.
	ID ID

	// NotAfter is when the certificate that proved it ends.
	NotAfter time.Time

	// Anonymous: it showed no certificate, and may be anybody.
	Anonymous bool
}

// Valid reports whether the peer may still be believed at the time now: an
// error that matches ErrExpired if its certificate ended while the connection
// lived on. To be asked for every call. An anonymous peer has nothing that
// could end.
func (p Peer) Valid(now time.Time) error {
	switch {
	case p.Anonymous && p.ID.IsZero():
		return nil
	case p.Anonymous || p.ID.IsZero():
		return errors.New("identity: nothing is known of the peer")
	case now.After(p.NotAfter):
		return fmt.Errorf("%w: %s, at %s", ErrExpired, p.ID, p.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}

// String returns the peer's ID, or "anonymous".
func (p Peer) String() string {
	if p.Anonymous {
		return "anonymous"
	}
	return p.ID.String()
}

// TLSInfo tells of a peer after a handshake of [MutualTLS].
type TLSInfo struct {
	credentials.CommonAuthInfo

	// Peer is who the other side is.
	Peer Peer

	// Conn is the connection, whose Close ends the session.
	Conn net.Conn

	// ReplaceBy is when a new connection should take the place of this one,
	// so that no certificate ends, and no root is retired, under a connection
	// that is in use: after half of what was left of the shorter of both
	// certificates' lives, at the latest.
	ReplaceBy time.Time
}

// AuthType implements credentials.AuthInfo.
func (TLSInfo) AuthType() string { return "mtls" }

// PeerOf returns the peer that info tells of; false if info is not from a
// connection of this package. Behind net/http, gRPC tells of the peer by a
// TLSInfo of its own: that is believed if its chain was verified, so servers
// that are not made with ServerConfig must not ask.
func PeerOf(info credentials.AuthInfo) (Peer, bool) {
	switch i := info.(type) {
	case TLSInfo:
		return i.Peer, true
	case PlaintextInfo:
		return Peer{Anonymous: true}, true
	case credentials.TLSInfo:
		p, err := PeerOfTLS(&i.State)
		return p, err == nil
	}
	return Peer{}, false
}

// PeerFromContext returns the peer whose call a handler's context is; false
// outside of a call, and for connections that this package did not make.
func PeerFromContext(ctx context.Context) (Peer, bool) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return Peer{}, false
	}
	return PeerOf(p.AuthInfo)
}

// PeerOfTLS returns the client of a TLS connection made with [ServerConfig],
// such as an http.Request's. A certificate that was not
// verified, or that has no ID, is an error, and not an anonymous peer.
func PeerOfTLS(state *tls.ConnectionState) (Peer, error) {
	switch {
	case state == nil || !state.HandshakeComplete:
		return Peer{}, errors.New("identity: the connection has no finished handshake")
	case len(state.PeerCertificates) == 0:
		return Peer{Anonymous: true}, nil
	case len(state.VerifiedChains) == 0:
		return Peer{}, fmt.Errorf("%w: nobody verified it", ErrRefused)
	}
	leaf := state.PeerCertificates[0]
	id, err := IDOf(leaf)
	if err != nil {
		return Peer{}, err
	}
	return Peer{ID: id, NotAfter: leaf.NotAfter}, nil
}
