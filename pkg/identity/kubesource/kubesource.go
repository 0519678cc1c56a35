// Package kubesource gets a workload's certificates from the Kubernetes API: it
// makes a CertificateSigningRequest for the signer xinhari.com/workload, which
// the operator answers, and reads the roots from the ConfigMap xinhari of its
// namespace. Nothing is mounted but the pod's ordinary token, by which the API
// server tells the operator who asks.
//
// While something is missing the Source's Err says what, and who gives it: a
// right, the ConfigMap, or a Service that names the pod's account. All of it
// may come later than the pod. While the API server is away the last roots and
// the last certificate stay.
//
// A denial matches [identity.ErrRefused] and says what to mend; it is asked
// again, seldom, since it may have been mended meanwhile.
//
// When the operator signs with another issuer, a new certificate is asked for
// within ten seconds. With a catalog, a change of the Services that name the account makes for a
// new certificate within some seconds, which has the names of all of them.
package kubesource

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"

	"github.com/xinhari/xinhari/internal/kubekinds"
	"github.com/xinhari/xinhari/internal/kubewatch"
	"github.com/xinhari/xinhari/pkg/catalog"
	"github.com/xinhari/xinhari/pkg/identity"
)

// Options are the options of New; Namespace is required.
type Options struct {
	// Namespace is the pod's.
	Namespace string

	// Account is the name of the pod's ServiceAccount. A certificate of
	// another one is refused. "" is whichever the token is of.
	Account string

	// Catalog has the Services of the namespace; nil makes for poorer messages
	// and no renewal when they change.
	Catalog *catalog.Catalog

	// Now is the wall clock; nil is time.Now.
	Now func() time.Time

	// Logger takes what has no caller to be told; nil is silent.
	Logger *slog.Logger
}

// New returns a Source that asks the API server of config, with the token that
// config has for each request at its time. It asks nothing before it runs.
func New(config *rest.Config, o Options) (*identity.Source, error) {
	d, err := newDriver(config, o)
	if err != nil {
		return nil, err
	}
	return identity.NewSource(d, identity.SourceOptions{Now: o.Now, Logger: o.Logger}), nil
}

// driver is an identity.Driver, RootWatcher and RenewalWatcher.
type driver struct {
	requests  rest.Interface // of certificates.k8s.io
	parameter runtime.ParameterCodec
	core      *kubewatch.Client
	catalog   *catalog.Catalog
	config    *rest.Config // for its token
	namespace string
	source    string // this one among those of its pod
	timing    timing
	services  *services
	logger    *slog.Logger

	mu          sync.Mutex
	account     string // "" = unknown
	trustDomain string // "" = unknown
	issuer      string // name of who signs, "" = unknown

	reissue chan struct{} // holds at most one note that another issuer signs
}

// timing bounds what the driver does to an API server.
type timing struct {
	answer time.Duration // how long to wait for an answer
	quiet  time.Duration // how long a request may be pending before that is told
	excess time.Duration // how long to hold back when asked to ask less
	spread time.Duration // over how long the pods of a Service renew when it changes
	issuer time.Duration // after how long at least, and then over how long, all pods renew under another issuer
}

func newDriver(config *rest.Config, o Options) (*driver, error) {
	if config == nil || o.Namespace == "" {
		return nil, errors.New("kubesource: a configuration and a namespace are needed")
	}
	requests, parameter, err := kubewatch.NewREST(config, kubekinds.Certificates(), kubekinds.AddCertificates)
	if err != nil {
		return nil, fmt.Errorf("kubesource: %w", err)
	}
	core, err := kubewatch.NewClient(config, kubekinds.Core(), kubekinds.AddCore, o.Logger)
	if err != nil {
		return nil, fmt.Errorf("kubesource: %w", err)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	source := make([]byte, 8)
	if _, err := rand.Read(source); err != nil {
		return nil, fmt.Errorf("kubesource: %w", err)
	}
	return &driver{
		requests: requests, parameter: parameter, core: core, catalog: o.Catalog, config: rest.CopyConfig(config),
		namespace: o.Namespace, account: o.Account, source: hex.EncodeToString(source),
		timing:   timing{answer: 10 * time.Second, quiet: 2 * time.Second, excess: 30 * time.Second, spread: 2 * time.Second, issuer: 5 * time.Second},
		services: newServices(), logger: o.Logger,
		reissue: make(chan struct{}, 1),
	}, nil
}

func (*driver) Name() string { return "Kubernetes API" }

// likelyAccount returns the account as it was given or as a certificate proved
// it; before that, as the token claims it.
func (d *driver) likelyAccount() string {
	d.mu.Lock()
	account := d.account
	d.mu.Unlock()
	if account != "" {
		return account
	}
	return tokenAccount(token(d.config))
}

// sleep returns false when ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
