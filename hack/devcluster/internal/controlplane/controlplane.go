// Package controlplane runs the programs of a Kubernetes control plane: etcd,
// kube-apiserver, kube-controller-manager and kube-scheduler, each a child
// process with a log, started again when it ends unasked.
//
// It is as close to a real one as fits: TLS and client certificates
// everywhere but between API server and etcd, Node and RBAC authorization,
// NodeRestriction, an aggregation layer, an audit log. It keeps nothing: etcd
// does not sync to disk, and the authorities' keys end with the cluster.
package controlplane

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/xinhari/xinhari/hack/devcluster/internal/process"
)

// ServiceCIDR is the range of ClusterIPs.
const ServiceCIDR = "10.96.0.0/16"

// APIServer is the address of the API server, also the ClusterIP of the
// Service kubernetes: it listens there itself, on port 443.
const APIServer = "10.96.0.1"

// Names are the components, in the order of starting.
func Names() []string {
	return []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"}
}

// Has reports whether there is a component called name.
func Has(name string) bool { return slices.Contains(Names(), name) }

// Options say where a control plane finds and keeps things. All but the last two are required.
type Options struct {
	Bin    string                            // folder of the programs
	Dir    string                            // existing folder for state
	Logs   string                            // existing folder for logs: NAME.log, and audit.log
	Domain string                            // DNS domain of the cluster
	Ended  func(component string, err error) // told of each end of a component that nobody asked for

	FeatureGates  []string // optional: NAME=true or NAME=false
	RuntimeConfig []string // optional: API versions, as kube-apiserver's --runtime-config
}

// Plane is a control plane.
type Plane struct {
	o          Options
	url        string
	ca         *authority
	admin      keyPair
	components []*process.Supervised

	mu     sync.Mutex
	failed error // a component's end before Ready
	ready  bool
}

// New makes keys, certificates and configuration. It starts nothing.
func New(o Options) (*Plane, error) {
	p := &Plane{o: o, url: "https://" + APIServer + ":443"}
	if err := p.writeFiles(); err != nil {
		return nil, fmt.Errorf("prepare the control plane: %w", err)
	}
	for _, name := range Names() {
		p.components = append(p.components, process.New(process.Options{
			Name:  name,
			Path:  filepath.Join(o.Bin, name),
			Args:  p.args(name),
			Log:   filepath.Join(o.Logs, name+".log"),
			Ended: p.ended,
		}))
	}
	return p, nil
}

// Run runs all components until ctx ends, and then waits for their end.
func (p *Plane) Run(ctx context.Context) error {
	var group sync.WaitGroup
	for _, c := range p.components {
		group.Go(func() { c.Run(ctx) })
	}
	group.Wait()
	return nil
}

// Ready waits until the control plane can run pods: the API server says that
// it is ready, and the default namespace has its service account. A component
// that ends before is an error that has the last lines of its log.
func (p *Plane) Ready(ctx context.Context) error {
	client, err := kubernetes.NewForConfig(p.Admin())
	if err != nil {
		return err
	}
	for _, check := range []func() error{
		func() error { return client.RESTClient().Get().AbsPath("/readyz").Do(ctx).Error() },
		func() error {
			_, err := client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
			return err
		},
		func() error { return healthy(ctx, "https://127.0.0.1:10259/readyz") },
	} {
		if err := p.await(ctx, check); err != nil {
			return err
		}
	}
	p.mu.Lock()
	p.ready = true
	p.mu.Unlock()
	return nil
}

// await repeats check until it succeeds.
func (p *Plane) await(ctx context.Context, check func() error) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return nil
		}
		if apierrors.IsUnauthorized(err) || apierrors.IsForbidden(err) {
			err = fmt.Errorf("the API server does not take the administrator's certificate: %w", err)
		}
		select {
		case <-ctx.Done():
			if errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx)) {
				err = nil // says no more than the cause does
			}
			return fmt.Errorf("wait for the control plane: %w", errors.Join(context.Cause(ctx), err))
		case <-tick.C:
		}
		if err := p.failure(); err != nil {
			return err
		}
	}
}

// healthy asks a component on the loopback interface, whose certificate it made itself.
func healthy(ctx context.Context, url string) error {
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := transport.RoundTrip(request)
	if err != nil {
		return err
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, answer.Status)
	}
	return nil
}

func (p *Plane) ended(name string, err error) {
	if err == nil {
		err = errors.New("exit status 0")
	}
	p.mu.Lock()
	if !p.ready && p.failed == nil {
		p.failed = fmt.Errorf("%s ended: %w; its last lines:\n%s", name, err, p.component(name).LastLines(15))
	}
	ready := p.ready
	p.mu.Unlock()
	if ready {
		p.o.Ended(name, err)
	}
}

func (p *Plane) failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed
}

// startTimeout is how long an API server may take until it is ready.
const startTimeout = 20 * time.Second

// Start starts a component that was stopped, and wakes one that was paused.
//
// When the API server was away, the controllers and the scheduler begin anew:
// in a cluster with leader election they would have lost their leases, and
// have been restarted. Their watches otherwise come back up to a minute later,
// and meanwhile a node whose heartbeats they do not see is not ready to them.
func (p *Plane) Start(ctx context.Context, name string) error {
	if err := p.ask(ctx, name, (*process.Supervised).Start); err != nil || name != "kube-apiserver" {
		return err
	}
	ready, cancel := context.WithTimeoutCause(ctx, startTimeout,
		fmt.Errorf("kube-apiserver is started, but not ready after %v; it needs etcd (`devcluster start etcd`, then start this again)", startTimeout))
	defer cancel()
	if err := p.answers(ready); err != nil {
		return err
	}
	return errors.Join(p.ask(ctx, "kube-controller-manager", (*process.Supervised).Restart), p.ask(ctx, "kube-scheduler", (*process.Supervised).Restart))
}

// answers waits until the API server is ready.
func (p *Plane) answers(ctx context.Context) error {
	client, err := kubernetes.NewForConfig(p.Admin())
	if err != nil {
		return err
	}
	return p.await(ctx, func() error { return client.RESTClient().Get().AbsPath("/readyz").Do(ctx).Error() })
}

// Stop ends a component until Start.
func (p *Plane) Stop(ctx context.Context, name string) error {
	return p.ask(ctx, name, (*process.Supervised).Stop)
}

// Pause freezes a component until Start: it keeps its connections and answers nothing.
func (p *Plane) Pause(ctx context.Context, name string) error {
	return p.ask(ctx, name, (*process.Supervised).Pause)
}

func (p *Plane) ask(ctx context.Context, name string, verb func(*process.Supervised, context.Context) error) error {
	c := p.component(name)
	if c == nil {
		return fmt.Errorf("no component %q: there are %s", name, strings.Join(Names(), ", "))
	}
	return verb(c, ctx)
}

func (p *Plane) component(name string) *process.Supervised {
	i := slices.IndexFunc(p.components, func(c *process.Supervised) bool { return c.Name() == name })
	if i < 0 {
		return nil
	}
	return p.components[i]
}

// Admin returns the credentials of an administrator (group system:masters).
func (p *Plane) Admin() *rest.Config { return p.config(p.admin) }

// WriteAdmin stores the administrator's credentials as a kubeconfig.
func (p *Plane) WriteAdmin(file string) error { return p.writeKubeconfig(file, p.admin) }

// AdminKubeconfig is the kubeconfig of an administrator who reaches the API
// server under another URL. Its certificate holds for 127.0.0.1.
func (p *Plane) AdminKubeconfig(url string) ([]byte, error) {
	return clientcmd.Write(*p.newKubeconfig(url, p.admin))
}

// Node is what a node needs to be one; certificates and keys are PEM.
type Node struct {
	Server                  string // URL of the API server
	CA                      []byte // signed the API server's certificates, as a server and as the kubelet API's client
	Cert, Key               []byte // of system:node:NAME
	ServingCert, ServingKey []byte // for the kubelet API
}

// Node makes the credentials of the node called name, which serves at addrs.
func (p *Plane) Node(name string, addrs ...netip.Addr) (Node, error) {
	client, err := p.ca.client("system:node:"+name, "system:nodes")
	if err != nil {
		return Node{}, err
	}
	server, err := p.ca.server([]string{name, "localhost"}, addrs)
	if err != nil {
		return Node{}, err
	}
	return Node{
		Server: p.url, CA: p.ca.certPEM(),
		Cert: client.cert, Key: client.key,
		ServingCert: server.cert, ServingKey: server.key,
	}, nil
}

func (p *Plane) pki(file string) string { return filepath.Join(p.o.Dir, "pki", file) }

func (p *Plane) kubeconfig(user string) string {
	return filepath.Join(p.o.Dir, user+".kubeconfig")
}

func (p *Plane) writeFiles() error {
	dir := p.pki("")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	ca, err := newAuthority("devcluster")
	if err != nil {
		return err
	}
	p.ca = ca
	frontProxyCA, err := newAuthority("devcluster-front-proxy")
	if err != nil {
		return err
	}
	caKey, err := encodeKey(ca.key)
	if err != nil {
		return err
	}
	if err := (keyPair{cert: ca.certPEM(), key: caKey}).write(dir, "ca"); err != nil {
		return err
	}
	if err := os.WriteFile(p.pki("front-proxy-ca.crt"), frontProxyCA.certPEM(), 0o644); err != nil {
		return err
	}
	if err := writeServiceAccountKeys(dir); err != nil {
		return err
	}
	names := []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + p.o.Domain, "localhost"}
	addrs := []netip.Addr{netip.MustParseAddr(APIServer), netip.MustParseAddr("127.0.0.1")}
	server, err := ca.server(names, addrs)
	if err != nil {
		return err
	}
	if err := server.write(dir, "apiserver"); err != nil {
		return err
	}
	clients := []struct {
		ca     *authority
		file   string
		user   string
		groups []string
	}{
		// The names are those of kubeadm.
		{ca, "apiserver-kubelet-client", "kube-apiserver-kubelet-client", []string{"system:masters"}},
		{frontProxyCA, "front-proxy-client", "front-proxy-client", nil},
	}
	for _, c := range clients {
		pair, err := c.ca.client(c.user, c.groups...)
		if err != nil {
			return err
		}
		if err := pair.write(dir, c.file); err != nil {
			return err
		}
	}
	if p.admin, err = ca.client("devcluster-admin", "system:masters"); err != nil {
		return err
	}
	for _, name := range []string{"kube-controller-manager", "kube-scheduler"} {
		pair, err := ca.client("system:" + name)
		if err != nil {
			return err
		}
		if err := p.writeKubeconfig(p.kubeconfig(name), pair); err != nil {
			return err
		}
	}
	return os.WriteFile(p.pki("audit-policy.yaml"), []byte(auditPolicy), 0o644)
}
