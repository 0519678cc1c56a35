// Package identity says who the two sides of a connection are, and proves it.
//
// An [ID] names a Kubernetes ServiceAccount. A [Source] keeps a process in
// [Credentials] for its ID, from one of the drivers in the folders below.
// [MutualTLS] makes and accepts connections with them; [ServerConfig],
// [ClientConfig] and [Dialer] do so for servers and clients that are not this
// project's. A handler asks [PeerFromContext] who calls. What a handshake
// proved is all that may be believed of a peer: names in messages or headers
// prove nothing.
//
// Certificates and roots are read anew for every handshake, so that renewing
// them disturbs no connection. Private keys stay in memory, and no error or
// log line holds one.
//
// Both sides of a connection take a [Transport]. [Plaintext] is the one that
// authenticates nobody and encrypts nothing; nothing else falls back to it.
package identity

import (
	"context"
	"net"

	"google.golang.org/grpc/credentials"
)

// ProtocolGRPC is the ALPN protocol by which clients of this project name
// themselves: gRPC over HTTP/2 and nothing else, so that the server need not
// look into the connection to know who serves it.
const ProtocolGRPC = "xinhari-grpc"

// A Transport makes and accepts the connections between services. It is safe
// for concurrent use.
type Transport interface {
	// Client returns the credentials for connections to the service called
	// name in namespace.
	Client(namespace, name string) credentials.TransportCredentials

	// Accept does the server's part of the handshake on conn. It returns when
	// the handshake is done or ctx ends. The caller closes conn on an error.
	Accept(ctx context.Context, conn net.Conn) (Accepted, error)
}

// Accepted is a connection after the server's handshake.
type Accepted struct {
	// Conn is the connection to go on with: bytes that the handshake read
	// too far are read again from it.
	Conn net.Conn

	// Protocol is what the peer asked for: ProtocolGRPC, or anything else for
	// a peer that is to be served as an ordinary HTTP client.
	Protocol string

	// AuthInfo is what is known of the peer.
	AuthInfo credentials.AuthInfo
}
