// Command operator runs the controllers of Xinhari. It is never on the path of a call: while it is away, what runs goes on.
//
// Several may run at once; one of them, the leader, works. It stops when told by SIGTERM or SIGINT: the work at hand ends,
// the lease is given back, and another takes over at once.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/xinhari/xinhari/controllers"
)

// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=xinhari-system,resources=leases,verbs=create
// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=xinhari-system,resources=leases,resourceNames=xinhari-operator,verbs=get;update

// lease is the name of the lease by which operators agree on who works.
const lease = "xinhari-operator"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	var usage usageError
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case errors.As(err, &usage):
		fmt.Fprintf(os.Stderr, "operator: %v\nFor what there is: operator -help\n", err)
		os.Exit(2)
	default:
		fmt.Fprintf(os.Stderr, "operator: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	if o.version {
		_, err := fmt.Fprintln(stdout, version())
		return err
	}
	log := slog.New(slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: o.level}))
	if o.logText {
		log = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: o.level}))
	}
	ctrl.SetLogger(logr.FromSlogHandler(log.Handler()))
	log.Info("starting", "version", version(), "trustDomain", o.defaults.TrustDomain)

	config, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("finding the cluster (in a pod it is the mounted account, elsewhere KUBECONFIG): %w", err)
	}
	config.UserAgent = "xinhari-operator/" + version()
	m, err := manager(config, o)
	if err != nil {
		return err
	}
	if err := controllers.AddAll(ctx, m, controllers.Deps{Defaults: o.defaults}); err != nil {
		return err
	}
	if err := m.Start(ctx); err != nil {
		return err
	}
	log.Info("stopped")
	return nil
}

func manager(config *rest.Config, o options) (ctrl.Manager, error) {
	scheme, err := controllers.Scheme()
	if err != nil {
		return nil, err
	}
	cache, err := controllers.Cache()
	if err != nil {
		return nil, err
	}
	// The lease has a client of its own, so that a burst of work cannot delay its renewal.
	election := rest.CopyConfig(config)
	election.Timeout = 5 * time.Second
	grace := 20 * time.Second
	m, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                        scheme,
		Cache:                         cache,
		Metrics:                       server.Options{BindAddress: o.metrics},
		HealthProbeBindAddress:        o.health,
		LeaderElection:                o.elect,
		LeaderElectionID:              lease,
		LeaderElectionNamespace:       o.namespace,
		LeaderElectionConfig:          election,
		LeaderElectionReleaseOnCancel: true,
		GracefulShutdownTimeout:       &grace,
	})
	if err != nil {
		return nil, fmt.Errorf("setting up: %w", err)
	}
	if err := m.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return nil, err
	}
	started := newStarted()
	if err := m.Add(started); err != nil {
		return nil, err
	}
	return m, m.AddReadyzCheck("caches", started.check)
}

// version returns the module's version and the commit that the program was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	if v == "" {
		v = "(devel)"
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" && len(setting.Value) >= 12 {
			v += " " + setting.Value[:12]
		}
	}
	return v
}
