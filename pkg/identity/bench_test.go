package identity_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"sync"
	"testing"

	"google.golang.org/grpc/credentials"

	"github.com/xinhari/xinhari/pkg/identity"
)

// sides are a client and a server for one benchmark.
type sides struct {
	name   string
	client func(context.Context, net.Conn) (net.Conn, error)
	server func(context.Context, net.Conn) (identity.Accepted, error)
}

// benchSides are crypto/tls with fixed certificates and nothing else, and the
// transport of this package.
func benchSides(b *testing.B) []sides {
	ca := newCA(b)
	from, to := ca.credentials(orders), ca.credentials(inventory)
	return []sides{
		{"bare", bareClient(&tls.Config{
			MinVersion: tls.VersionTLS13, RootCAs: ca.pool(), ServerName: "inventory.shop.svc", NextProtos: []string{"h2"},
			Certificates: []tls.Certificate{from.Certificate()}, SessionTicketsDisabled: true,
		}), bareServer(&tls.Config{
			MinVersion: tls.VersionTLS13, ClientCAs: ca.pool(), ClientAuth: tls.VerifyClientCertIfGiven, NextProtos: []string{"h2"},
			Certificates: []tls.Certificate{to.Certificate()}, SessionTicketsDisabled: true,
		})},
		{"own", ownClient(transport(from), "inventory"), transport(to).Accept},
	}
}

// open makes a connection and does its handshake.
func (s sides) open(ctx context.Context) (client, server net.Conn, err error) {
	c, p, err := pair()
	if err != nil {
		return nil, nil, err
	}
	var accepting sync.WaitGroup
	var accepted identity.Accepted
	var serverErr error
	accepting.Go(func() { accepted, serverErr = s.server(ctx, p) })
	client, err = s.client(ctx, c)
	accepting.Wait()
	if err == nil {
		err = serverErr
	}
	return client, accepted.Conn, err
}

// BenchmarkHandshake is one handshake with certificates on both sides over
// loopback, the connection included.
func BenchmarkHandshake(b *testing.B) {
	for _, s := range benchSides(b) {
		b.Run(s.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				client, server, err := s.open(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				_ = client.Close()
				_ = server.Close()
			}
		})
	}
}

// BenchmarkSteady is a round trip of 1 KiB on an open connection.
func BenchmarkSteady(b *testing.B) {
	for _, s := range benchSides(b) {
		b.Run(s.name, func(b *testing.B) {
			client, server, err := s.open(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			var echoing sync.WaitGroup
			echoing.Go(func() { _, _ = io.Copy(server, server) })
			defer echoing.Wait()
			defer func() { _ = client.Close() }()
			buffer := make([]byte, 1024)
			b.SetBytes(int64(len(buffer)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := client.Write(buffer); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(client, buffer); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkPeerOf is what each call asks: who is it, and is it still.
func BenchmarkPeerOf(b *testing.B) {
	ca := newCA(b)
	now := ca.cert.NotBefore
	var info credentials.AuthInfo = identity.TLSInfo{Peer: identity.Peer{ID: orders, NotAfter: ca.cert.NotAfter}}
	b.ReportAllocs()
	for b.Loop() {
		p, ok := identity.PeerOf(info)
		if !ok || p.Valid(now) != nil {
			b.Fatal("not believed")
		}
	}
}
