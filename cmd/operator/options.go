package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"regexp"
	"strings"

	"github.com/xinhari/xinhari/controllers"
	"github.com/xinhari/xinhari/controllers/certmanager"
	"github.com/xinhari/xinhari/controllers/keypair"
	"github.com/xinhari/xinhari/controllers/namespace"
	"github.com/xinhari/xinhari/controllers/signer/issuer"
)

// usageError is a mistake in the arguments.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

type options struct {
	defaults    namespace.Defaults
	certManager certmanager.Options
	manager     controllers.Manager
	keys        keypair.Options
	level       slog.Level
	logText     bool
	version     bool
}

const intro = `operator runs the controllers of Xinhari against the cluster that its account, or KUBECONFIG, names.

`

func parse(args []string, stderr io.Writer) (options, error) {
	o := options{}
	o.manager.Namespace = cmp.Or(os.Getenv("POD_NAMESPACE"), "xinhari-system")
	etcd, format, secrets := "", "json", ""
	account := ""
	f := flag.NewFlagSet("operator", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&o.defaults.TrustDomain, "trust-domain", "cluster.local",
		"trust `domain` of every identity: spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT.\nChoose it before workloads run; a change gives each a new identity")
	f.StringVar(&o.defaults.NATSURL, "nats-url", "",
		"`URL` of the NATS servers for topics, such as nats://nats.nats:4222, told to workloads.\nEmpty: topics go over HTTP and are not durable")
	f.StringVar(&etcd, "etcd-endpoints", "",
		"`URLs` of etcd for locks, separated by commas, told to workloads.\nEmpty: locks are Kubernetes Leases")
	f.StringVar(&secrets, "secret-namespaces", "",
		"`namespaces`, separated by commas, in which the operator has the right to read and write Secrets,\nfor Services with spec.identity.secretName. Empty: none")
	f.StringVar(&o.certManager.Issuer, "cert-manager-issuer", "",
		"`name` of the cert-manager issuer that signs the operator's intermediate CA.\nEmpty: the operator's CA is its own")
	f.StringVar(&o.certManager.Kind, "cert-manager-kind", "",
		"`kind` of that issuer: ClusterIssuer, Issuer (in the operator's namespace), or one of another group (default ClusterIssuer)")
	f.StringVar(&o.certManager.Group, "cert-manager-group", "",
		"API `group` of that kind (default cert-manager.io)")
	f.DurationVar(&o.certManager.Duration, "cert-manager-duration", 0,
		"`time` that the intermediate lasts (default 2160h, 90 days)")
	f.DurationVar(&o.certManager.RenewBefore, "cert-manager-renew-before", 0,
		"`time` before its end at which it is renewed (default a third of that it lasts)")
	f.BoolVar(&o.certManager.Unconstrained, "cert-manager-unconstrained", false,
		"ask for no constraints of names and usages, for issuers that refuse them")
	f.StringVar(&o.manager.Namespace, "namespace", o.manager.Namespace,
		"`namespace` that the operator runs in and keeps its lease in; POD_NAMESPACE says it as well")
	f.StringVar(&account, "service-account", "xinhari-operator",
		"`account` that the operator runs as, which workloads know it by")
	f.StringVar(&o.manager.MetricsAddress, "metrics-address", ":8080",
		"`address` of metrics for Prometheus, at /metrics over plain HTTP; 0 turns them off")
	f.StringVar(&o.manager.HealthAddress, "health-address", ":8081",
		"`address` of /healthz and /readyz for the kubelet; 0 turns them off")
	f.BoolVar(&o.manager.Elect, "leader-elect", true,
		"let one of several operators work at a time; false only where there is surely one")
	f.TextVar(&o.level, "log-level", slog.LevelInfo, "least `level` that is logged: debug, info, warn or error")
	f.StringVar(&format, "log-format", format, "`form` of the log: json or text")
	f.BoolVar(&o.version, "version", false, "print the version and exit")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprint(stderr, intro)
			f.SetOutput(stderr)
			f.PrintDefaults()
			return o, err
		}
		return o, usageError{err}
	}
	if f.NArg() > 0 {
		return o, usageError{fmt.Errorf("%q is not a flag", f.Arg(0))}
	}
	for endpoint := range strings.SplitSeq(etcd, ",") {
		if endpoint = strings.TrimSpace(endpoint); endpoint != "" {
			o.defaults.EtcdEndpoints = append(o.defaults.EtcdEndpoints, endpoint)
		}
	}
	for name := range strings.SplitSeq(secrets, ",") {
		if name = strings.TrimSpace(name); name != "" {
			o.keys.Namespaces = append(o.keys.Namespaces, name)
		}
	}
	o.logText = format == "text"
	o.defaults.OperatorID = "spiffe://" + o.defaults.TrustDomain + "/ns/" + o.manager.Namespace + "/sa/" + account
	if err := o.validate(format); err != nil {
		return o, usageError{err}
	}
	return o, nil
}

func (o *options) validate(format string) error {
	if !regexp.MustCompile(`^[a-z0-9._-]{1,255}$`).MatchString(o.defaults.TrustDomain) {
		return fmt.Errorf("-trust-domain %q: want lower case letters, digits, '.', '-' and '_', such as cluster.local", o.defaults.TrustDomain)
	}
	if format != "json" && format != "text" {
		return fmt.Errorf("-log-format %q: want json or text", format)
	}
	for _, name := range o.keys.Namespaces {
		if !regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`).MatchString(name) {
			return fmt.Errorf("-secret-namespaces: %q is no name of a namespace", name)
		}
	}
	if o.defaults.NATSURL != "" {
		for server := range strings.SplitSeq(o.defaults.NATSURL, ",") {
			if err := checkURL(server, "nats", "tls", "ws", "wss"); err != nil {
				return fmt.Errorf("-nats-url: %w", err)
			}
		}
	}
	for _, endpoint := range o.defaults.EtcdEndpoints {
		if err := checkURL(endpoint, "http", "https"); err != nil {
			return fmt.Errorf("-etcd-endpoints: %w", err)
		}
	}
	if err := o.certManager.Validate(); err != nil {
		return fmt.Errorf("-cert-manager-…: %w", err)
	}
	return nil
}

// checkURL refuses passwords as well: what the flags say is readable by every workload.
func checkURL(s string, schemes ...string) error {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		return fmt.Errorf("%q is no URL with a host", s)
	}
	if u.User != nil {
		return fmt.Errorf("the URL for %s holds a user or password, which every workload could read: leave it out", u.Host)
	}
	for _, scheme := range schemes {
		if u.Scheme == scheme {
			return nil
		}
	}
	return fmt.Errorf("%q: want %s", s, strings.Join(schemes, " or "))
}

// issuer returns which issuer is to sign: the operator's own, or the one that cert-manager gives it.
func (o *options) issuer() issuer.Wanted {
	if o.certManager.On() {
		return issuer.Wanted{Secret: certmanager.SecretName, Brought: true}
	}
	return issuer.Wanted{}
}
