package trust

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xinhari/xinhari/controllers/signer/issuer"
	"github.com/xinhari/xinhari/controllers/signer/leaf"
	"github.com/xinhari/xinhari/internal/pemfile"
	"github.com/xinhari/xinhari/pkg/identity"
)

// certified returns an issuer's root and a certificate of it that lives for a time.
func certified(t *testing.T, life time.Duration) (root *x509.Certificate, chain []*x509.Certificate) {
	t.Helper()
	data, err := issuer.New("cluster.local", began)
	if err != nil {
		t.Fatal(err)
	}
	i, err := issuer.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id := identity.ID{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "inventory"}
	template, err := leaf.Template(id, nil, key.Public(), leaf.Bounds{Now: began, IssuerEnds: i.RootsEnd(), Asked: life})
	if err != nil {
		t.Fatal(err)
	}
	text, err := i.Sign(template, began)
	if err != nil {
		t.Fatal(err)
	}
	if chain, err = pemfile.Certificates(text); err != nil {
		t.Fatal(err)
	}
	return i.Roots()[0], chain
}

// TestKeptIsAHolder holds that an object counts as under a root only if every certificate that one of its readers may have is,
// and lasts as long as the last of them.
func TestKeptIsAHolder(t *testing.T) {
	rootA, ofA := certified(t, time.Hour)
	rootB, ofB := certified(t, 2*time.Hour)
	_, foreign := certified(t, time.Hour)
	for _, test := range []struct {
		name   string
		chains [][]*x509.Certificate
		want   []string
		ends   time.Duration
	}{
		{"one", [][]*x509.Certificate{ofA}, []string{name(rootA)}, time.Hour},
		{"two of one root", [][]*x509.Certificate{ofA, ofA}, []string{name(rootA)}, time.Hour},
		{"two of two roots", [][]*x509.Certificate{ofA, ofB}, nil, 2 * time.Hour},
		{"two of two roots, the other first", [][]*x509.Certificate{ofB, ofA}, nil, 2 * time.Hour},
		{"one and what is not known", [][]*x509.Certificate{ofA, nil}, nil, time.Hour},
		{"one, what is not known and one", [][]*x509.Certificate{ofA, nil, ofA}, nil, time.Hour},
		{"nothing is known", [][]*x509.Certificate{nil}, nil, 72 * time.Hour},
		{"what is under no root", [][]*x509.Certificate{foreign}, nil, time.Hour},
	} {
		t.Run(test.name, func(t *testing.T) {
			k := Kept{Namespace: "shop", Object: "secret/a", Bundle: "0123456789abcdef0123", Chains: test.chains}
			if len(test.chains) == 1 && test.chains[0] == nil {
				k.Until = began.Add(test.ends)
			}
			got := k.holder([]*x509.Certificate{rootA, rootB})
			want := &Holder{Namespace: "shop", Pod: "secret/a", Bundle: "0123456789abcdef", Roots: test.want, Issued: began, Ends: began.Add(test.ends)}
			if test.chains[0] == nil {
				want.Issued = time.Time{}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
