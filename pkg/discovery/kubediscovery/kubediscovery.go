// Package kubediscovery finds the instances of services in the EndpointSlices
// of a Kubernetes cluster: one watch for each service that is used, resumed
// after interruptions.
//
// A workload may read the slices of its own namespace and of those that let it
// call once a Service object names its account; a missing right is an error
// that says so. An EndpointSlice without a port of the name asked for is
// skipped. A pod with addresses of both IP families is one endpoint.
package kubediscovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"k8s.io/client-go/rest"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
	"github.com/xinhari/xinhari/internal/kubekinds"
	"github.com/xinhari/xinhari/internal/kubewatch"
	"github.com/xinhari/xinhari/pkg/discovery"
)

// DefaultPort is the name of the port that is called unless another is asked for.
const DefaultPort = xinhariv1alpha1.DefaultPortName

// Options are the options of New; the zero value is good.
type Options struct {
	// Port is the name of the port to call; "" is DefaultPort.
	Port string

	// Versions calls set with the names of the Service's versions, in their
	// order, now and at each change, until ctx ends. nil = there are none.
	Versions func(ctx context.Context, service discovery.Service, set func(versions []string))

	// Logger is told of lost and resumed watches; nil is silent.
	Logger *slog.Logger
}

// New returns a source that asks the API server of config.
func New(config *rest.Config, o Options) (*discovery.Discovery, error) {
	if o.Port == "" {
		o.Port = DefaultPort
	}
	client, err := kubewatch.NewClient(config, kubekinds.Discovery(), kubekinds.AddDiscovery, o.Logger)
	if err != nil {
		return nil, fmt.Errorf("kubernetes discovery: %w", err)
	}
	if o.Versions == nil {
		o.Versions = func(_ context.Context, _ discovery.Service, set func([]string)) { set(nil) }
	}
	return discovery.New(&driver{client: client, port: o.Port, versions: o.Versions}, discovery.Options{Logger: o.Logger}), nil
}

type driver struct {
	client   *kubewatch.Client
	port     string
	versions func(context.Context, discovery.Service, func([]string))
}

func (*driver) Name() string { return "Kubernetes" }

// Watch follows the slices of the core Service and of its versions' with one
// watch, which is made anew when the versions change.
func (d *driver) Watch(ctx context.Context, service discovery.Service, set func(discovery.Snapshot)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changes := make(chan []string)
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() {
		d.versions(ctx, service, func(versions []string) {
			select {
			case changes <- versions:
			case <-ctx.Done():
			}
		})
	})
	stop := func() {}
	defer func() { stop() }()
	var current []string
	first := true
	for {
		select {
		case versions := <-changes:
			if !first && slices.Equal(current, versions) {
				continue
			}
			first, current = false, slices.Clone(versions)
			stop()
			stop = d.watchSlices(ctx, service, current, set)
		case <-ctx.Done():
			return nil
		}
	}
}

// watchSlices watches until the function that it returns is called.
func (d *driver) watchSlices(ctx context.Context, service discovery.Service, versions []string, set func(discovery.Snapshot)) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	names := []string{service.Name}
	for _, v := range versions {
		names = append(names, service.Name+xinhariv1alpha1.VersionSeparator+v)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.client.Watch(ctx, kubewatch.Query{
			Resource:  "endpointslices",
			Namespace: service.Namespace,
			Labels:    kubekinds.LabelServiceName + " in (" + strings.Join(names, ",") + ")",
			List:      &kubekinds.EndpointSliceList{},
			Example:   &kubekinds.EndpointSlice{},
		}, func(s kubewatch.State) { set(d.snapshot(service, s)) })
	}()
	return func() {
		cancel()
		<-done
	}
}

func (d *driver) snapshot(service discovery.Service, s kubewatch.State) discovery.Snapshot {
	slices := map[string]*kubekinds.EndpointSlice{}
	for _, o := range s.Objects {
		slices[o.GetName()] = o.(*kubekinds.EndpointSlice)
	}
	snapshot := discovery.Snapshot{Synced: s.Synced, Known: len(slices) > 0}
	if s.Err != nil {
		snapshot.Err = explain(service, s.Err)
	}
	var skipped int
	snapshot.Endpoints, skipped = endpoints(slices, d.port)
	if skipped > 0 {
		snapshot.Detail = fmt.Sprintf("%d EndpointSlices have no port named %q", skipped, d.port)
	}
	return snapshot
}

// explain adds to a missing right how it is given.
func explain(service discovery.Service, err error) error {
	var denied *kubewatch.PermissionError
	if errors.As(err, &denied) {
		return fmt.Errorf("%w: apply an object of kind Service (%s) in namespace %s whose serviceAccountName is this workload's account, "+
			"and the operator grants the right (kubectl get xsvc -n %s); "+
			"to a workload of another namespace, an AccessRule in %s that allows it grants it",
			err, xinhariv1alpha1.GroupVersion(), service.Namespace, service.Namespace, service.Namespace)
	}
	return err
}

// endpoints makes one endpoint of each instance in the slices. If any slice is
// of a version, only those of versions count. skipped is the number of slices
// without the port.
func endpoints(all map[string]*kubekinds.EndpointSlice, port string) (list []discovery.Endpoint, skipped int) {
	versioned := false
	for _, s := range all {
		if s.Labels[xinhariv1alpha1.LabelVersion] != "" {
			versioned = true
		}
	}
	instances := map[string]*discovery.Endpoint{}
	for _, name := range sortedKeys(all) {
		s := all[name]
		version := s.Labels[xinhariv1alpha1.LabelVersion]
		if versioned && version == "" {
			continue
		}
		number, ok := portOf(s, port)
		if !ok {
			skipped++
			continue
		}
		for i := range s.Endpoints {
			e := &s.Endpoints[i]
			addrs := addresses(e, number)
			if len(addrs) == 0 {
				continue
			}
			id := addrs[0].String()
			if e.TargetRef != nil && e.TargetRef.UID != "" {
				id = string(e.TargetRef.UID)
			}
			known, ok := instances[id]
			if !ok {
				known = &discovery.Endpoint{State: stateOf(e.Conditions), Version: version}
				if e.Zone != nil {
					known.Zone = *e.Zone
				}
				instances[id] = known
			}
			for _, a := range addrs {
				if !slices.Contains(known.Addresses, a) {
					known.Addresses = append(known.Addresses, a)
				}
			}
		}
	}
	for _, id := range sortedKeys(instances) {
		e := instances[id]
		slices.SortFunc(e.Addresses, netip.AddrPort.Compare)
		list = append(list, *e)
	}
	return list, skipped
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, cmp.Compare[string])
	return keys
}

func portOf(s *kubekinds.EndpointSlice, name string) (uint16, bool) {
	for _, p := range s.Ports {
		if p.Port != nil && *p.Port > 0 && *p.Port <= 65535 && p.Name != nil && *p.Name == name {
			return uint16(*p.Port), true
		}
	}
	return 0, false
}

func addresses(e *kubekinds.Endpoint, port uint16) []netip.AddrPort {
	var addrs []netip.AddrPort
	for _, a := range e.Addresses {
		if addr, err := netip.ParseAddr(a); err == nil {
			addrs = append(addrs, netip.AddrPortFrom(addr.Unmap(), port))
		}
	}
	return addrs
}

// stateOf reads the conditions as the API documents them: nil is true for
// ready and serving, and false for terminating.
func stateOf(c kubekinds.EndpointConditions) discovery.State {
	terminating := c.Terminating != nil && *c.Terminating
	ready := c.Ready == nil || *c.Ready
	serving := ready
	if c.Serving != nil {
		serving = *c.Serving
	}
	switch {
	case ready && !terminating:
		return discovery.Ready
	case serving && terminating:
		return discovery.Draining
	default:
		return discovery.NotReady
	}
}
