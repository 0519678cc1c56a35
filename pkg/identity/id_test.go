package identity_test

import (
	"crypto/x509"
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xinhari/xinhari/pkg/identity"
)

func TestParseID(t *testing.T) {
	const tail = "/ns/shop/sa/orders"
	for _, tt := range []struct {
		name, in string
		want     identity.ID
		refused  bool
	}{
		{name: "plain", in: "spiffe://cluster.local/ns/shop/sa/orders", want: identity.ID{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "orders"}},
		{name: "an account with dots", in: "spiffe://local/ns/a-b/sa/x.y-z.0", want: identity.ID{TrustDomain: "local", Namespace: "a-b", ServiceAccount: "x.y-z.0"}},
		{name: "a trust domain with an underscore", in: "spiffe://a_b-c.d" + tail, want: identity.ID{TrustDomain: "a_b-c.d", Namespace: "shop", ServiceAccount: "orders"}},
		{name: "the longest parts", in: "spiffe://" + strings.Repeat("t", 255) + "/ns/" + strings.Repeat("n", 63) + "/sa/" + strings.Repeat("s", 253),
			want: identity.ID{TrustDomain: strings.Repeat("t", 255), Namespace: strings.Repeat("n", 63), ServiceAccount: strings.Repeat("s", 253)}},
		{name: "nothing", in: "", refused: true},
		{name: "another scheme", in: "https://cluster.local" + tail, refused: true},
		{name: "an upper-case scheme", in: "SPIFFE://cluster.local" + tail, refused: true},
		{name: "an upper-case trust domain", in: "spiffe://Cluster.local" + tail, refused: true},
		{name: "no trust domain", in: "spiffe://" + tail, refused: true},
		{name: "a trust domain too long", in: "spiffe://" + strings.Repeat("t", 256) + tail, refused: true},
		{name: "a trust domain of dots", in: "spiffe://.." + tail, refused: true},
		{name: "a port", in: "spiffe://cluster.local:443" + tail, refused: true},
		{name: "a user", in: "spiffe://root@cluster.local" + tail, refused: true},
		{name: "a query", in: "spiffe://cluster.local" + tail + "?a=b", refused: true},
		{name: "an empty query", in: "spiffe://cluster.local" + tail + "?", refused: true},
		{name: "a fragment", in: "spiffe://cluster.local" + tail + "#a", refused: true},
		{name: "an escape", in: "spiffe://cluster.local/ns/shop/sa/%6frders", refused: true},
		{name: "a trailing slash", in: "spiffe://cluster.local" + tail + "/", refused: true},
		{name: "a double slash", in: "spiffe://cluster.local//ns/shop/sa/orders", refused: true},
		{name: "a path that climbs", in: "spiffe://cluster.local/ns/shop/sa/..", refused: true},
		{name: "another path", in: "spiffe://cluster.local/workload", refused: true},
		{name: "a namespace with a dot", in: "spiffe://cluster.local/ns/shop.x/sa/orders", refused: true},
		{name: "a namespace too long", in: "spiffe://cluster.local/ns/" + strings.Repeat("n", 64) + "/sa/orders", refused: true},
		{name: "an upper-case account", in: "spiffe://cluster.local/ns/shop/sa/Orders", refused: true},
		{name: "an account that ends in a dash", in: "spiffe://cluster.local/ns/shop/sa/orders-", refused: true},
		{name: "an account with an empty label", in: "spiffe://cluster.local/ns/shop/sa/a..b", refused: true},
		{name: "an account too long", in: "spiffe://cluster.local/ns/shop/sa/" + strings.Repeat("s", 254), refused: true},
		{name: "a line break", in: "spiffe://cluster.local/ns/shop/sa/orders\n", refused: true},
		{name: "no ASCII", in: "spiffe://cluster.local/ns/shop/sa/ördérs", refused: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := identity.ParseID(tt.in)
			if tt.refused {
				if !errors.Is(err, identity.ErrInvalidID) {
					t.Fatalf("ParseID(%q) = %v, %v; want ErrInvalidID", tt.in, got, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("ParseID (-want +got):\n%s", diff)
			}
			if got.String() != tt.in || got.URL().String() != tt.in {
				t.Errorf("String() = %q, URL() = %q, want %q", got, got.URL(), tt.in)
			}
		})
	}
}

func TestIDOf(t *testing.T) {
	id := identity.ID{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "orders"}
	for _, tt := range []struct {
		name string
		uris []*url.URL
		want identity.ID
	}{
		{name: "one", uris: []*url.URL{id.URL()}, want: id},
		{name: "none"},
		{name: "two", uris: []*url.URL{id.URL(), id.URL()}},
		{name: "of another form", uris: []*url.URL{{Scheme: "https", Host: "cluster.local", Path: "/ns/shop/sa/orders"}}},
		{name: "opaque", uris: []*url.URL{{Scheme: "spiffe", Opaque: "cluster.local/ns/shop/sa/orders"}}},
		{name: "with a user", uris: []*url.URL{{Scheme: "spiffe", Host: "cluster.local", Path: "/ns/shop/sa/orders", User: url.User("root")}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := identity.IDOf(&x509.Certificate{URIs: tt.uris})
			if got != tt.want || (err == nil) != (tt.want != identity.ID{}) {
				t.Errorf("IDOf = %v, %v; want %v", got, err, tt.want)
			}
			if err != nil && !errors.Is(err, identity.ErrInvalidID) {
				t.Errorf("IDOf: %v does not match ErrInvalidID", err)
			}
		})
	}
	if _, err := identity.IDOf(nil); !errors.Is(err, identity.ErrInvalidID) {
		t.Errorf("IDOf(nil): %v", err)
	}
}

// FuzzParseID holds that one ID has one spelling, and that url.Parse agrees
// with us about what that spelling says.
func FuzzParseID(f *testing.F) {
	for _, s := range []string{
		"spiffe://cluster.local/ns/shop/sa/orders", "spiffe://local/ns/default/sa/a.b", "spiffe://a@b/ns/c/sa/d",
		"spiffe://a:1/ns/c/sa/d?x#y", "spiffe:////", "spiffe://../ns/../sa/..", "spiffe://%61/ns/c/sa/d",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := identity.ParseID(s)
		if err != nil {
			if !errors.Is(err, identity.ErrInvalidID) || id != (identity.ID{}) {
				t.Fatalf("ParseID(%q) = %v, %v", s, id, err)
			}
			return
		}
		if id.String() != s {
			t.Fatalf("ParseID(%q).String() = %q", s, id)
		}
		u, err := url.Parse(s)
		if err != nil {
			t.Fatalf("url.Parse(%q): %v", s, err)
		}
		if diff := cmp.Diff(id.URL(), u); diff != "" {
			t.Fatalf("url.Parse(%q) (-ours +url):\n%s", s, diff)
		}
	})
}
