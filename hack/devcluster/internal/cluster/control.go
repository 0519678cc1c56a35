package cluster

import (
	"context"
	"fmt"
)

// Component is control.Cluster's.
func (s *supervisor) Component(ctx context.Context, name, verb string) error {
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

// Pod is control.Cluster's.
func (s *supervisor) Pod(ctx context.Context, namespace, name, verb string) error {
	return fmt.Errorf("not yet")
}
