package kubesource

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
	"github.com/xinhari/xinhari/internal/kubekinds"
	"github.com/xinhari/xinhari/internal/kubewatch"
	"github.com/xinhari/xinhari/pkg/identity"
)

func TestNewRefuses(t *testing.T) {
	for _, test := range []struct {
		name   string
		config *rest.Config
		o      Options
	}{
		{"no configuration", nil, Options{Namespace: "shop"}},
		{"no namespace", &rest.Config{}, Options{}},
		{"a token file that is not there", &rest.Config{Host: "localhost", BearerTokenFile: "/nowhere/token"}, Options{Namespace: "shop"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := New(test.config, test.o); err == nil {
				t.Error("taken")
			}
		})
	}
}

// TestPace holds what the API server is asked of: within a quarter of a second
// often enough to see a certificate soon after it is there, and little after.
func TestPace(t *testing.T) {
	looks := func(took, until time.Duration) (n int, longest time.Duration) {
		var p pace
		for at := time.Duration(0); at < until; n++ {
			wait := p.next(took)
			longest = max(longest, wait)
			at += wait + took
		}
		return n, longest
	}
	for _, test := range []struct {
		name        string
		took, until time.Duration
		least, most int
		longest     time.Duration
	}{
		{"at first", time.Millisecond, 250 * time.Millisecond, 4, 7, 190 * time.Millisecond},
		{"in 10 s", time.Millisecond, 10 * time.Second, 12, 20, 2400 * time.Millisecond},
		{"in an hour", time.Millisecond, time.Hour, 1500, 2300, 2400 * time.Millisecond},
		{"of one that takes 300 ms to answer, in 3 s", 300 * time.Millisecond, 3 * time.Second, 3, 5, 2400 * time.Millisecond},
		{"of one that takes 10 s to answer, in a minute", 10 * time.Second, time.Minute, 5, 6, 2400 * time.Millisecond},
	} {
		t.Run(test.name, func(t *testing.T) {
			n, longest := looks(test.took, test.until)
			if n < test.least || n > test.most || longest > test.longest {
				t.Errorf("%d looks, the longest pause %s; want %d to %d, at most %s", n, longest, test.least, test.most, test.longest)
			}
		})
	}
}

func TestRequestName(t *testing.T) {
	for _, test := range []struct{ name, pod, want string }{
		{"a pod of a Deployment", "orders-7d9f8-x2x4z", "xinhari-orders-7d9f8-x2x4z-"},
		{"no name", "", "xinhari-"},
		{"what no object is named like", "-Ä_My.Host.", "xinhari-my-host-"},
		{"a long name", strings.Repeat("a", 253), "xinhari-" + strings.Repeat("a", maxHint) + "-"},
		{"a name that is cut at a hyphen", strings.Repeat("a", maxHint-1) + "-b", "xinhari-" + strings.Repeat("a", maxHint-1) + "-"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := requestName(test.pod)
			random := strings.TrimPrefix(got, test.want)
			if len(got) > 128 || random == got || len(random) != 26 || random != strings.ToLower(random) || got == requestName(test.pod) {
				t.Errorf("got %q, want %q and 26 random characters", got, test.want)
			}
		})
	}
}

func claims(text string) string {
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(text)) + ".c2ln"
}

func TestTokenAccount(t *testing.T) {
	for _, test := range []struct{ name, token, want string }{
		{"a ServiceAccount's", claims(`{"sub":"system:serviceaccount:shop:orders","aud":["x"]}`), "orders"},
		{"a person's", claims(`{"sub":"alice"}`), ""},
		{"a node's", claims(`{"sub":"system:node:shop:orders"}`), ""},
		{"one with a colon more", claims(`{"sub":"system:serviceaccount:shop:orders:x"}`), ""},
		{"one without a subject", claims(`{}`), ""},
		{"one that is no JSON", claims(`{`), ""},
		{"one that is no base64", "e30.$$$.c2ln", ""},
		{"one of two parts", "e30.e30", ""},
		{"none", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := tokenAccount(test.token); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func FuzzTokenAccount(f *testing.F) {
	f.Add(claims(`{"sub":"system:serviceaccount:shop:orders"}`))
	f.Add("..")
	f.Fuzz(func(t *testing.T, token string) {
		if got := tokenAccount(token); strings.Contains(got, ":") {
			t.Errorf("account %q", got)
		}
	})
}

func TestVerdict(t *testing.T) {
	condition := func(kind kubekinds.RequestConditionType, status metav1.ConditionStatus) kubekinds.CertificateSigningRequestCondition {
		return kubekinds.CertificateSigningRequestCondition{Type: kind, Status: status, Reason: "WeakKey", Message: "make one that is"}
	}
	for _, test := range []struct {
		name   string
		status kubekinds.CertificateSigningRequestStatus
		want   string // of the error; "" is pending
	}{
		{"nothing yet", kubekinds.CertificateSigningRequestStatus{}, ""},
		{"approved", kubekinds.CertificateSigningRequestStatus{Conditions: []kubekinds.CertificateSigningRequestCondition{
			condition(kubekinds.CertificateApproved, metav1.ConditionTrue),
		}}, ""},
		{"denied", kubekinds.CertificateSigningRequestStatus{Conditions: []kubekinds.CertificateSigningRequestCondition{
			condition(kubekinds.CertificateDenied, metav1.ConditionTrue),
		}}, "request r was denied (WeakKey): make one that is"},
		{"approved, and failed with a certificate", kubekinds.CertificateSigningRequestStatus{Conditions: []kubekinds.CertificateSigningRequestCondition{
			condition(kubekinds.CertificateApproved, metav1.ConditionTrue), condition(kubekinds.CertificateFailed, metav1.ConditionTrue),
		}, Certificate: []byte("x")}, "request r failed (WeakKey): make one that is"},
		{"a condition that is not true", kubekinds.CertificateSigningRequestStatus{Conditions: []kubekinds.CertificateSigningRequestCondition{
			condition(kubekinds.CertificateFailed, metav1.ConditionFalse),
		}}, ""},
		{"a certificate that is none", kubekinds.CertificateSigningRequestStatus{Certificate: []byte("x")}, "request r: there is no certificate"},
	} {
		t.Run(test.name, func(t *testing.T) {
			chain, err := verdict(&kubekinds.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{Name: "r"}, Status: test.status})
			switch {
			case chain != nil:
				t.Errorf("got %v", chain)
			case test.want == "" && err != nil:
				t.Errorf("got %v, want pending", err)
			case test.want != "" && (!errors.Is(err, identity.ErrRefused) || !strings.HasSuffix(err.Error(), test.want)):
				t.Errorf("got %v, want ErrRefused with %q", err, test.want)
			}
		})
	}
}

// service returns a Service of namespace shop.
func service(name string, spec xinhariv1alpha1.ServiceSpec) *xinhariv1alpha1.Service {
	return &xinhariv1alpha1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Spec: spec}
}

func synced(all ...*xinhariv1alpha1.Service) snapshot {
	return snapshot{Objects: all, Synced: time.Unix(1, 0)}
}

func selecting(app string) xinhariv1alpha1.ServiceSpec {
	return xinhariv1alpha1.ServiceSpec{Selector: xinhariv1alpha1.Labels{"app": xinhariv1alpha1.LabelValue(app)}}
}

func TestPendingReason(t *testing.T) {
	of := func(account string, s xinhariv1alpha1.ServiceSpec) xinhariv1alpha1.ServiceSpec {
		s.ServiceAccountName = account
		return s
	}
	const (
		mend     = "make a Service whose serviceAccountName (or, if omitted, whose name) is orders and whose selector matches this pod's labels"
		operator = "the operator does not run or cannot sign now"
	)
	denied := &kubewatch.PermissionError{Verb: "list", Resource: "services.xinhari.com", Namespace: "shop", Err: errors.New("forbidden")}
	for _, test := range []struct {
		name    string
		s       snapshot
		watched bool
		account string
		want    []string
		not     string
	}{
		{"without a catalog", snapshot{}, false, "orders", []string{"namespace shop", mend, operator}, ""},
		{"without an account", synced(), true, "", []string{"is the pod's account", operator}, ""},
		{"before the Services are known", snapshot{}, true, "orders", []string{mend, operator}, "names account"},
		{"while the API server is away", snapshot{Err: errors.New("refused")}, true, "orders", []string{mend, "cannot be read: refused"}, "names account"},
		{"no right to read Services, which the first Service gives", snapshot{Err: denied}, true, "orders", []string{"no Service of namespace shop names account orders: " + mend}, operator},
		{"no Service", synced(service("inventory", selecting("orders"))), true, "orders", []string{"no Service of namespace shop names account orders: " + mend}, operator},
		{"another selector", synced(service("orders", selecting("shop"))), true, "orders", []string{"Service orders names account orders and its selector {app: shop} does not match this pod's labels", operator}, mend},
		{"two Services, one without a selector", synced(service("a", of("orders", selecting("x"))), service("b", of("orders", xinhariv1alpha1.ServiceSpec{}))), true, "orders",
			[]string{"Service a names account orders and its selector {app: x} does not", "Service b names account orders and has no selector"}, mend},
		{"one that selects all", synced(service("orders", xinhariv1alpha1.ServiceSpec{ClientOnly: true})), true, "orders", []string{"should account for this pod", operator}, "does not match"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := pendingReason(test.s, test.watched, "shop", test.account)
			for _, want := range test.want {
				if !strings.Contains(got, want) {
					t.Errorf("got %q, want it to say %q", got, want)
				}
			}
			if test.not != "" && strings.Contains(got, test.not) {
				t.Errorf("got %q, which says %q", got, test.not)
			}
		})
	}
}

func TestWish(t *testing.T) {
	id := identity.ID{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "orders"}
	one := synced(service("orders", selecting("orders")))
	other := service("inventory", selecting("orders"))
	other.Spec.ServiceAccountName = "orders"
	two := synced(other, service("orders", selecting("orders")))
	for _, test := range []struct {
		name   string
		made   snapshot // what the certificate was made of
		before snapshot // what was seen then
		after  snapshot
		want   bool
	}{
		{"nothing changed", one, one, one, false},
		{"a Service more", one, one, two, true},
		{"a Service less", two, two, one, true},
		{"none left", one, one, synced(), true},
		{"the Services were not known, and are the same", one, snapshot{}, one, false},
		{"the Services were not known, and are others", one, snapshot{}, two, true},
		{"the Services are not known any more", one, one, snapshot{Err: errors.New("away")}, false},
		{"the signer was behind, and nothing changes", one, two, two, true},
		{"the signer was ahead", two, one, two, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newServices()
			s.set(test.before)
			if _, got := s.wish(true); got {
				t.Error("a wish before there is a certificate")
			}
			s.issued(id, basisFor(test.made))
			s.set(test.after)
			if _, got := s.wish(false); got != test.want {
				t.Errorf("wish is %v, want %v", got, test.want)
			}
			if _, got := s.wish(true); got != test.want {
				t.Errorf("wish to take is %v, want %v", got, test.want)
			}
			if _, got := s.wish(true); got {
				t.Error("the same wish twice")
			}
		})
	}
}

// basisFor is what a signer says that sees this.
func basisFor(seen snapshot) basis {
	return basis(xinhariv1alpha1.CertificateBasis(seen.Objects, "orders"))
}

func TestWishThatPasses(t *testing.T) {
	type outcome struct {
		InVain int
		Wished bool
	}
	id := identity.ID{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "orders"}
	s := newServices()
	a, b := synced(service("orders", selecting("a"))), synced(service("orders", selecting("b")))
	var got []outcome
	look := func() {
		inVain, wished := s.wish(true)
		got = append(got, outcome{inVain, wished})
	}
	s.set(a)
	s.issued(id, basisFor(a))
	for _, now := range []snapshot{b, a, b, a} {
		s.set(now)
		look()
	}
	s.issued(id, basisFor(b)) // made while it was b, and it is a again
	look()
	s.issued(id, basisFor(a))
	look()
	s.set(b)
	look()
	for range 2 { // the signer is behind
		s.issued(id, basisFor(a))
		look()
	}
	s.issued(id, basisFor(b))
	look()
	s.set(a)
	s.issued(id, "") // whoever signed does not say
	look()
	s.set(b)
	look()
	want := []outcome{{0, true}, {}, {}, {}, {0, true}, {}, {0, true}, {1, true}, {2, true}, {}, {}, {0, true}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("wishes (-want +got):\n%s", diff)
	}
}
