package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/xinhari/xinhari/hack/devcluster/internal/control"
	"github.com/xinhari/xinhari/hack/devcluster/internal/controlplane"
	"github.com/xinhari/xinhari/hack/devcluster/internal/faults"
	"github.com/xinhari/xinhari/hack/devcluster/internal/network"
)

// lookupTimeout is how long the API server may take to tell the address of a pod.
const lookupTimeout = 5 * time.Second

// apiServer is the name of the API server as a side of a fault.
const apiServer = "kube-apiserver"

// Fault is control.Cluster's.
func (s *supervisor) Fault(ctx context.Context, f control.Fault) error {
	of, err := s.side(ctx, f.Namespace, f.Of)
	if err != nil {
		return err
	}
	fault := faults.Fault{Verb: f.Verb, Of: of, Delay: f.Delay, Jitter: f.Jitter, Share: f.Percent / 100}
	if f.From != "" {
		from, err := s.side(ctx, f.Namespace, f.From)
		if err != nil {
			return err
		}
		fault.From = &from
	}
	return s.faults.Add(fault)
}

// Heal is control.Cluster's.
func (s *supervisor) Heal(ctx context.Context, h control.Healing) error {
	var sides []faults.Side
	for _, name := range h.Sides {
		side, err := s.side(ctx, h.Namespace, name)
		if h.MissingIsOK && apierrors.IsNotFound(err) {
			return nil // Its faults ended with it.
		}
		if err != nil {
			return err
		}
		sides = append(sides, side)
	}
	if h.Verb == "" {
		return s.faults.Heal(sides...)
	}
	if len(sides) == 0 {
		return errors.New("name a side of the fault that is to end")
	}
	fault := faults.Fault{Verb: h.Verb, Of: sides[0]}
	if len(sides) > 1 {
		fault.From = &sides[1]
	}
	return s.faults.End(fault)
}

// Faults is control.Cluster's.
func (s *supervisor) Faults(context.Context) ([]control.Fault, error) {
	list := []control.Fault{}
	for _, f := range s.faults.List() {
		shown := control.Fault{Verb: f.Verb, Of: f.Of.String(), Delay: f.Delay, Jitter: f.Jitter, Percent: f.Share * 100}
		if f.From != nil {
			shown.From = f.From.String()
		}
		list = append(list, shown)
	}
	return list, nil
}

// side finds what is meant by a name or an address. Only a pod's name needs
// the API server.
func (s *supervisor) side(ctx context.Context, namespace, name string) (faults.Side, error) {
	if addr, err := netip.ParseAddr(name); err == nil {
		return s.sideAt(addr), nil
	}
	if name == apiServer {
		return s.sideAt(netip.MustParseAddr(controlplane.APIServer)), nil
	}
	if n, ok := s.node(strings.TrimPrefix(name, "node/")); ok {
		return s.sideAt(n.member.Addr), nil
	}
	if strings.HasPrefix(name, "node/") {
		return faults.Side{}, fmt.Errorf("no node %q: there are %s", strings.TrimPrefix(name, "node/"), strings.Join(s.nodeNames(), ", "))
	}
	pod := strings.TrimPrefix(name, "pod/")
	if before, after, ok := strings.Cut(pod, "/"); ok {
		namespace, pod = before, after
	}
	return s.podSide(ctx, namespace, pod)
}

// sideAt tells what an address is of.
func (s *supervisor) sideAt(addr netip.Addr) faults.Side {
	if addr == netip.MustParseAddr(controlplane.APIServer) {
		return faults.Side{Kind: faults.Server, Addr: addr, Name: apiServer}
	}
	for _, n := range s.nodes {
		if n.member.Addr == addr {
			return faults.Side{Kind: faults.Node, Addr: addr, Name: "node/" + n.Name()}
		}
	}
	if network.Pods().Contains(addr) {
		return faults.Side{Kind: faults.Pod, Addr: addr}
	}
	return faults.Side{Kind: faults.Address, Addr: addr}
}

func (s *supervisor) podSide(ctx context.Context, namespace, name string) (faults.Side, error) {
	client, err := kubernetes.NewForConfig(s.plane.Admin())
	if err != nil {
		return faults.Side{}, err
	}
	// An API server that is paused or cut off from etcd says nothing at all.
	ctx, cancel := context.WithTimeoutCause(ctx, lookupTimeout, fmt.Errorf("no answer from the API server in %v", lookupTimeout))
	defer cancel()
	pod, err := client.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return faults.Side{}, fmt.Errorf("find the pod's address, which may be given instead: %w", err)
	}
	if pod.Spec.HostNetwork {
		return faults.Side{}, fmt.Errorf("pod %s/%s is on the network of its node: name node/%s instead", namespace, name, pod.Spec.NodeName)
	}
	addr, err := netip.ParseAddr(pod.Status.PodIP)
	if err != nil {
		return faults.Side{}, fmt.Errorf("pod %s/%s has no address: it is %s", namespace, name, pod.Status.Phase)
	}
	return faults.Side{Kind: faults.Pod, Addr: addr, Name: "pod/" + namespace + "/" + name}, nil
}

// faultMembers are the nodes as faults know them.
func (s *supervisor) faultMembers() []faults.Member {
	var members []faults.Member
	for _, n := range s.nodes {
		members = append(members, faults.Member{
			Name:      n.Name(),
			Addr:      n.member.Addr,
			Pods:      n.member.Ranges[0],
			Namespace: n.member.Namespace,
			Part:      func(parted bool) error { return n.part(func(p *parting) { p.cut = parted }) },
		})
	}
	return members
}
