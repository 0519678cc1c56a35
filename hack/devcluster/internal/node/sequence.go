package node

import (
	"context"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"github.com/xinhari/xinhari/hack/devcluster/internal/node/pod"
	"github.com/xinhari/xinhari/hack/devcluster/internal/node/volume"
)

// runContainers runs init containers in turn, with sidecars among them, then
// the others, until these have ended for good. Sidecars are asked to stop when
// all that came after them has ended, in the reverse order of their start; their
// preStop hooks begin at once.
func (w *worker) runContainers(ctx context.Context, p *corev1.Pod, sources volume.Sources, objects *objectUser) {
	besideMain, endBeside := context.WithCancel(ctx)
	var sidecars []*containerRun
	defer func() {
		endBeside()
		for _, c := range slices.Backward(sidecars) {
			close(c.turn)
			<-c.done
		}
	}()
	for i := range p.Spec.InitContainers {
		spec := &p.Spec.InitContainers[i]
		if spec.RestartPolicy == nil || *spec.RestartPolicy != corev1.ContainerRestartPolicyAlways {
			if !newContainerRun(w, spec, initContainer, sources).run(ctx) {
				return
			}
			continue
		}
		c := newContainerRun(w, spec, sidecarContainer, sources)
		c.turn = make(chan struct{})
		sidecars = append(sidecars, c)
		go c.run(besideMain)
		select {
		case <-c.up.done:
		case <-ctx.Done():
			return
		}
	}
	var mains sync.WaitGroup
	for i := range p.Spec.Containers {
		c := newContainerRun(w, &p.Spec.Containers[i], mainContainer, sources)
		mains.Go(func() { c.run(ctx) })
		<-c.settled.done // The next waits for its postStart hook.
	}
	var ephemeral sync.WaitGroup
	ephemeral.Go(func() { w.runEphemeral(besideMain, sources, objects) })
	mains.Wait()
	endBeside()
	ephemeral.Wait()
}

// runEphemeral runs the ephemeral containers that the pod is given, until ctx
// ends.
func (w *worker) runEphemeral(ctx context.Context, sources volume.Sources, objects *objectUser) {
	var all sync.WaitGroup
	defer all.Wait()
	for known := 0; ; { // The list only grows.
		w.mu.Lock()
		p, changed := w.pod, w.changed
		w.mu.Unlock()
		added := p.Spec.EphemeralContainers[known:]
		if len(added) > 0 {
			objects.extend(p)
		}
		for _, e := range added {
			spec := corev1.Container(e.EphemeralContainerCommon)
			c := newContainerRun(w, &spec, ephemeralContainer, sources)
			if err := pod.UnsupportedContainer(p, &e); err != nil {
				w.event(corev1.EventTypeWarning, "Unsupported", err.Error())
				c.waiting("Unsupported", err.Error())
				continue
			}
			c.target = e.TargetContainerName
			all.Go(func() { c.run(ctx) })
		}
		known = len(p.Spec.EphemeralContainers)
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}
