package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"github.com/xinhari/xinhari/hack/devcluster/internal/binaries"
	"github.com/xinhari/xinhari/hack/devcluster/internal/control"
	"github.com/xinhari/xinhari/hack/devcluster/internal/controlplane"
	"github.com/xinhari/xinhari/hack/devcluster/internal/faults"
	"github.com/xinhari/xinhari/hack/devcluster/internal/network"
	"github.com/xinhari/xinhari/hack/devcluster/internal/node"
	"github.com/xinhari/xinhari/hack/devcluster/internal/sandbox"
)

const (
	startTimeout = 2 * time.Minute
	stopTimeout  = 5 * time.Second // for all that is not the command, together
)

// Files of the cluster for programs in it.
const (
	kubeconfig = sandbox.Dir + "/kubeconfig"
	socket     = sandbox.Dir + "/control.sock"
)

// dnsAddr is the ClusterIP of the cluster's DNS.
func dnsAddr() netip.Addr { return netip.AddrFrom4([4]byte{10, 96, 0, 10}) }

// supervisor runs inside the sandbox and owns everything of one cluster.
type supervisor struct {
	task
	began   time.Time
	log     *slog.Logger
	network *network.Network
	plane   *controlplane.Plane
	nodes   []*clusterNode
	faults  *faults.Set
	parts   sync.WaitGroup
	fail    context.CancelCauseFunc
}

// supervise is the main function of the supervisor.
func supervise() {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	s := &supervisor{began: time.Now()}
	status, err := s.main(signals)
	if err != nil {
		fmt.Fprintf(os.Stderr, "devcluster: %v\n", err)
	}
	os.Exit(status)
}

// interrupted is a signal that came before the command ran.
type interrupted struct{ signal syscall.Signal }

func (i interrupted) Error() string { return i.signal.String() }

func (s *supervisor) main(signals <-chan os.Signal) (status int, err error) {
	input, err := sandbox.Input()
	if err != nil {
		return sandbox.StatusSetup, err
	}
	if err := json.Unmarshal(input, &s.task); err != nil {
		return sandbox.StatusSetup, err
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	s.fail = cancel
	defer s.stop()

	started := make(chan error, 1)
	go func() { started <- s.start(ctx) }()
	select {
	case err := <-started:
		if err != nil {
			return sandbox.StatusSetup, err
		}
	case sig := <-signals:
		cancel(interrupted{sig.(syscall.Signal)})
		<-started
		return 128 + int(sig.(syscall.Signal)), nil
	}
	return s.command(ctx, signals)
}

// stop ends all parts. What has not ended in time dies with the sandbox.
func (s *supervisor) stop() {
	s.fail(errors.New("the cluster ends"))
	done := make(chan struct{})
	go func() { defer close(done); s.parts.Wait() }()
	select {
	case <-done:
	case <-time.After(stopTimeout):
	}
}

// part runs a part of the cluster until ctx ends. Its error ends the cluster.
func (s *supervisor) part(ctx context.Context, name string, run func(context.Context) error) {
	s.parts.Go(func() {
		if err := run(ctx); err != nil && ctx.Err() == nil {
			s.fail(fmt.Errorf("%s: %w", name, err))
		}
	})
}

// progress tells the user what happened, with the time since the start.
func (s *supervisor) progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "devcluster %5.1fs  %s\n", time.Since(s.began).Seconds(), fmt.Sprintf(format, args...))
}

// start brings the cluster up, part by part.
func (s *supervisor) start(ctx context.Context) error {
	ready, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("not within %v", startTimeout))
	defer cancel()
	log, err := os.Create(filepath.Join(sandbox.Logs, "devcluster.log"))
	if err != nil {
		return err
	}
	s.log = slog.New(slog.NewTextHandler(log, nil))
	klog.SetSlogLogger(s.log.With("part", "client-go")) // else it writes to the user's terminal
	if s.network, err = network.New(netip.MustParseAddr(controlplane.APIServer), dnsAddr()); err != nil {
		return fmt.Errorf("make the network: %w", err)
	}
	bin, err := programs()
	if err != nil {
		return err
	}
	s.plane, err = controlplane.New(controlplane.Options{
		Bin:    bin,
		Dir:    sandbox.Dir,
		Logs:   sandbox.Logs,
		Domain: Domain,
		Ended:  s.componentEnded,

		FeatureGates:  s.FeatureGates,
		RuntimeConfig: s.RuntimeConfig,
	})
	if err != nil {
		return err
	}
	if err := s.plane.WriteAdmin(kubeconfig); err != nil {
		return err
	}
	if err := s.makeNodes(); err != nil {
		return err
	}
	s.faults = faults.New(s.faultMembers(), s.log.With("part", "faults"))
	s.part(ctx, "faults", func(ctx context.Context) error { <-ctx.Done(); return s.faults.Close() })
	s.part(ctx, "control socket", func(ctx context.Context) error { return control.Serve(ctx, socket, s) })
	s.part(ctx, "control plane", s.plane.Run)
	if err := s.plane.Ready(ready); err != nil {
		return err
	}
	s.progress("control plane ready")
	if err := s.serviceNetwork(ctx, ready); err != nil {
		return err
	}
	s.startNodes(ctx)
	if err := s.nodesReady(ready); err != nil {
		return err
	}
	if s.Kubeconfig != "" {
		if err := s.serveHost(ctx); err != nil {
			return err
		}
	}
	if s.Hint != "" {
		fmt.Fprintln(os.Stderr, s.Hint)
	}
	return nil
}

func (s *supervisor) componentEnded(name string, err error) {
	s.progress("%s ended (%v) and is started again", name, err)
	s.log.Error(name+" ended", "error", err)
}

// programs makes links to the binary under the names of all its programs, and returns their folder.
func programs() (string, error) {
	dir := filepath.Join(sandbox.Dir, "programs")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	for _, name := range append(binaries.Names(), node.ProgramName) {
		if err := os.Symlink(sandbox.Executable, filepath.Join(dir, name)); err != nil {
			return "", err
		}
	}
	// What else is in dir would hide the user's own etcd.
	return dir, os.Symlink(sandbox.Executable, filepath.Join(filepath.Dir(sandbox.Executable), "kubectl"))
}
