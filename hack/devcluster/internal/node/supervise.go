package node

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	httpprobe "k8s.io/kubernetes/pkg/probe/http"

	"github.com/xinhari/xinhari/hack/devcluster/internal/node/probe"
	"github.com/xinhari/xinhari/hack/devcluster/internal/node/runtime"
)

// supervise looks after a running container until it has ended: by itself, by
// a probe, or because ctx did.
func (c *containerRun) supervise(ctx context.Context, running *runtime.Container) runtime.Exit {
	// Readiness is asked for while the container stops, too.
	readiness, stopReadiness := context.WithCancel(context.WithoutCancel(ctx))
	living, stopLiving := context.WithCancel(ctx)
	p := &parts{kill: make(chan string, 1)}
	p.Go(func() { c.attend(living, readiness, running, p) })
	select {
	case <-running.Done():
	case why := <-p.kill:
		stopLiving()
		c.event(corev1.EventTypeNormal, "Killing", why)
		c.end(running, c.ownGrace)
	case <-ctx.Done():
		stopLiving()
		c.event(corev1.EventTypeNormal, "Killing", "Stopping container "+c.spec.Name)
		c.end(running, c.podGrace)
	}
	stopLiving()
	stopReadiness()
	p.Wait()
	return running.Exit()
}

// attend runs the hook after the start, then asks the startup probe, then the
// others.
func (c *containerRun) attend(living, readiness context.Context, running *runtime.Container, p *parts) {
	if hooks := c.spec.Lifecycle; hooks != nil && hooks.PostStart != nil {
		if err := c.hook(living, hooks.PostStart, running); err != nil {
			if living.Err() == nil {
				c.event(corev1.EventTypeWarning, "FailedPostStartHook", err.Error())
				p.end("FailedPostStartHook")
			}
			return
		}
	}
	target := probe.Target{Container: c.spec, Address: c.sources.Facts.PodIP, Exec: executor(running)}
	if c.spec.StartupProbe != nil && !c.awaitStartup(living, target, p) {
		return
	}
	c.update(func(s *corev1.ContainerStatus) {
		started := true
		s.Started = &started
		s.Ready = c.spec.ReadinessProbe == nil
	})
	if c.spec.LivenessProbe != nil {
		p.Go(func() {
			probe.Run(living, c.spec.LivenessProbe, target, false, func(ok bool, message string) {
				if !ok {
					c.unhealthy("Liveness", message)
					p.end(fmt.Sprintf("Container %s failed liveness probe, will be restarted", c.spec.Name))
				}
			})
		})
	}
	if c.spec.ReadinessProbe != nil {
		probe.Run(readiness, c.spec.ReadinessProbe, target, true, func(ok bool, message string) {
			if !ok {
				c.unhealthy("Readiness", message)
			}
			c.update(func(s *corev1.ContainerStatus) { s.Ready = ok })
		})
	}
}

func (c *containerRun) awaitStartup(ctx context.Context, target probe.Target, p *parts) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	up := false
	probe.Run(ctx, c.spec.StartupProbe, target, false, func(ok bool, message string) {
		up = ok
		if !ok {
			c.unhealthy("Startup", message)
			p.end(fmt.Sprintf("Container %s failed startup probe, will be restarted", c.spec.Name))
		}
		cancel()
	})
	return up
}

func (c *containerRun) unhealthy(kind, message string) {
	c.event(corev1.EventTypeWarning, "Unhealthy", kind+" probe failed: "+message)
}

// end has the container ended for a reason, unless there is one already.
func (p *parts) end(why string) {
	select {
	case p.kill <- why:
	default:
	}
}

func executor(running *runtime.Container) probe.Executor {
	return func(ctx context.Context, command []string, output *bytes.Buffer) (int, error) {
		return running.Exec(ctx, runtime.Command{Args: command, Stdout: output, Stderr: output})
	}
}

// minGrace is what a container gets after its hook even if that took all.
const minGrace = 2 * time.Second

// end asks the container to stop, and kills it when its time is over. The time
// is looked up again whenever the pod changes.
func (c *containerRun) end(running *runtime.Container, grace func() time.Duration) {
	begun := time.Now()
	if hooks := c.spec.Lifecycle; hooks != nil && hooks.PreStop != nil && grace() > 0 {
		ctx, cancel := context.WithTimeout(c.worker.life, grace())
		if err := c.hook(ctx, hooks.PreStop, running); err != nil {
			c.event(corev1.EventTypeWarning, "FailedPreStopHook", err.Error())
		}
		cancel()
		if left := grace() - time.Since(begun); left < minGrace {
			begun = begun.Add(minGrace - left)
		}
	}
	_ = running.Signal(c.stopSignal())
	for {
		c.worker.mu.Lock()
		changed := c.worker.changed
		c.worker.mu.Unlock()
		timer := time.NewTimer(grace() - time.Since(begun))
		select {
		case <-running.Done():
			timer.Stop()
			return
		case <-changed:
			timer.Stop()
		case <-c.worker.life.Done():
			timer.Stop()
			_ = running.Signal(syscall.SIGKILL)
			<-running.Done()
			return
		case <-timer.C:
			_ = running.Signal(syscall.SIGKILL)
			<-running.Done()
			return
		}
	}
}

func (c *containerRun) stopSignal() syscall.Signal {
	if hooks := c.spec.Lifecycle; hooks != nil && hooks.StopSignal != nil {
		if signal := unix.SignalNum(string(*hooks.StopSignal)); signal != 0 {
			return signal
		}
	}
	return syscall.SIGTERM
}

// podGrace is the time to stop that the API gives; none if it has forgotten
// the pod, or the agent ends.
func (c *containerRun) podGrace() time.Duration {
	w := c.worker
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.absent || w.life.Err() != nil:
		return 0
	case w.pod.DeletionGracePeriodSeconds != nil:
		return time.Duration(*w.pod.DeletionGracePeriodSeconds) * time.Second
	default:
		return specGrace(w.pod)
	}
}

// ownGrace is the time to stop before a restart.
func (c *containerRun) ownGrace() time.Duration {
	w := c.worker
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range []*corev1.Probe{c.spec.StartupProbe, c.spec.LivenessProbe} {
		if p != nil && p.TerminationGracePeriodSeconds != nil && w.life.Err() == nil {
			return time.Duration(*p.TerminationGracePeriodSeconds) * time.Second
		}
	}
	if w.absent || w.life.Err() != nil {
		return 0
	}
	return specGrace(w.pod)
}

func specGrace(p *corev1.Pod) time.Duration {
	if p.Spec.TerminationGracePeriodSeconds == nil {
		return 30 * time.Second
	}
	return time.Duration(*p.Spec.TerminationGracePeriodSeconds) * time.Second
}

// hook runs a lifecycle hook.
func (c *containerRun) hook(ctx context.Context, h *corev1.LifecycleHandler, running *runtime.Container) error {
	switch {
	case h.Sleep != nil:
		select {
		case <-running.Done():
		case <-ctx.Done():
		case <-time.After(time.Duration(h.Sleep.Seconds) * time.Second):
		}
		return nil
	case h.Exec != nil:
		var output bytes.Buffer
		code, err := executor(running)(ctx, h.Exec.Command, &output)
		if err != nil {
			return err
		}
		if code != 0 {
			return fmt.Errorf("hook %q ended with exit code %d: %s", h.Exec.Command, code, output.String())
		}
		return nil
	case h.HTTPGet != nil:
		req, err := httpprobe.NewRequestForHTTPGetAction(h.HTTPGet, c.spec, c.sources.Facts.PodIP.String(), "lifecycle")
		if err != nil {
			return err
		}
		res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req.WithContext(ctx))
		if err != nil {
			return err
		}
		res.Body.Close()
		if res.StatusCode >= http.StatusBadRequest {
			return fmt.Errorf("hook %s answered %s", req.URL, res.Status)
		}
	}
	return nil
}
