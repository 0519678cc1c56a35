package trust

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
	"github.com/xinhari/xinhari/controllers/signer/issuer"
)

// signed returns a request of pod shop/orders-0, signed by an issuer, as a source with a bundle.
func signed(t testing.TB, i *issuer.Issuer, uid, source, bundle, version string, issued time.Time, life time.Duration) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := i.Sign(&x509.Certificate{
		NotBefore: issued.Add(-2 * time.Minute), NotAfter: issued.Add(life), PublicKey: key.Public(), KeyUsage: x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, issued)
	if err != nil {
		t.Fatal(err)
	}
	r := &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{UID: types.UID(uid), ResourceVersion: version, Annotations: map[string]string{}},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			Username: "system:serviceaccount:shop:orders",
			Extra: map[string]certificatesv1.ExtraValue{
				"authentication.kubernetes.io/pod-name": {"orders-0"}, "authentication.kubernetes.io/pod-uid": {"pod-1"},
			},
		},
		Status: certificatesv1.CertificateSigningRequestStatus{Certificate: chain},
	}
	if source != "" {
		r.Annotations[xinhariv1alpha1.AnnotationSource] = source
	}
	if bundle != "" {
		r.Annotations[xinhariv1alpha1.AnnotationBundleHash] = bundle
	}
	return r
}

func newIssuer(t testing.TB, now time.Time) *issuer.Issuer {
	t.Helper()
	data, err := issuer.New("cluster.local", now)
	if err != nil {
		t.Fatal(err)
	}
	i, err := issuer.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

const (
	called = "0123456789abcdef"
	zero   = "0000000000000000000000000000000000000000000000000000000000000000"
)

func TestHolderOf(t *testing.T) {
	a, b := newIssuer(t, began), newIssuer(t, began)
	roots := []*x509.Certificate{a.Certificate(), b.Certificate()}
	got := holderOf(signed(t, b, "1", called, zero, "7", began, time.Hour), roots)
	want := &Holder{
		Namespace: "shop", Pod: "orders-0", UID: "pod-1", Source: called, Bundle: zero[:16], Roots: []string{name(b.Certificate())},
		Issued: began, Ends: began.Add(time.Hour), Version: "7",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("holder (-want +got):\n%s", diff)
	}
	again, err := parseRecord(got.key(), got.record())
	if diff := cmp.Diff(want, again); diff != "" || err != nil {
		t.Errorf("record %q is read as another, %v (-want +got):\n%s", got.record(), err, diff)
	}
	// What is not of the form that the admission policy lets in counts as not said.
	for _, bad := range []string{"", "0123456789abcde", "0123456789abcdeg", "0123456789ABCDEF", called + "0"} {
		h := holderOf(signed(t, a, "1", bad, strings.ToUpper("a"+zero[1:]), "7", began, time.Hour), roots)
		if !strings.HasPrefix(h.Source, "leaf-") || h.Bundle != "" {
			t.Errorf("source %q is taken for %q, with bundle %q", bad, h.Source, h.Bundle)
		}
	}
	if one, other := holderOf(signed(t, a, "1", "", "", "7", began, time.Hour), roots), holderOf(signed(t, a, "2", "", "", "8", began, time.Hour), roots); one.key() == other.key() {
		t.Error("two certificates of runtimes without a name are one holder")
	}
	person := signed(t, a, "1", called, zero, "7", began, time.Hour)
	person.Spec.Username = "jane"
	cut := signed(t, a, "1", called, zero, "7", began, time.Hour)
	cut.Status.Certificate = cut.Status.Certificate[:100]
	for _, r := range []*certificatesv1.CertificateSigningRequest{person, cut, {}} {
		if h := holderOf(r, roots); h != nil {
			t.Errorf("%+v holds something", h)
		}
	}
}

// only returns the one holder of a ledger.
func only(t *testing.T, l *ledger) *Holder {
	t.Helper()
	all := l.all()
	if len(all) != 1 {
		t.Fatalf("there are %d holders", len(all))
	}
	return all[0]
}

func TestLedgerKeepsTheNewest(t *testing.T) {
	h := func(version string, issued time.Duration, bundle string) *Holder {
		return &Holder{UID: "pod-1", Source: called, Bundle: bundle, Roots: []string{"a"}, Issued: began.Add(issued), Ends: began.Add(issued + time.Hour), Version: version}
	}
	first, second, third := h("9", 0, "old"), h("10", 0, "new"), h("8", time.Second, "newest")
	for _, order := range [][]*Holder{{first, second, third}, {third, second, first}, {second, first, third}} {
		l := newLedger()
		for i, one := range order {
			l.fold(types.UID(fmt.Sprint(i)), one, began)
		}
		if got := only(t, l); got.Bundle != "newest" {
			t.Errorf("the newest is %+v", got)
		}
	}
	// Of two certificates of one second, after a restart too.
	for _, restored := range []*Holder{first, second} {
		for _, order := range [][]*Holder{{first, second}, {second, first}} {
			l := newLedger()
			l.restore(restored)
			for i, one := range order {
				l.fold(types.UID(fmt.Sprint(i)), one, began)
			}
			if got := only(t, l); got.Bundle != "new" {
				t.Errorf("the newest is %+v", got)
			}
		}
	}
	l := newLedger()
	l.restore(third)
	l.fold("late", h("11", 0, "old"), began)
	if got := only(t, l); got.Bundle != "newest" {
		t.Errorf("what was signed before replaced what is recorded: %+v", got)
	}
}

func TestLedgerAfterARestart(t *testing.T) {
	h := &Holder{UID: "pod-1", Source: called, Bundle: "ab", Roots: []string{"a"}, Issued: began, Ends: began.Add(time.Hour), Version: "7"}
	l := newLedger()
	l.fold("1", h, began)
	l.disown("other")
	if got := only(t, l); got.Bundle != "ab" {
		t.Errorf("another's acknowledgement is void: %+v", got)
	}
	l.disown("ab")
	if got := only(t, l); got.Bundle == "ab" {
		t.Error("an acknowledgement of before counts for what is distributed anew")
	}
	record, err := parseRecord(h.key(), only(t, l).record())
	if err != nil {
		t.Fatal(err)
	}
	again := newLedger()
	again.restore(record)
	seen := *h
	seen.Roots = nil // its root is not among the known ones any more
	again.fold("1", &seen, began)
	if got := only(t, again); got.Bundle == "ab" || !cmp.Equal(got.Roots, []string{"a"}) {
		t.Errorf("after a restart the request that is still there makes it %+v", got)
	}
	if pages := again.pages(began); len(pages) > 0 {
		t.Errorf("what is recorded is to be written: %v", pages)
	}
}

func TestLedgerRecords(t *testing.T) {
	l := newLedger()
	if l.needsFlush(began) || l.recorded("1") {
		t.Error("an empty ledger has recorded something")
	}
	h := &Holder{UID: "pod-1", Source: called, Issued: began, Ends: began.Add(time.Hour), Version: "7"}
	l.fold("1", h, began)
	if !l.needsFlush(began) || l.recorded("1") {
		t.Error("a request may go before it is recorded")
	}
	pages := l.pages(began)
	if want := map[int]map[string]string{shardOf(h.key()): {h.key(): h.record()}}; !cmp.Equal(want, pages) {
		t.Errorf("pages are %v", pages)
	}
	l.fold("2", nil, began) // comes after the pages were made
	l.written(shardOf(h.key()))
	l.flushed()
	if !l.recorded("1") || l.needsFlush(began) {
		t.Error("a request is not recorded after it was")
	}
	l.keep(map[types.UID]bool{"2": true})
	if l.knows("1") || !l.knows("2") {
		t.Error("requests that are gone are known, or others are not")
	}
	// What ran out goes, in its time.
	if pages := l.pages(began.Add(time.Hour)); len(pages) != 1 || len(pages[shardOf(h.key())]) > 0 {
		t.Errorf("pages are %v", pages)
	}
	if left := l.all(); len(left) > 0 {
		t.Errorf("%d holders are left", len(left))
	}
	l.fold("3", h, began)
	l.gone("pod-1")
	if left := l.all(); len(left) > 0 {
		t.Error("a pod that is gone is there")
	}
}

// TestLedgerIsBounded holds that a pod which asks again and again is not many.
func TestLedgerIsBounded(t *testing.T) {
	l := newLedger()
	for i := range 10 * perPod {
		l.fold(types.UID(fmt.Sprint(i)), &Holder{UID: "pod-1", Source: fmt.Sprint(i), Issued: began.Add(time.Duration(i) * time.Second), Ends: began.Add(time.Hour)}, began)
	}
	for _, h := range l.all() {
		if h.Issued.Before(began.Add((9*perPod - 1) * time.Second)) {
			t.Fatalf("the holder of %v is kept", h.Issued)
		}
	}
	if n := len(l.all()); n != perPod {
		t.Errorf("one pod is %d holders", n)
	}
}

// FuzzParseRecord holds that nothing in a ConfigMap makes the operator panic, and that a record is read as it was written.
func FuzzParseRecord(f *testing.F) {
	h := &Holder{Namespace: "shop", Pod: "orders-0", UID: "pod-1", Source: called, Bundle: "ab", Roots: []string{"a", "b"}, Issued: began, Ends: began.Add(time.Hour), Version: "7"}
	f.Add(h.key(), h.record())
	f.Add("", "")
	f.Fuzz(func(t *testing.T, key, value string) {
		h, err := parseRecord(key, value)
		if err != nil {
			return
		}
		again, err := parseRecord(h.key(), h.record())
		if diff := cmp.Diff(h, again); diff != "" || err != nil {
			t.Fatalf("%v:\n%s", err, diff)
		}
	})
}

// FuzzParseState holds that nothing in a ConfigMap makes the operator panic.
func FuzzParseState(f *testing.F) {
	text, err := newCluster().state.text()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(_ *testing.T, text string) {
		if s, err := parseState(text); err == nil {
			c := newCluster()
			c.state = s
			c.settleDown()
		}
	})
}

func BenchmarkFold(b *testing.B) {
	i := newIssuer(b, began)
	r := signed(b, i, "1", called, zero, "7", began, time.Hour)
	roots := i.Roots()
	b.ReportAllocs()
	for b.Loop() {
		holderOf(r, roots)
	}
}
