// Command operator runs the controllers of Xinhari. It is never on the path of a call: while it is away, what runs goes on.
//
// Several may run at once; all of them sign certificates, and one of them, the leader, does all other work. It stops when told by SIGTERM or SIGINT: the work at hand ends,
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

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/xinhari/xinhari/controllers"
)

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
	o.manager.IssuerSecret = o.issuer().Name()
	options, err := controllers.ManagerOptions(config, o.manager)
	if err != nil {
		return err
	}
	m, err := ctrl.NewManager(config, options)
	if err != nil {
		return fmt.Errorf("setting up: %w", err)
	}
	deps := controllers.Deps{Defaults: o.defaults, Namespace: o.manager.Namespace, CertManager: o.certManager, Issuer: o.issuer(), KeyPair: o.keys}
	if err := controllers.AddAll(ctx, m, deps); err != nil {
		return err
	}
	if err := m.Start(ctx); err != nil {
		return err
	}
	log.Info("stopped")
	return nil
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
