package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/xinhari/xinhari/examples/shop"
	"github.com/xinhari/xinhari/pkg/identity"
	"github.com/xinhari/xinhari/pkg/identity/kubesource"
	"github.com/xinhari/xinhari/pkg/rpc"
)

// account is the demo's own in the cluster, and the name of the pod that holds
// it: nobody calls a service as nobody, not even who installed it.
const account = "demo"

// identify gets the demo a certificate, as every workload gets one: with a
// token of its account that is bound to a pod.
func (c *cluster) identify(ctx context.Context) error {
	admin, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return err
	}
	token, err := command(ctx, "kubectl", "-n", namespace, "create", "token", account, "--bound-object-kind=Pod", "--bound-object-name="+account)
	if err != nil {
		return err
	}
	config := rest.AnonymousClientConfig(admin)
	config.BearerToken = strings.TrimSpace(token)
	source, err := kubesource.New(config, kubesource.Options{Namespace: namespace})
	if err != nil {
		return err
	}
	go func() { _ = source.Run(ctx) }() // until the demo ends
	waiting, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	select {
	case <-source.Ready():
	case <-waiting.Done():
		return fmt.Errorf("a certificate for the demo: %w", errors.Join(waiting.Err(), source.Err()))
	}
	c.own = source
	c.http = &http.Client{Transport: &http.Transport{
		DialTLSContext: identity.Dialer(source.Current, identity.ServiceName(namespace, "orders"), identity.ClientOptions{}),
		// Another certificate wants another connection.
		IdleConnTimeout: 10 * time.Second,
	}}
	return nil
}

// whoAmI wants inventory to have seen the identity of orders, and no other.
func (c *cluster) whoAmI(r shop.Report) error {
	want := fmt.Sprintf("spiffe://cluster.local/ns/%s/sa/orders", namespace)
	for seen, calls := range r.As {
		c.say("  in %d calls inventory saw %s", calls, seen)
	}
	if len(r.As) != 1 || r.As[want] == 0 {
		return fmt.Errorf("inventory saw %v, want %s alone", r.As, want)
	}
	return nil
}

// intruders try to call inventory without an identity of the cluster.
func (c *cluster) intruders(ctx context.Context) error {
	p, err := c.anyPod(ctx, "inventory")
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
		cc, err := grpc.NewClient("passthrough:///"+p.ip+":8080", grpc.WithTransportCredentials(i.with), grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rpc.JSON())))
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
		c.say("  %s: %s", i.who, refusal(err))
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
func (c *cluster) rotateRoot(ctx context.Context) error {
	before, err := c.trust(ctx)
	if err != nil {
		return err
	}
	if _, err := command(ctx, "kubectl", "-n", operatorNamespace, "annotate", "configmap", "xinhari-trust", "xinhari.com/rotation=start"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	last := ""
	for {
		now, err := c.trust(ctx)
		if err != nil {
			return err
		}
		if text := now.String(); text != last {
			last = text
			c.say("  %s", text)
		}
		if now.Phase == "Stable" && now.BundleHash != before.BundleHash {
			return nil
		}
		if err := sleep(ctx, 300*time.Millisecond); err != nil {
			return fmt.Errorf("the rotation does not end: %s: %w", now, err)
		}
	}
}

// trustState is what the operator says of the roots.
type trustState struct {
	Phase      string `json:"phase"`
	BundleHash string `json:"bundleHash"`
	Conditions []struct {
		Type    string `json:"type"`
		Message string `json:"message"`
	} `json:"conditions"`
}

func (s trustState) String() string {
	for _, condition := range s.Conditions {
		if condition.Type == "Rotating" && condition.Message != "" {
			return s.Phase + ": " + condition.Message
		}
	}
	return s.Phase
}

func (c *cluster) trust(ctx context.Context) (trustState, error) {
	var object struct {
		Data map[string]string `json:"data"`
	}
	out, err := command(ctx, "kubectl", "-n", operatorNamespace, "get", "configmap", "xinhari-trust", "-o", "json")
	if err != nil {
		return trustState{}, err
	}
	if err := json.Unmarshal([]byte(out), &object); err != nil {
		return trustState{}, err
	}
	var s trustState
	return s, yaml.Unmarshal([]byte(object.Data["state"]), &s)
}
