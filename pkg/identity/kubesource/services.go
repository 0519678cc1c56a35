package kubesource

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
	"github.com/xinhari/xinhari/internal/kubewatch"
	"github.com/xinhari/xinhari/pkg/catalog"
	"github.com/xinhari/xinhari/pkg/identity"
)

// snapshot is what is known of the Services of the namespace.
type snapshot = catalog.Snapshot[xinhariv1alpha1.Service]

// mostInVain bounds the doubling of the time until a certificate is asked for
// again that was made of other Services than are seen here: to about nine
// minutes at most. It is told when it was in vain some times.
const (
	mostInVain = 8
	tellInVain = 3
)

// basis is what of the Services a certificate is made of, as
// [xinhariv1alpha1.CertificateBasis] says it; "" is that it is not known.
type basis string

// services remembers the Services of the namespace, and what of them the last
// certificate was made of.
type services struct {
	changed chan struct{} // holds at most one note that wish may answer otherwise

	mu      sync.Mutex
	last    snapshot
	account string // of the last certificate; "" = there is none yet
	made    basis  // what it was made of
	wished  basis  // what another one was last wished for
	waiting bool   // that one is not there yet
	times   int    // how often in a row another one was wished for the same
}

func newServices() *services { return &services{changed: make(chan struct{}, 1)} }

func (s *services) note() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// set takes what a watch delivers.
func (s *services) set(now snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = now
	s.note()
}

// snapshot returns what is known.
func (s *services) snapshot() snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// issued takes note of a certificate and of what it was made of.
func (s *services) issued(id identity.ID, made basis) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.account, s.made, s.waiting = id.ServiceAccount, made, false
	s.note()
}

// wish says whether the certificate is to be made anew and nobody wished so yet,
// and how often in a row somebody did in vain; with take, from now on somebody has.
func (s *services) wish(take bool) (inVain int, wished bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.account == "" || s.last.Synced.IsZero() {
		return 0, false
	}
	now := basis(xinhariv1alpha1.CertificateBasis(s.last.Objects, s.account))
	if s.made == "" { // whoever signed does not say
		s.made = now
	}
	switch {
	case s.waiting && now == s.wished:
		return 0, false
	case now == s.made:
		if !s.waiting {
			s.wished = ""
		}
		return 0, false
	}
	if now == s.wished {
		inVain = s.times
	}
	if take {
		s.wished, s.times, s.waiting = now, inVain+1, true
	}
	return inVain, true
}

// WatchRenewals follows the issuer, and the Services of the namespace. What
// changed meanwhile and changed back makes for no renewal, nor does a burst of
// changes for more than one. When a certificate was made of other Services than
// are seen here, it is asked for again, each time later, since the one of the two
// that is behind may stay so.
func (d *driver) WatchRenewals(ctx context.Context, renew func()) {
	var watching sync.WaitGroup
	defer watching.Wait()
	watching.Go(func() { d.watchIssuer(ctx, renew) })
	if d.catalog == nil {
		return
	}
	watching.Go(func() {
		if err := d.catalog.WatchServices(ctx, d.namespace, "", d.services.set); err != nil {
			d.services.set(snapshot{Err: err})
		}
	})
	const none = math.MaxInt
	after := none // how often in vain what the timer waits to ask for was asked for
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	for {
		select {
		case <-d.services.changed:
			inVain, wished := d.services.wish(false)
			if !wished || inVain >= after {
				continue
			}
			after = inVain
			timer.Reset(rand.N(d.timing.spread << min(inVain, mostInVain))) // all pods of the Service see the change now
		case <-timer.C:
			after = none
			inVain, wished := d.services.wish(true)
			if !wished {
				continue
			}
			if inVain >= tellInVain {
				d.logger.Warn("the operator makes the certificate of other Services than this pod sees, so it is asked for again: is one of the two behind, or of another release?",
					"namespace", d.namespace, "times", inVain)
			}
			renew()
		case <-ctx.Done():
			return
		}
	}
}

// watchIssuer renews when another issuer signs: a little later, so that every
// replica of the operator has it, and not all pods of the cluster at once. The
// wait begins again when yet another one comes meanwhile.
func (d *driver) watchIssuer(ctx context.Context, renew func()) {
	for {
		select {
		case <-d.reissue:
		case <-ctx.Done():
			return
		}
		for again := true; again; {
			if !sleep(ctx, d.timing.issuer+rand.N(d.timing.issuer)) {
				return
			}
			select {
			case <-d.reissue:
			default:
				again = false
			}
		}
		renew()
	}
}

// wanted says which Service there has to be.
func (d *driver) wanted() string { return wantedService(d.likelyAccount()) }

func wantedService(account string) string {
	if account == "" {
		return "make a Service whose serviceAccountName (or, if omitted, whose name) is the pod's account and whose selector matches this pod's labels"
	}
	return fmt.Sprintf("make a Service whose serviceAccountName (or, if omitted, whose name) is %s and whose selector matches this pod's labels", account)
}

// pending says what a request that nobody answers waits for.
func (d *driver) pending() string {
	return pendingReason(d.services.snapshot(), d.catalog != nil, d.namespace, d.likelyAccount())
}

func pendingReason(s snapshot, watched bool, namespace, account string) string {
	const operator = "or the operator does not run or cannot sign now: see the events of this pod and the operator's log"
	var denied *kubewatch.PermissionError
	all := xinhariv1alpha1.NamingAccount(s.Objects, account)
	switch {
	case !watched, account == "", s.Synced.IsZero() && !errors.As(s.Err, &denied):
		text := fmt.Sprintf("waits until a Service of namespace %s accounts for this pod: %s; %s", namespace, wantedService(account), operator)
		if s.Err != nil {
			text += fmt.Sprintf("; the Services cannot be read: %v", s.Err)
		}
		return text
	case len(all) == 0:
		return fmt.Sprintf("no Service of namespace %s names account %s: %s", namespace, account, wantedService(account))
	}
	var each []string
	for _, o := range all {
		each = append(each, fmt.Sprintf("Service %s names account %s and %s", o.Name, account, selection(&o.Spec)))
	}
	return strings.Join(each, "; ") + "; " + operator
}

// selection says how a Service can fail to select a pod of its account.
func selection(s *xinhariv1alpha1.ServiceSpec) string {
	if len(s.Selector) > 0 {
		var labels []string
		for key, value := range s.Selector {
			labels = append(labels, fmt.Sprintf("%s: %s", key, value))
		}
		slices.Sort(labels)
		return fmt.Sprintf("its selector {%s} does not match this pod's labels", strings.Join(labels, ", "))
	}
	if s.ClientOnly || s.CoreService == xinhariv1alpha1.CoreServiceExisting {
		return "should account for this pod"
	}
	return "has no selector, so it selects no pod: give it one that matches this pod's labels"
}
