package cluster

import (
	"context"
	"fmt"
	"net/netip"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
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
	addr, err := s.podAddr(ctx, namespace, name)
	if err != nil {
		return err
	}
	switch verb {
	case "cut":
		return s.network.Cut(addr)
	case "heal":
		return s.network.Heal(addr)
	}
	return fmt.Errorf("no verb %q: there are cut and heal", verb)
}

// podAddr finds a pod that is given by name or by address. Only the name needs the API server.
func (s *supervisor) podAddr(ctx context.Context, namespace, name string) (netip.Addr, error) {
	if addr, err := netip.ParseAddr(name); err == nil {
		return addr, nil
	}
	client, err := kubernetes.NewForConfig(s.plane.Admin())
	if err != nil {
		return netip.Addr{}, err
	}
	pod, err := client.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return netip.Addr{}, fmt.Errorf("find the pod's address, which may be given instead: %w", err)
	}
	addr, err := netip.ParseAddr(pod.Status.PodIP)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("pod %s in %s has no address yet: it is %s", name, namespace, pod.Status.Phase)
	}
	return addr, nil
}
