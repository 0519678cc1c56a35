package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/kubernetes"

	"github.com/xinhari/xinhari/hack/devcluster/internal/network"
	"github.com/xinhari/xinhari/hack/devcluster/internal/node"
	"github.com/xinhari/xinhari/hack/devcluster/internal/process"
	"github.com/xinhari/xinhari/hack/devcluster/internal/sandbox"
)

// MaxNodes is how many nodes a cluster can have.
const MaxNodes = 50

// region is that of every node that is in a zone.
const region = "local"

// NodeName is the name of node i, which counts from 1.
func NodeName(i int) string { return fmt.Sprintf("node-%d", i) }

func (o *Options) checkNodes() error {
	if o.Nodes == 0 {
		o.Nodes = 1
	}
	if o.Nodes < 1 || o.Nodes > MaxNodes {
		return fmt.Errorf("--nodes: there can be 1 to %d, not %d", MaxNodes, o.Nodes)
	}
	if o.Zones == nil && o.Nodes > 1 {
		o.Zones = []string{"zone-a", "zone-b", "zone-c"}
	}
	for _, zone := range o.Zones {
		if zone == "" || len(validation.IsValidLabelValue(zone)) > 0 {
			return fmt.Errorf("--zones: %q cannot be the value of a label: letters, digits, '-', '_' and '.' make one, up to 63", zone)
		}
	}
	return nil
}

// labels are those of node i, which counts from 1.
func (o *Options) labels(i int) map[string]string {
	if len(o.Zones) == 0 {
		return nil
	}
	return map[string]string{
		corev1.LabelTopologyZone:   o.Zones[(i-1)%len(o.Zones)],
		corev1.LabelTopologyRegion: region,
	}
}

// clusterNode is a node: its place in the network, and its agent's process.
type clusterNode struct {
	*process.Supervised
	network *network.Network
	member  *network.Member

	mu     sync.Mutex
	parted parting
}

// parting is why a node is off the network.
type parting struct{ cut, stopped bool }

// part changes why the node is off the network, and with that, whether it is.
func (n *clusterNode) part(change func(*parting)) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	next := n.parted
	change(&next)
	if err := n.network.Connect(n.member, !next.cut && !next.stopped); err != nil {
		return err
	}
	n.parted = next
	return nil
}

// makeNodes makes the network of all nodes. It starts nothing.
func (s *supervisor) makeNodes() error {
	images := s.Images
	if images == "" {
		images = filepath.Join(sandbox.Dir, "images")
		if err := os.Mkdir(images, 0o755); err != nil {
			return err
		}
	}
	for i := range s.Nodes {
		n, err := s.makeNode(i+1, images)
		if err != nil {
			return err
		}
		s.nodes = append(s.nodes, n)
	}
	return nil
}

func (s *supervisor) makeNode(i int, images string) (*clusterNode, error) {
	name := NodeName(i)
	member, err := s.network.AddNode(i)
	if err != nil {
		return nil, err
	}
	credentials, err := s.plane.Node(name, member.Addr)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(sandbox.Dir, "nodes", name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	input, err := json.Marshal(node.Spec{
		Name:          name,
		Server:        credentials.Server,
		CA:            credentials.CA,
		Cert:          credentials.Cert,
		Key:           credentials.Key,
		ServingCert:   credentials.ServingCert,
		ServingKey:    credentials.ServingKey,
		Addr:          member.Addr,
		Pods:          network.NodeRange(i),
		Images:        images,
		Dir:           dir,
		ClusterDNS:    dnsAddr(),
		ClusterDomain: Domain,
		Labels:        s.labels(i),
	})
	if err != nil {
		return nil, err
	}
	return &clusterNode{
		network: s.network,
		member:  member,
		Supervised: process.New(process.Options{
			Name:      name,
			Path:      filepath.Join(sandbox.Dir, "programs", node.ProgramName),
			Input:     input,
			Namespace: member.Namespace,
			Mounts:    true,
			Log:       filepath.Join(sandbox.Logs, name+".log"),
			Ended:     s.componentEnded,
		}),
	}, nil
}

// startNodes starts the nodes' agents, which run until ctx ends.
func (s *supervisor) startNodes(ctx context.Context) {
	for _, n := range s.nodes {
		s.part(ctx, n.Name(), func(ctx context.Context) error { n.Run(ctx); return nil })
	}
}

// node returns that of a name.
func (s *supervisor) node(name string) (*clusterNode, bool) {
	i := slices.IndexFunc(s.nodes, func(n *clusterNode) bool { return n.Name() == name })
	if i < 0 {
		return nil, false
	}
	return s.nodes[i], true
}

// nodesReady waits until the API server has all nodes, and they take pods.
func (s *supervisor) nodesReady(ctx context.Context) error {
	client, err := kubernetes.NewForConfig(s.plane.Admin())
	if err != nil {
		return err
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		list, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err == nil {
			ready := 0
			for _, n := range list.Items {
				if isReady(&n) {
					ready++
				}
			}
			if ready == len(s.nodes) {
				break
			}
			err = fmt.Errorf("%d of %d are ready", ready, len(s.nodes))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if errors.Is(err, ctx.Err()) {
				err = nil // says no more than the cause does
			}
			return fmt.Errorf("wait for the nodes: %w", errors.Join(context.Cause(ctx), err))
		}
	}
	if len(s.nodes) == 1 {
		s.progress("%s ready", s.nodes[0].Name())
	} else {
		s.progress("%d nodes ready", len(s.nodes))
	}
	return nil
}

// isReady reports whether a node takes pods. The taint of a new node stays a
// moment longer than its condition, and what is scheduled meanwhile would
// crowd on others.
func isReady(n *corev1.Node) bool {
	if slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeNotReady }) {
		return false
	}
	return slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}
