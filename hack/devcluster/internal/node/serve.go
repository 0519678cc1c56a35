package node

import (
	"context"
	"fmt"
	"net"

	"github.com/xinhari/xinhari/hack/devcluster/internal/node/console"
	"github.com/xinhari/xinhari/hack/devcluster/internal/node/kubelet"
	"github.com/xinhari/xinhari/hack/devcluster/internal/node/logs"
	"github.com/xinhari/xinhari/hack/devcluster/internal/node/runtime"
)

var _ kubelet.Pods = (*Agent)(nil)

// Log returns the log of a container's last run, or of the run before.
func (a *Agent) Log(namespace, name, container string, previous bool) (*logs.Log, error) {
	w, ok := a.worker(namespace, name)
	if !ok {
		return nil, fmt.Errorf("pod %s/%s is not here", namespace, name)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	kept := w.logs[container]
	if previous {
		if kept.previous == nil {
			return nil, fmt.Errorf("previous terminated container %q in pod %q not found", container, name)
		}
		return kept.previous, nil
	}
	if kept.current == nil {
		return nil, fmt.Errorf("container %q of pod %s/%s has no log yet", container, namespace, name)
	}
	return kept.current, nil
}

// Container returns a running container.
func (a *Agent) Container(namespace, name, container string) (*runtime.Container, error) {
	running, err := a.runs(namespace, name, container)
	return running.Container, err
}

// Console returns where to attach to a running container.
func (a *Agent) Console(namespace, name, container string) (*console.Console, error) {
	running, err := a.runs(namespace, name, container)
	return running.console, err
}

// runs returns a container that runs now.
func (a *Agent) runs(namespace, name, container string) (runningContainer, error) {
	w, ok := a.worker(namespace, name)
	if !ok {
		return runningContainer{}, fmt.Errorf("pod %s/%s is not here", namespace, name)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	running, ok := w.containers[container]
	if !ok {
		return runningContainer{}, notRunning(container)
	}
	return running, nil
}

// Dial connects to a port of the pod's loopback address.
func (a *Agent) Dial(ctx context.Context, namespace, name string, port int) (net.Conn, error) {
	w, ok := a.worker(namespace, name)
	if !ok {
		return nil, fmt.Errorf("pod %s/%s is not here", namespace, name)
	}
	w.mu.Lock()
	sandbox := w.sandbox
	w.mu.Unlock()
	if sandbox == nil {
		return nil, notRunning(name)
	}
	return sandbox.Dial(ctx, port)
}
