package kubesource

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
	"github.com/xinhari/xinhari/internal/kubewatch"
	"github.com/xinhari/xinhari/pkg/catalog"
	"github.com/xinhari/xinhari/pkg/identity"
)

// snapshot is what is known of the Services of the namespace.
type snapshot = catalog.Snapshot[xinhariv1alpha1.Service]

// view is what a certificate depends on: the Services that name an account, as
// text to compare. The zero view is that nothing is known of them.
type view struct {
	known bool
	text  string
}

// services remembers the Services of the namespace, and what of them the last
// certificate was made of.
type services struct {
	changed chan struct{} // holds at most one note that fresh may answer otherwise

	mu      sync.Mutex
	last    snapshot
	account string   // of the last certificate; "" = there is none yet
	names   []string // DNS names in it
	made    view     // what it was made of
	wished  view     // what another one was last wished for
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

// view returns what is known of the Services that name the account.
func (s *services) view(account string) view {
	s.mu.Lock()
	defer s.mu.Unlock()
	return viewOf(s.last, account)
}

// issued takes note of a certificate and of what it was made of.
func (s *services) issued(id identity.ID, made view, names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.account, s.made, s.names, s.wished = id.ServiceAccount, made, names, view{}
	s.note()
}

// wish says whether the certificate is to be made anew and nobody wished so yet;
// with take, from now on somebody has.
func (s *services) wish(take bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := viewOf(s.last, s.account)
	if s.account == "" || !now.known || now == s.made || now == s.wished {
		return false
	}
	if !s.made.known && slices.Equal(serviceNames(s.last, s.account), slices.Sorted(slices.Values(s.names))) {
		s.made = now
		return false
	}
	if take {
		s.wished = now
	}
	return true
}

// naming returns the Services that name the account, which the signer looks at.
func naming(s snapshot, account string) []*xinhariv1alpha1.Service {
	var all []*xinhariv1alpha1.Service
	for _, o := range s.Objects {
		if o.DeletionTimestamp.IsZero() && o.AccountName() == account {
			all = append(all, o)
		}
	}
	return all
}

func viewOf(s snapshot, account string) view {
	if s.Synced.IsZero() || account == "" {
		return view{}
	}
	var b strings.Builder
	for _, o := range naming(s, account) {
		var life xinhariv1alpha1.Duration
		if o.Spec.Identity != nil {
			life = o.Spec.Identity.Duration
		}
		// fmt sorts the keys of maps.
		_, _ = fmt.Fprintf(&b, "%q %q %t %q %q\n", o.Name, o.Spec.Selector, o.Spec.ClientOnly, o.Spec.CoreService, life)
	}
	return view{known: true, text: b.String()}
}

// serviceNames returns the DNS names of a certificate that all Services that
// name the account have a part in, sorted.
func serviceNames(s snapshot, account string) []string {
	var names []string
	for _, o := range naming(s, account) {
		names = append(names, identity.ServiceName(o.Namespace, o.Name))
	}
	slices.Sort(names)
	return names
}

// WatchRenewals follows the issuer, and the Services of the namespace. What
// changed meanwhile and changed back makes for no renewal, nor does a burst of
// changes for more than one.
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
	for {
		select {
		case <-d.services.changed:
		case <-ctx.Done():
			return
		}
		if !d.services.wish(false) {
			continue
		}
		if !sleep(ctx, rand.N(d.timing.spread)) { // all pods of the Service see the change now
			return
		}
		if d.services.wish(true) {
			renew()
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
	all := naming(s, account)
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
