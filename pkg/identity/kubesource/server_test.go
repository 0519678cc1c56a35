package kubesource

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
	"github.com/xinhari/xinhari/internal/pemfile"
	"github.com/xinhari/xinhari/pkg/identity"
)

// faulty is an API server with what a real one cannot be made to do: to each
// method it answers with the next of the answers, and with the last ones again.
type faulty struct {
	*httptest.Server

	mu    sync.Mutex
	posts []answer
	gets  []answer
	asked []string // method and query
}

type answer func(w http.ResponseWriter, made *certificatesv1.CertificateSigningRequest)

func newFaulty(t *testing.T, posts, gets []answer) *faulty {
	t.Helper()
	f := &faulty{posts: posts, gets: gets}
	var made *certificatesv1.CertificateSigningRequest
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.asked = append(f.asked, r.Method+" "+r.URL.RawQuery)
		queue := &f.gets
		if r.Method == http.MethodPost {
			queue = &f.posts
			made = new(certificatesv1.CertificateSigningRequest)
			if err := json.NewDecoder(r.Body).Decode(made); err != nil {
				t.Error(err)
			}
			made.UID, made.ResourceVersion = "u", "7"
		}
		next := (*queue)[0]
		if len(*queue) > 1 {
			*queue = (*queue)[1:]
		}
		f.mu.Unlock()
		next(w, made)
	}))
	t.Cleanup(f.Close)
	return f
}

// driver is one with short timing.
func (f *faulty) driver(t *testing.T) *driver {
	t.Helper()
	d, err := newDriver(&rest.Config{Host: f.URL}, Options{Namespace: "shop", Account: "orders"})
	if err != nil {
		t.Fatal(err)
	}
	d.timing = timing{answer: 1500 * time.Millisecond, quiet: time.Hour, excess: 200 * time.Millisecond, spread: time.Millisecond, issuer: time.Millisecond}
	return d
}

// queries returns what was asked with a method.
func (f *faulty) queries(method string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []string
	for _, a := range f.asked {
		if q, ok := strings.CutPrefix(a, method+" "); ok {
			all = append(all, q)
		}
	}
	return all
}

func write(w http.ResponseWriter, code int, o any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(o)
}

func pending(w http.ResponseWriter, made *certificatesv1.CertificateSigningRequest) {
	write(w, 200, made)
}

func status(code int32, reason metav1.StatusReason) answer {
	return func(w http.ResponseWriter, _ *certificatesv1.CertificateSigningRequest) {
		write(w, int(code), metav1.Status{
			TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Code: code, Reason: reason, Message: "so it is",
		})
	}
}

// busy is how an API server sheds load.
func busy(w http.ResponseWriter, _ *certificatesv1.CertificateSigningRequest) {
	w.Header().Set("Retry-After", "1")
	http.Error(w, "Too many requests, please try again later.", http.StatusTooManyRequests)
}

func dropped(w http.ResponseWriter, _ *certificatesv1.CertificateSigningRequest) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		_ = conn.Close()
	}
}

// lost reads until the client gives up.
func lost(w http.ResponseWriter, _ *certificatesv1.CertificateSigningRequest) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
	}
}

func denied(reason string) answer {
	return func(w http.ResponseWriter, made *certificatesv1.CertificateSigningRequest) {
		r := made.DeepCopy()
		r.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{
			Type: certificatesv1.CertificateDenied, Status: corev1.ConditionTrue, Reason: reason, Message: "wait",
		}}
		write(w, 200, r)
	}
}

func another(w http.ResponseWriter, made *certificatesv1.CertificateSigningRequest) {
	r := made.DeepCopy()
	r.UID = "v"
	write(w, 200, r)
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// signed answers with a certificate of an ID that was made of some Services.
func signed(t *testing.T, id identity.ID, of basis) answer {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), URIs: []*url.URL{id.URL()}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return func(w http.ResponseWriter, made *certificatesv1.CertificateSigningRequest) {
		r := made.DeepCopy()
		r.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{
			Type: xinhariv1alpha1.ConditionBasis, Status: corev1.ConditionTrue, Reason: "Signed", Message: string(of),
		}}
		r.Status.Certificate = pemfile.EncodeCertificates(cert)
		write(w, 200, r)
	}
}

// tolds keeps what the driver waited for.
type tolds struct{ all []string }

func (w *tolds) tell(why error) {
	if why != nil {
		w.all = append(w.all, why.Error())
	}
}

func TestFaultyServer(t *testing.T) {
	good := signed(t, identity.ID{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "orders"}, "")
	created := []answer{pending}
	for _, test := range []struct {
		name        string
		posts, gets []answer
		want        string        // of the error, "" for none
		told        string        // meanwhile
		least       time.Duration // it takes
		asked       int           // GETs
	}{
		{"signed after three looks", created, []answer{pending, pending, good}, "", "", 0, 3},
		{"the API server asks to hold back", []answer{busy}, nil, "try again later", "try again later", 200 * time.Millisecond, 0},
		{"it asks to hold back and does not say how long", []answer{status(429, metav1.StatusReasonTooManyRequests)}, nil, "so it is", "so it is", 200 * time.Millisecond, 0},
		{"it asks to hold back while a request is pending", created, []answer{busy, good}, "", "try again later", 200 * time.Millisecond, 2},
		{"it drops connections while a request is pending", created, []answer{dropped, dropped, good}, "", "closed without an answer", 0, 3},
		{"it is silent while a request is pending", created, []answer{lost, good}, "", "does not answer within 1.5s", 1500 * time.Millisecond, 2},
		{"it fails while a request is pending", created, []answer{status(500, metav1.StatusReasonInternalError), good}, "", "so it is", 0, 2},
		{"it drops the connection that asks", []answer{dropped}, nil, "closed without an answer", "closed", 0, 0},
		{"it is silent when asked", []answer{lost}, nil, "the API server does not answer within 1.5s", "does not answer", 1500 * time.Millisecond, 0},
		{"it has no such resource", []answer{status(404, metav1.StatusReasonNotFound)}, nil, "the API server has no certificatesigningrequests.certificates.k8s.io", "has no", 0, 0},
		{"it refuses the request", []answer{status(422, metav1.StatusReasonInvalid)}, nil, "create certificatesigningrequests: so it is", "so it is", 0, 0},
		{"a token that is not taken", []answer{status(401, metav1.StatusReasonUnauthorized)}, nil, "does not take this pod's token", "token", 0, 0},
		{"a right that is missing", []answer{status(403, metav1.StatusReasonForbidden)}, nil, "no permission to create certificatesigningrequests", "xinhari-requester", 0, 0},
		{"a right that is missing later", created, []answer{status(403, metav1.StatusReasonForbidden), good}, "", "no permission to get certificatesigningrequests", 0, 2},
		{"a request that is deleted", created, []answer{pending, status(404, metav1.StatusReasonNotFound)}, "was deleted before there was a verdict", "", 0, 2},
		{"a request that is another's of the same name", created, []answer{another}, "was deleted before there was a verdict", "", 0, 1},
		{"too many requests", created, []answer{denied(tooManyRequests)}, "was denied (TooManyRequests): wait", "was denied (TooManyRequests): wait", 200 * time.Millisecond, 1},
		{"a denial", created, []answer{denied("WeakKey")}, "was denied (WeakKey): wait", "", 0, 1},
		{"another account's certificate", created, []answer{signed(t, identity.ID{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "x"}, "")}, "is not this pod's", "", 0, 1},
		{"another namespace's certificate", created, []answer{signed(t, identity.ID{TrustDomain: "cluster.local", Namespace: "x", ServiceAccount: "orders"}, "")}, "is not this pod's", "", 0, 1},
		{"another trust domain's certificate", created, []answer{signed(t, identity.ID{TrustDomain: "other", Namespace: "shop", ServiceAccount: "orders"}, "")}, "is not of trust domain cluster.local", "", 0, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			leaks := goleak.IgnoreCurrent()
			f := newFaulty(t, test.posts, test.gets)
			d := f.driver(t)
			d.trustDomain = "cluster.local"
			var w tolds
			began := time.Now()
			issued, err := d.Issue(t.Context(), identity.Request{Key: newKey(t), BundleHash: "b", Waiting: w.tell})
			took := time.Since(began)
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) || (err == nil) != (len(issued.Chain) == 1) {
				t.Errorf("got %v, %v; want %q", issued.Chain, err, test.want)
			}
			if (len(w.all) > 0) != (test.told != "") || test.told != "" && !strings.Contains(w.all[0], test.told) {
				t.Errorf("told %q, want %q", w.all, test.told)
			}
			if posts, gets := len(f.queries(http.MethodPost)), len(f.queries(http.MethodGet)); posts != 1 || gets != test.asked {
				t.Errorf("%d requests made and %d looked at, want 1 and %d", posts, gets, test.asked)
			}
			if took < test.least || took > 5*time.Second {
				t.Errorf("it took %s, want at least %s", took, test.least)
			}
			f.CloseClientConnections()
			f.Close()
			goleak.VerifyNone(t, leaks, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
		})
	}
}

// TestVersion holds that a look costs the API server's database nothing, and
// that a version which a restored database has not reached keeps nobody waiting.
func TestVersion(t *testing.T) {
	f := newFaulty(t, []answer{pending}, []answer{pending, status(504, metav1.StatusReasonTimeout), pending, denied("x")})
	var w tolds
	if _, err := f.driver(t).Issue(t.Context(), identity.Request{Key: newKey(t), Waiting: w.tell}); !errors.Is(err, identity.ErrRefused) {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(f.queries(http.MethodGet)), "[resourceVersion=7 resourceVersion=7  ]"; got != want {
		t.Errorf("looked at with %s, want %s", got, want)
	}
}

// TestEnd holds that nothing goes on after the context ends, whatever it was.
func TestEnd(t *testing.T) {
	for _, test := range []struct {
		name        string
		posts, gets []answer
	}{
		{"while a request is pending", []answer{pending}, []answer{pending}},
		{"while the API server is silent", []answer{pending}, []answer{lost}},
		{"while the API server is silent from the first", []answer{lost}, nil},
		{"while it holds back", []answer{busy}, nil},
		{"after a denial that is not to come again", []answer{pending}, []answer{denied(tooManyRequests)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFaulty(t, test.posts, test.gets)
			d := f.driver(t)
			d.timing.answer, d.timing.excess = time.Hour, time.Hour
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			began := time.Now()
			_, err := d.Issue(ctx, identity.Request{Key: newKey(t), Waiting: func(error) {}})
			if took := time.Since(began); err == nil || took < 90*time.Millisecond || took > 30*time.Second {
				t.Errorf("ended after %s with %v", took, err)
			}
		})
	}
}

// TestPendingIsTold holds that waiting is told after a while, and not before.
func TestPendingIsTold(t *testing.T) {
	f := newFaulty(t, []answer{pending}, []answer{pending, pending, pending, pending, pending, pending, denied("x")})
	d := f.driver(t)
	d.timing.quiet = 100 * time.Millisecond
	var all []string
	told := false
	began := time.Now()
	_, _ = d.Issue(t.Context(), identity.Request{Key: newKey(t), Waiting: func(why error) {
		// The driver looked at its clock before, so only too early can be told.
		if since := time.Since(began); why != nil && since < d.timing.quiet || why == nil && told {
			all = append(all, fmt.Sprint(since, why))
		}
		told = told || why != nil
		if why != nil && !strings.Contains(why.Error(), "whose name) is orders") {
			all = append(all, why.Error())
		}
	}})
	if !told {
		t.Error("nothing was told")
	}
	if len(all) > 0 {
		t.Errorf("told %q", all)
	}
}
