package issuer

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSigningIsReadAsItWasWritten(t *testing.T) {
	root, next, old := certify(t, "root", key(t), nil, nil), certify(t, "next", key(t), nil, nil), certify(t, "old", key(t), nil, nil)
	d := data(t, root, nil, root)
	i, err := Parse(d)
	if err != nil {
		t.Fatal(err)
	}
	written := SigningData(d, i, i.roots[:0:0], nil)
	if again, err := ParseSigning(written); err != nil || again.Issuer.ID() != i.ID() || len(again.Bundle()) != 1 || again.Damaged {
		t.Errorf("the issuer alone is read as %+v, %v", again, err)
	}
	written[KeyNext], written[KeyRetiring] = append(next.pem(), root.pem()...), old.pem()
	again, err := ParseSigning(written)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, cert := range again.Bundle() {
		names = append(names, cert.Subject.CommonName)
	}
	if diff := cmp.Diff([]string{"root", "next", "old"}, names); diff != "" {
		t.Errorf("bundle (-want +got):\n%s", diff)
	}
	written[KeyNext] = []byte("none")
	if again, err = ParseSigning(written); err != nil || !again.Damaged || len(again.Retiring) != 1 {
		t.Errorf("a list that cannot be read: %+v, %v", again, err)
	}
}

func TestMade(t *testing.T) {
	own, err := New("cluster.local", now)
	if err != nil {
		t.Fatal(err)
	}
	company := certify(t, "Company", key(t), nil, nil)
	for _, test := range []struct {
		name, domain string
		data         map[string][]byte
		want         bool
	}{
		{"an own root", "cluster.local", own, true},
		{"an own root of another trust domain", "example.org", own, false},
		{"one that was brought", "cluster.local", data(t, company, nil, company), false},
		{"an own root with another beside it", "cluster.local", map[string][]byte{
			"tls.crt": own["tls.crt"], "tls.key": own["tls.key"], KeyRoots: append(company.pem(), own[KeyRoots]...),
		}, false},
	} {
		i, err := Parse(test.data)
		if err != nil || i.Made(test.domain) != test.want {
			t.Errorf("%s: made is not %v, %v", test.name, test.want, err)
		}
	}
}
