// Package node is the node agent of the cluster: what a kubelet is elsewhere.
//
// It registers a Node, runs the pods bound to it as processes, reports how
// they are, and serves the kubelet's API for logs, exec and port forwarding.
// It acts as system:node:NAME, with the rights that Kubernetes gives to nodes.
//
// Pods go on while the API server is away; the API learns of what happened
// when it is back. Pods end with the agent: it keeps no state across its own
// end.
//
// What it makes of each field of a pod is listed in FIELDS.md; what it does not
// do is refused by name in an event. Where the cluster was started without root,
// all containers run as its one user.
package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"

	"github.com/xinhari/xinhari/hack/devcluster/internal/network"
	"github.com/xinhari/xinhari/hack/devcluster/internal/node/kubelet"
	"github.com/xinhari/xinhari/hack/devcluster/internal/node/pod"
	"github.com/xinhari/xinhari/hack/devcluster/internal/node/runtime"
)

// Options describe a node. All but Logger and ClusterDNS are required.
type Options struct {
	// Name is the Node's.
	Name string
	// Config reaches the API server as system:node:NAME.
	Config *rest.Config
	// Network is what pods are attached to.
	Network *network.Node
	// PodCIDR is the range of the pods' addresses, for the Node object; empty: not told.
	PodCIDR string
	// Labels are the Node's, beyond those every node has.
	Labels map[string]string
	// Images is a folder of programs: image xinhari.local/NAME:dev is NAME.
	Images string
	// Dir is a folder for the state of pods, emptied at the start.
	Dir string
	// ClusterDNS is the name server of pods; none if zero.
	ClusterDNS netip.Addr
	// ClusterDomain ends the names of Services, such as cluster.local.
	ClusterDomain string
	// ServingCert is shown by the kubelet API.
	ServingCert tls.Certificate
	// ClientCA signs the certificates of the kubelet API's callers.
	ClientCA *x509.CertPool
	// Logger is silent if nil.
	Logger *slog.Logger
}

// Agent runs the pods of one node.
type Agent struct {
	o       Options
	log     *slog.Logger
	client  kubernetes.Interface
	events  record.EventRecorder
	users   runtime.Mapped
	groups  runtime.Mapped
	objects *objects
	// services are what the environment of containers names.
	services *services

	mu      sync.Mutex
	workers map[types.UID]*worker
	running sync.WaitGroup
}

// New checks the options.
func New(o Options) (*Agent, error) {
	switch {
	case o.Name == "":
		return nil, errors.New("node: no name")
	case o.Config == nil:
		return nil, errors.New("node: no configuration of the API server")
	case o.Network == nil:
		return nil, errors.New("node: no network")
	case o.Images == "" || o.Dir == "":
		return nil, errors.New("node: no folder of images or of state")
	case o.ClientCA == nil:
		return nil, errors.New("node: no CA for the kubelet API's callers")
	}
	config := rest.CopyConfig(o.Config)
	config.QPS, config.Burst = 200, 400
	config.UserAgent = "devcluster-node"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	a := &Agent{o: o, log: o.Logger, client: client, services: newServices(), workers: map[types.UID]*worker{}}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	if a.users, err = runtime.MappedUsers(); err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	if a.groups, err = runtime.MappedGroups(); err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	return a, nil
}

// Run works until ctx ends, and then kills all pods. It must be called once.
func (a *Agent) Run(ctx context.Context) error {
	pods := filepath.Join(a.o.Dir, "pods")
	if err := os.RemoveAll(pods); err != nil {
		return fmt.Errorf("clear the state folder: %w", err)
	}
	if err := os.MkdirAll(pods, 0o755); err != nil {
		return err
	}
	address := netip.AddrPortFrom(a.o.Network.Addr(), kubelet.Port)
	server, err := kubelet.Listen(address, a.o.ServingCert, a.o.ClientCA, a.client, a)
	if err != nil {
		return err
	}
	broadcaster := record.NewBroadcaster()
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: a.client.CoreV1().Events("")})
	defer broadcaster.Shutdown()
	a.events = broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "kubelet", Host: a.o.Name})
	a.objects = newObjects(ctx, a.client)

	var parts sync.WaitGroup
	parts.Go(func() { server.Run(ctx) })
	parts.Go(func() { a.register(ctx) })
	parts.Go(func() { a.watchPods(ctx) })
	parts.Go(func() {
		a.services.watch(ctx, a.client, func(err error) { a.log.Debug("watch services", "error", err) })
	})
	parts.Wait()
	a.running.Wait()
	a.objects.wait()
	return nil
}

// watchPods hands each pod of the node to its worker.
func (a *Agent) watchPods(ctx context.Context) {
	mine := fields.OneTermEqualSelector("spec.nodeName", a.o.Name).String()
	api := a.client.CoreV1().Pods(metav1.NamespaceAll)
	follow(ctx, source[*corev1.Pod]{
		list: func(ctx context.Context, o metav1.ListOptions) (listed, error) {
			o.FieldSelector = mine
			return api.List(ctx, o)
		},
		watch: func(ctx context.Context, o metav1.ListOptions) (watcher, error) {
			o.FieldSelector = mine
			return api.Watch(ctx, o)
		},
		replace: func(pods []*corev1.Pod) {
			present := map[types.UID]bool{}
			for _, p := range pods {
				present[p.UID] = true
				a.setPod(ctx, p)
			}
			a.mu.Lock()
			var gone []*worker
			for uid, w := range a.workers {
				if !present[uid] {
					gone = append(gone, w)
				}
			}
			a.mu.Unlock()
			for _, w := range gone {
				w.gone()
			}
		},
		set: func(p *corev1.Pod) { a.setPod(ctx, p) },
		remove: func(p *corev1.Pod) {
			a.mu.Lock()
			w := a.workers[p.UID]
			a.mu.Unlock()
			if w != nil {
				w.gone()
			}
		},
		failed: func(err error) { a.log.Debug("watch pods", "error", err) },
	})
}

func (a *Agent) setPod(ctx context.Context, p *corev1.Pod) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	if w, ok := a.workers[p.UID]; ok {
		w.update(p)
		return
	}
	w := newWorker(ctx, a, p)
	a.workers[p.UID] = w
	a.running.Go(func() {
		w.run()
		a.mu.Lock()
		delete(a.workers, p.UID)
		a.mu.Unlock()
	})
}

// worker returns that of a pod by name; of two, that of the one that lives.
func (a *Agent) worker(namespace, name string) (*worker, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var found *worker
	for _, w := range a.workers {
		p := w.current()
		if p.Namespace == namespace && p.Name == name && (found == nil || p.DeletionTimestamp == nil) {
			found = w
		}
	}
	return found, found != nil
}

func (a *Agent) facts(address netip.Addr) pod.Facts {
	return pod.Facts{
		NodeName:    a.o.Name,
		HostIP:      a.o.Network.Addr(),
		PodIP:       address,
		Allocatable: capacity(1),
		Domain:      a.o.ClusterDomain,
		ClusterDNS:  a.o.ClusterDNS,
		NodeDNS:     nodeDNS(),
	}
}

// nodeDNS is the node's own resolv.conf; it may have none.
func nodeDNS() string {
	data, _ := os.ReadFile("/etc/resolv.conf")
	return string(data)
}

// Lookup returns the main function of the program called name, for main
// functions to call before anything else. It does not return from a call.
func Lookup(name string) (main func(), ok bool) {
	if name == ProgramName {
		return agentMain, true
	}
	return runtime.Lookup(name)
}
