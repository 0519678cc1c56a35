package node

import (
	"bytes"
	"context"
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/xinhari/xinhari/hack/devcluster/internal/node/probe"
	"github.com/xinhari/xinhari/hack/devcluster/internal/node/runtime"
)

// supervise looks after a running container until it has ended: by itself, by
// a probe, or because ctx did.
func (c *containerRun) supervise(ctx context.Context, running *runtime.Container) runtime.Exit {
	// Readiness is asked for while the container stops, too.
	readiness, stopReadiness := context.WithCancel(context.WithoutCancel(ctx))
	living, stopLiving := context.WithCancel(ctx)
	p := &parts{kill: make(chan verdict, 1)}
	p.Go(func() { c.attend(living, readiness, running, p) })
	select {
	case <-running.Done():
	case verdict := <-p.kill:
		stopLiving()
		c.event(corev1.EventTypeNormal, "Killing", verdict.why)
		c.end(running, func() time.Duration { return c.grace(verdict.probe) }, nil)
	case <-ctx.Done():
		stopLiving()
		c.event(corev1.EventTypeNormal, "Killing", "Stopping container "+c.spec.Name)
		c.end(running, func() time.Duration { return c.grace(nil) }, c.turn)
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
				p.end("FailedPostStartHook", nil)
			}
			return
		}
	}
	if living.Err() == nil {
		c.running(running.Started)
	}
	if c.kind == initContainer || c.kind == ephemeralContainer {
		return
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
	c.up.give()
	if c.spec.LivenessProbe != nil {
		p.Go(func() {
			probe.Run(living, c.spec.LivenessProbe, target, false, func(ok bool, message string) {
				if !ok {
					c.unhealthy("Liveness", message)
					p.end(fmt.Sprintf("Container %s failed liveness probe, will be restarted", c.spec.Name), c.spec.LivenessProbe)
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
			p.end(fmt.Sprintf("Container %s failed startup probe, will be restarted", c.spec.Name), c.spec.StartupProbe)
		}
		cancel()
	})
	return up
}

func (c *containerRun) unhealthy(kind, message string) {
	c.event(corev1.EventTypeWarning, "Unhealthy", kind+" probe failed: "+message)
}

// end has the container ended for a reason, unless there is one already.
func (p *parts) end(why string, by *corev1.Probe) {
	select {
	case p.kill <- verdict{why, by}:
	default:
	}
}

func executor(running *runtime.Container) probe.Executor {
	return func(ctx context.Context, command []string, output *bytes.Buffer) (int, error) {
		return running.Exec(ctx, runtime.Command{Args: command, Stdout: output, Stderr: output})
	}
}

// minGrace is what a container gets after its hook, and after its turn, even
// if these took all.
const minGrace = 2 * time.Second

// end asks the container to stop, in its turn, and kills it when its time is
// over. The time is looked up again whenever the pod changes.
func (c *containerRun) end(running *runtime.Container, grace func() time.Duration, turn <-chan struct{}) {
	begun := time.Now()
	if hooks := c.spec.Lifecycle; hooks != nil && hooks.PreStop != nil {
		ctx, cancel := context.WithTimeout(c.worker.life, grace())
		if err := c.hook(ctx, hooks.PreStop, running); err != nil {
			c.event(corev1.EventTypeWarning, "FailedPreStopHook", err.Error())
		}
		cancel()
	}
	if turn != nil {
		c.await(running, turn, begun, grace)
	}
	if left := grace() - time.Since(begun); left < min(minGrace, grace()) {
		begun = begun.Add(min(minGrace, grace()) - left)
	}
	_ = running.Signal(c.stopSignal())
	if !c.await(running, running.Done(), begun, grace) {
		_ = running.Signal(syscall.SIGKILL)
		<-running.Done()
	}
}

// await waits for something, or for the container's end; it is false if the
// time since begun is over before.
func (c *containerRun) await(running *runtime.Container, what <-chan struct{}, begun time.Time, grace func() time.Duration) bool {
	for {
		c.worker.mu.Lock()
		changed := c.worker.changed
		c.worker.mu.Unlock()
		timer := time.NewTimer(grace() - time.Since(begun))
		select {
		case <-what:
			timer.Stop()
			return true
		case <-running.Done():
			timer.Stop()
			return true
		case <-changed:
			timer.Stop()
		case <-c.worker.life.Done():
			timer.Stop()
			return false
		case <-timer.C:
			return false
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

// leastGrace is what a container gets to stop even where the API gives none.
const leastGrace = time.Second

// grace is the container's time to stop: what the API gives when the pod is to
// go, what the failed probe says, if one has failed, else the pod's. There is
// none when the agent ends.
func (c *containerRun) grace(failed *corev1.Probe) time.Duration {
	w := c.worker
	w.mu.Lock()
	defer w.mu.Unlock()
	seconds := int64(30)
	switch {
	case w.life.Err() != nil:
		return 0
	case w.absent:
		return leastGrace
	case w.pod.DeletionGracePeriodSeconds != nil:
		seconds = *w.pod.DeletionGracePeriodSeconds
	case failed != nil && failed.TerminationGracePeriodSeconds != nil:
		seconds = *failed.TerminationGracePeriodSeconds
	case w.pod.Spec.TerminationGracePeriodSeconds != nil:
		seconds = *w.pod.Spec.TerminationGracePeriodSeconds
	}
	return max(time.Duration(seconds)*time.Second, leastGrace)
}
