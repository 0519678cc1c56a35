package controlplane

import (
	"crypto/x509"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAuthority(t *testing.T) {
	ca, err := newAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	other, err := newAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	client, err := ca.client("system:node:a", "system:nodes")
	if err != nil {
		t.Fatal(err)
	}
	server, err := ca.server([]string{"a", "b.c"}, []netip.Addr{netip.MustParseAddr("10.96.0.1")})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name  string
		pair  keyPair
		roots *x509.CertPool
		usage x509.ExtKeyUsage
		host  string
		valid bool
	}{
		{name: "a client is one", pair: client, roots: ca.pool(), usage: x509.ExtKeyUsageClientAuth, valid: true},
		{name: "a client is no server", pair: client, roots: ca.pool(), usage: x509.ExtKeyUsageServerAuth},
		{name: "another authority does not know it", pair: client, roots: other.pool(), usage: x509.ExtKeyUsageClientAuth},
		{name: "a server under its name", pair: server, roots: ca.pool(), usage: x509.ExtKeyUsageServerAuth, host: "b.c", valid: true},
		{name: "a server under its address", pair: server, roots: ca.pool(), usage: x509.ExtKeyUsageServerAuth, host: "10.96.0.1", valid: true},
		{name: "a server under another name", pair: server, roots: ca.pool(), usage: x509.ExtKeyUsageServerAuth, host: "c"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			pair, err := test.pair.tls()
			if err != nil {
				t.Fatal(err)
			}
			_, err = pair.Leaf.Verify(x509.VerifyOptions{Roots: test.roots, DNSName: test.host, KeyUsages: []x509.ExtKeyUsage{test.usage}})
			if (err == nil) != test.valid {
				t.Errorf("verify: %v, want valid = %v", err, test.valid)
			}
		})
	}
	pair, err := client.tls()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"system:nodes"}, pair.Leaf.Subject.Organization); diff != "" {
		t.Errorf("groups (-want +got):\n%s", diff)
	}
}
