package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net/url"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/xinhari/xinhari/examples/shop"
	"github.com/xinhari/xinhari/pkg/rpc"
	"github.com/xinhari/xinhari/test/shopcluster"
)

// whoAmI wants inventory to have seen the identity of orders, and no other.
func (d *demo) whoAmI(r shop.Report) error {
	want := fmt.Sprintf("spiffe://cluster.local/ns/%s/sa/orders", namespace)
	for seen, calls := range r.As {
		d.say("  in %d calls inventory saw %s", calls, seen)
	}
	if len(r.As) != 1 || r.As[want] == 0 {
		return fmt.Errorf("inventory saw %v, want %s alone", r.As, want)
	}
	return nil
}

// intruders try to call inventory without an identity of the cluster.
func (d *demo) intruders(ctx context.Context) error {
	p, err := d.shop.AnyPod(ctx, "inventory")
	if err != nil {
		return err
	}
	forged, err := selfMade()
	if err != nil {
		return err
	}
	// What the intruder asks of the server makes no difference.
	trusting := func(own tls.Certificate) credentials.TransportCredentials {
		return credentials.NewTLS(&tls.Config{
			MinVersion: tls.VersionTLS13, InsecureSkipVerify: true,
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &own, nil },
		})
	}
	for _, i := range []struct {
		who  string
		with credentials.TransportCredentials
		want codes.Code
	}{
		{"a gRPC client without TLS", insecure.NewCredentials(), codes.Unavailable},
		{"a gRPC client with TLS and no certificate", trusting(tls.Certificate{}), codes.Unauthenticated},
		{"one with a certificate that it made for itself", trusting(forged), codes.Unavailable},
	} {
		cc, err := grpc.NewClient("passthrough:///"+p.IP+":8080", grpc.WithTransportCredentials(i.with), grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rpc.JSON())))
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		err = cc.Invoke(ctx, "/"+shop.ReserveMethod, &shop.Reservation{Article: "teapot", Quantity: 1}, &shop.Reserved{})
		cancel()
		_ = cc.Close()
		if status.Code(err) != i.want {
			return fmt.Errorf("%s: %w, want %s", i.who, err, i.want)
		}
		d.say("  %s: %s", i.who, refusal(err))
	}
	return nil
}

func refusal(err error) string {
	const most = 110
	text := status.Convert(err).Message()
	if len(text) > most {
		text = text[:most] + "…"
	}
	return text
}

// selfMade returns a certificate of orders' identity that orders' CA never saw.
func selfMade() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		URIs:         []*url.URL{{Scheme: "spiffe", Host: "cluster.local", Path: "/ns/" + namespace + "/sa/orders"}},
		NotBefore:    time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// rotateRoot has the operator replace the root that every workload trusts, and
// waits until nothing of the old one is left.
func (d *demo) rotateRoot(ctx context.Context) error {
	before, err := shopcluster.TrustNow(ctx)
	if err != nil {
		return err
	}
	if err := shopcluster.StartRotation(ctx); err != nil {
		return err
	}
	return shopcluster.WaitRotated(ctx, before, func(now shopcluster.Trust) error {
		d.say("  %s", now)
		return nil
	})
}
