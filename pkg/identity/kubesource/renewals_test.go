package kubesource

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/client-go/rest"

	certificatesv1 "k8s.io/api/certificates/v1"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
	"github.com/xinhari/xinhari/internal/kubekinds"
	"github.com/xinhari/xinhari/internal/kubewatch"
	"github.com/xinhari/xinhari/pkg/catalog"
	"github.com/xinhari/xinhari/pkg/identity"
)

// shelf is a catalog's driver that delivers what a test puts into it.
type shelf struct {
	states chan catalog.State
	err    error
}

func (*shelf) Name() string { return "shelf" }

func (s *shelf) Watch(ctx context.Context, _ catalog.Selection, set func(catalog.State)) error {
	for s.err == nil {
		select {
		case state := <-s.states:
			set(state)
		case <-ctx.Done():
			return nil
		}
	}
	return s.err
}

func (s *shelf) put(all snapshot) {
	state := catalog.State{Synced: all.Synced, Err: all.Err}
	for _, o := range all.Objects {
		state.Objects = append(state.Objects, o)
	}
	s.states <- state
}

// watched runs WatchRenewals of a driver whose certificate was made of what.
func watched(t *testing.T, made snapshot, f func(t *testing.T, s *shelf, d *driver, renewals func() int)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{states: make(chan catalog.State)}
		d, err := newDriver(&rest.Config{Host: "localhost"}, Options{Namespace: "shop", Account: "orders", Catalog: catalog.New(s)})
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		count := 0
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		defer running.Wait()
		defer cancel()
		running.Go(func() {
			d.WatchRenewals(ctx, func() {
				mu.Lock()
				defer mu.Unlock()
				count++
			})
		})
		d.services.issued(identity.ID{ServiceAccount: "orders"}, basisFor(made))
		f(t, s, d, func() int {
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			return count
		})
	})
}

func TestWatchRenewals(t *testing.T) {
	a, b, c := synced(service("orders", selecting("a"))), synced(service("orders", selecting("b"))), synced(service("orders", selecting("c")))
	for _, test := range []struct {
		name    string
		changes []snapshot
		pause   time.Duration
		want    int
	}{
		{"what was there when the certificate was made", []snapshot{a}, 0, 0},
		{"what was not there when the certificate was made", []snapshot{b}, 0, 1},
		{"a burst", []snapshot{a, b, c, b}, 0, 1},
		{"what changes back at once", []snapshot{a, b, a}, time.Microsecond, 0},
		{"two changes in a long time", []snapshot{a, b, c}, time.Minute, 2},
		{"the same again and again", []snapshot{b, b, b}, time.Minute, 1},
		{"the API server is lost", []snapshot{a, {Err: errors.New("away")}}, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			watched(t, a, func(t *testing.T, s *shelf, _ *driver, renewals func() int) {
				for _, change := range test.changes {
					s.put(change)
					time.Sleep(test.pause)
				}
				time.Sleep(time.Minute)
				if got := renewals(); got != test.want {
					t.Errorf("%d renewals, want %d", got, test.want)
				}
			})
		})
	}
}

// TestFleetSpreads holds that the pods of a Service do not all ask at once.
func TestFleetSpreads(t *testing.T) {
	a, b := synced(service("orders", selecting("a"))), synced(service("orders", selecting("b")))
	const pods = 200
	early, late := time.Hour, time.Duration(0)
	for range pods {
		watched(t, a, func(_ *testing.T, s *shelf, _ *driver, renewals func() int) {
			s.put(b)
			began := time.Now()
			for renewals() == 0 {
				time.Sleep(10 * time.Millisecond)
			}
			took := time.Since(began)
			early, late = min(early, took), max(late, took)
		})
	}
	if early > 200*time.Millisecond || late < 1500*time.Millisecond || late > 2100*time.Millisecond {
		t.Errorf("they renew from %s to %s after the change", early, late)
	}
}

// TestCatalogThatFails holds that the reason comes into the messages.
func TestCatalogThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, err := newDriver(&rest.Config{Host: "localhost"}, Options{Namespace: "shop", Catalog: catalog.New(&shelf{err: errors.New("broken")})})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		defer running.Wait()
		defer cancel()
		running.Go(func() { d.WatchRenewals(ctx, func() {}) })
		synctest.Wait()
		if err := d.services.snapshot().Err; err == nil || err.Error() != "broken" {
			t.Errorf("got %v", err)
		}
	})
}

// TestSignerThatIsBehind holds that a certificate which was made of other
// Services than are seen is asked for again, at once and then ever seldomer.
func TestSignerThatIsBehind(t *testing.T) {
	a, b := synced(service("orders", selecting("a"))), synced(service("orders", selecting("b")))
	watched(t, a, func(t *testing.T, s *shelf, d *driver, renewals func() int) {
		var log strings.Builder
		d.logger = slog.New(slog.NewTextHandler(&log, nil))
		s.put(b)
		for asked := 1; asked < 15; asked++ {
			began := time.Now()
			for renewals() < asked {
				time.Sleep(10 * time.Millisecond)
			}
			most := d.timing.spread << min(asked-1, mostInVain)
			if took := time.Since(began); took > most+10*time.Millisecond {
				t.Errorf("asked for the %d. time after %s, want at most %s", asked, took, most)
			}
			if told, want := strings.Count(log.String(), "\n"), max(0, asked-tellInVain); told != want {
				t.Errorf("asked %d times, told %d times, want %d", asked, told, want)
			}
			d.services.issued(identity.ID{ServiceAccount: "orders"}, basisFor(a))
		}
		began := time.Now()
		s.put(synced(service("orders", selecting("c"))))
		for renewals() < 15 {
			time.Sleep(10 * time.Millisecond)
		}
		if took := time.Since(began); took > d.timing.spread+10*time.Millisecond {
			t.Errorf("another change waited %s for the one before", took)
		}
		d.services.issued(identity.ID{ServiceAccount: "orders"}, basisFor(synced(service("orders", selecting("c")))))
		time.Sleep(time.Hour)
		if n := renewals(); n != 15 {
			t.Errorf("asked %d times after there is one of what is seen", n-15)
		}
	})
}

// TestSignerThatStaysBehind holds that what else is seen of the Services does not
// bring the next request forward.
func TestSignerThatStaysBehind(t *testing.T) {
	a, b := synced(service("orders", selecting("a"))), synced(service("orders", selecting("b")))
	watched(t, a, func(t *testing.T, s *shelf, d *driver, renewals func() int) {
		const most = 45 // 21 are to be expected
		asked := 0
		for range 3600 {
			s.put(b)
			time.Sleep(time.Second)
			if n := renewals(); n > asked {
				asked = n
				d.services.issued(identity.ID{ServiceAccount: "orders"}, basisFor(a))
			}
		}
		if asked < 8 || asked > most {
			t.Errorf("asked %d times in an hour, want 8 to %d", asked, most)
		}
	})
}

// TestSignedOfAnotherService holds that what counts is what the certificate was
// made of, not what was seen when it was asked for, or came.
func TestSignedOfAnotherService(t *testing.T) {
	id := identity.ID{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "orders"}
	before, after := synced(), synced(service("orders", selecting("orders")))
	var d *driver
	comes := func(w http.ResponseWriter, made *certificatesv1.CertificateSigningRequest) {
		d.services.set(after)
		pending(w, made)
	}
	for _, test := range []struct {
		name string
		made snapshot
		want bool
	}{
		{"the signer saw it too", after, false},
		{"the signer did not", before, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFaulty(t, []answer{pending}, []answer{comes, pending, signed(t, id, basisFor(test.made))})
			d = f.driver(t)
			d.services.set(before)
			issued, err := d.Issue(t.Context(), identity.Request{Key: newKey(t), Waiting: func(error) {}})
			if err != nil || len(issued.Chain) != 1 {
				t.Fatalf("got %v, %v", issued.Chain, err)
			}
			if _, got := d.services.wish(false); got != test.want {
				t.Errorf("to be renewed: %v, want %v", got, test.want)
			}
		})
	}
}

var (
	_ identity.Driver         = (*driver)(nil)
	_ identity.RootWatcher    = (*driver)(nil)
	_ identity.RenewalWatcher = (*driver)(nil)
)

// told is the ConfigMap of the namespace, with the name of who signs.
func told(t *testing.T, issuer string) kubewatch.State {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	root := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return kubewatch.State{Objects: []kubewatch.Object{&kubekinds.ConfigMap{Data: map[string]string{
		xinhariv1alpha1.KeyTrustBundle: root, xinhariv1alpha1.KeyIssuer: issuer,
	}}}, Synced: time.Now()}
}

func TestAnotherIssuerMakesForOneRenewal(t *testing.T) {
	made := snapshot{Synced: time.Now()}
	for _, c := range []struct {
		name string
		told []string // of the issuer, one after the other
		want int
	}{
		{"the first that is heard of", []string{"a"}, 0},
		{"the same again", []string{"a", "a"}, 0},
		{"none is told of", []string{"a", ""}, 0},
		{"none, and the same again", []string{"a", "", "a"}, 0},
		{"another", []string{"a", "b"}, 1},
		{"another, and another at once", []string{"a", "b", "c"}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			watched(t, made, func(t *testing.T, _ *shelf, d *driver, renewals func() int) {
				for _, issuer := range c.told {
					if _, err := d.roots(told(t, issuer)); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(d.timing.issuer - time.Millisecond)
				if n := renewals(); n != 0 {
					t.Errorf("%d renewals before every replica can know the issuer", n)
				}
				time.Sleep(4 * d.timing.issuer)
				if n := renewals(); n != c.want {
					t.Errorf("%d renewals, want %d", n, c.want)
				}
			})
		})
	}
}
