package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
	"github.com/xinhari/xinhari/pkg/identity"
	"github.com/xinhari/xinhari/pkg/identity/kubesource"
	"github.com/xinhari/xinhari/pkg/identity/localsource"
)

// proof is how a service proves who it is, and asks others to.
type proof struct {
	source    *identity.Source // nil: the user's own transport
	transport identity.Transport
	local     bool // plaintext is taken from this machine
	logger    *slog.Logger

	permissive atomic.Bool // spec.identity.mode of the Service object

	once    sync.Once
	cancel  context.CancelFunc
	running sync.WaitGroup
	broken  chan struct{} // closed when the source gave up
	err     error         // why it did
}

// newProof returns a proof that is to be opened.
func newProof(s settings) *proof {
	return &proof{transport: s.Transport, local: s.Profile == Local, logger: s.Logger, broken: make(chan struct{}), cancel: func() {}}
}

// open takes what the options give, and the profile's for the rest.
func (p *proof) open(s settings, src *sources) error {
	if s.Transport != nil {
		return nil
	}
	p.source = s.Identity
	if p.source == nil {
		var err error
		if p.source, err = openSource(s, src); err != nil {
			return fmt.Errorf("xinhari: %w", err)
		}
	}
	p.transport = identity.AcceptPlaintext(identity.MutualTLS(p.source.Current, identity.MutualTLSOptions{}), func(peer net.Addr) bool {
		return p.permissive.Load() || p.local && onThisMachine(peer)
	})
	return nil
}

func openSource(s settings, src *sources) (*identity.Source, error) {
	if s.Profile != Kubernetes {
		return localsource.New(s.service.Name, localsource.Options{
			Namespace: s.service.Namespace, Source: identity.SourceOptions{Logger: s.Logger},
		})
	}
	// The identity is the pod's, whatever namespace the options name.
	namespace, err := s.Profile.namespace(os.Getenv)
	if err != nil {
		return nil, err
	}
	return kubesource.New(src.cluster, kubesource.Options{Namespace: namespace, Catalog: src.callees.catalog, Logger: s.Logger})
}

// onThisMachine reports whether an address is one of the loopback network.
func onThisMachine(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// anonymous reports whether callers without a certificate are served that are
// not on this machine: where someone asked for it by name.
func (p *proof) anonymous() bool { return p.source == nil || p.permissive.Load() }

// setMode follows spec.identity.mode of the service's own object. What was
// last known holds while there is none.
func (p *proof) setMode(s *xinhariv1alpha1.Service) {
	if s == nil {
		return
	}
	permissive := s.Spec.Identity.EffectiveMode() == xinhariv1alpha1.IdentityPermissive
	if p.permissive.Swap(permissive) == permissive {
		return
	}
	if permissive {
		p.logger.Warn("spec.identity.mode is Permissive: callers without TLS are served, as nobody")
	} else {
		p.logger.Info("spec.identity.mode is Strict: only mutual TLS is served")
	}
}

// run gets and renews credentials until stop, from the first time on.
func (p *proof) run() {
	if p.source == nil {
		return
	}
	p.once.Do(func() {
		ctx, cancel := context.WithCancel(context.Background())
		p.cancel = cancel
		p.running.Go(func() {
			if err := p.source.Run(ctx); err != nil {
				p.err = err
				close(p.broken)
			}
		})
	})
}

// stop ends what run began, and keeps it from beginning.
func (p *proof) stop() {
	p.once.Do(func() {})
	p.cancel()
	p.running.Wait()
}

// patience is how long a wait is ordinary, and not worth a line in the log.
const patience = 2 * time.Second

// wait returns once there are credentials.
func (p *proof) wait(ctx context.Context) error {
	if p.source == nil {
		return nil
	}
	long := time.NewTimer(patience)
	defer long.Stop()
	for {
		select {
		case <-p.source.Ready():
			return nil
		case <-p.broken:
			return p.err
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("no credentials from %s: %w", p.source.Name(), ctx.Err()), p.source.Err())
		case <-long.C:
			p.logger.Info("waiting for credentials", "source", p.source.Name(), "because", p.source.Err())
		}
	}
}

// dial waits for credentials before it connects: a handshake without them
// would be lost, and the next attempt seconds away.
func (p *proof) dial(next func(context.Context, string) (net.Conn, error)) func(context.Context, string) (net.Conn, error) {
	if p.source == nil {
		return next
	}
	return func(ctx context.Context, address string) (net.Conn, error) {
		select {
		case <-p.source.Ready():
		case <-p.broken:
			return nil, p.err
		case <-ctx.Done():
			return nil, errors.Join(identity.ErrNotReady, p.source.Err())
		}
		return next(ctx, address)
	}
}

// trust returns a fingerprint of the roots, once there are some.
func (p *proof) trust(ctx context.Context) string {
	if p.source == nil {
		return ""
	}
	p.run()
	select {
	case <-p.source.Ready():
		const enough = 16 // hexadecimal digits, to tell the CAs of one machine apart
		return p.source.Current().BundleHash()[:enough]
	case <-p.broken: // the calls' errors say it
	case <-ctx.Done():
	}
	return ""
}

// valid reports whether the service can prove who it is now.
func (p *proof) valid() bool {
	return p.source == nil || time.Now().Before(p.source.Current().NotAfter())
}
