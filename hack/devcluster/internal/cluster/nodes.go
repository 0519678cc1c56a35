package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/xinhari/xinhari/hack/devcluster/internal/node"
	"github.com/xinhari/xinhari/hack/devcluster/internal/sandbox"
)

// nodeName is the name of the one node.
const nodeName = "node-1"

// startNodes starts the node's agent, which runs until ctx ends, and returns
// when the node is ready, or with ready.
func (s *supervisor) startNodes(ctx, ready context.Context) error {
	images := s.Images
	if images == "" {
		images = filepath.Join(sandbox.Dir, "images")
		if err := os.Mkdir(images, 0o755); err != nil {
			return err
		}
	}
	if err := s.startNode(ctx, nodeName, images); err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(s.plane.Admin())
	if err != nil {
		return err
	}
	if err := nodeReady(ready, client, nodeName); err != nil {
		return err
	}
	s.progress("%s ready", nodeName)
	return nil
}

func (s *supervisor) startNode(ctx context.Context, name, images string) error {
	credentials, err := s.plane.Node(name, s.network.Gateway())
	if err != nil {
		return err
	}
	dir := filepath.Join(sandbox.Dir, "nodes", name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	agent, err := node.New(node.Options{
		Name:          name,
		Config:        credentials.Config,
		Network:       s.network,
		Images:        images,
		Dir:           dir,
		ClusterDNS:    dnsAddr,
		ClusterDomain: Domain,
		ServingCert:   credentials.ServingCert,
		ClientCA:      credentials.ClientCA,
		Logger:        s.log.With("part", name),
	})
	if err != nil {
		return err
	}
	s.part(ctx, name, agent.Run)
	return nil
}

// nodeReady waits until the API server has a node that takes pods.
func nodeReady(ctx context.Context, client kubernetes.Interface, name string) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		n, err := client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if err == nil {
			for _, c := range n.Status.Conditions {
				if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
					return nil
				}
			}
			err = errors.New("it is registered and not ready")
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if errors.Is(err, ctx.Err()) {
				err = nil // says no more than the cause does
			}
			return fmt.Errorf("wait for %s: %w", name, errors.Join(context.Cause(ctx), err))
		}
	}
}
