package cluster

import (
	"context"
	"fmt"
	"strings"

	"github.com/xinhari/xinhari/hack/devcluster/internal/controlplane"
)

// Component is control.Cluster's.
func (s *supervisor) Component(ctx context.Context, name, verb string) error {
	if n, ok := s.node(name); ok {
		return s.nodeVerb(ctx, n, verb)
	}
	if !controlplane.Has(name) {
		return fmt.Errorf("no component %q: there are %s", name, strings.Join(s.components(), ", "))
	}
	switch verb {
	case "start":
		return s.plane.Start(ctx, name)
	case "stop":
		return s.plane.Stop(ctx, name)
	case "pause":
		return s.plane.Pause(ctx, name)
	}
	return fmt.Errorf("no verb %q: there are start, stop and pause", verb)
}

// components are the names of all that can be stopped.
func (s *supervisor) components() []string {
	return append(controlplane.Names(), s.nodeNames()...)
}

func (s *supervisor) nodeNames() []string {
	var names []string
	for _, n := range s.nodes {
		names = append(names, n.Name())
	}
	return names
}

// nodeVerb does with a node what is done with components. To stop it is what
// a loss of power does: it falls silent first, so nobody is told of the end of
// its pods' connections.
func (s *supervisor) nodeVerb(ctx context.Context, n *clusterNode, verb string) error {
	switch verb {
	case "start":
		if err := n.part(func(p *parting) { p.stopped = false }); err != nil {
			return err
		}
		return n.Start(ctx)
	case "stop":
		if err := n.part(func(p *parting) { p.stopped = true }); err != nil {
			return err
		}
		return n.Kill(ctx)
	case "pause":
		return n.Pause(ctx)
	}
	return fmt.Errorf("no verb %q: there are start, stop and pause", verb)
}
