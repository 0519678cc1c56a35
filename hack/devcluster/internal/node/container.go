package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/xinhari/xinhari/hack/devcluster/internal/node/logs"
	"github.com/xinhari/xinhari/hack/devcluster/internal/node/pod"
	"github.com/xinhari/xinhari/hack/devcluster/internal/node/runtime"
	"github.com/xinhari/xinhari/hack/devcluster/internal/node/volume"
)

// containerRun runs a container of a pod, again and again if need be.
type containerRun struct {
	worker  *worker
	spec    *corev1.Container
	sources volume.Sources
	init    bool

	restarts int32
	closeLog func() // of the current run
	told     string // the last reason not to start that an event told
}

// run returns whether the container did its work: whether the pod may go on
// after it if it is an init container.
func (c *containerRun) run(ctx context.Context) bool {
	var backoff pod.Backoff
	for {
		running, ok := c.start(ctx)
		if !ok {
			c.giveUp()
			return false
		}
		exit := c.supervise(ctx, running)
		c.ended(running, exit)
		p := c.worker.current()
		restart := pod.Restarts(p, exit.Code)
		if c.init {
			restart = exit.Code != 0 && p.Spec.RestartPolicy != corev1.RestartPolicyNever
		}
		if !restart || ctx.Err() != nil {
			return exit.Code == 0 && ctx.Err() == nil
		}
		c.restarts++
		if wait := backoff.After(exit.Time.Sub(running.Started)); wait > 0 {
			c.event(corev1.EventTypeWarning, "BackOff", fmt.Sprintf("Back-off restarting failed container %s in pod %s", c.spec.Name, p.Name))
			c.waiting("CrashLoopBackOff", fmt.Sprintf("back-off %s restarting failed container=%s pod=%s_%s(%s)",
				wait, c.spec.Name, p.Name, p.Namespace, p.UID))
			if !sleep(ctx, wait) {
				c.giveUp()
				return false
			}
		}
	}
}

// refusal is why a container cannot be started as it is.
type refusal struct {
	reason string
	err    error
}

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

// Times between tries to start a container that something is missing for.
const (
	firstStartRetry = 100 * time.Millisecond
	lastStartRetry  = 2 * time.Second
)

// start tries until the container runs; it is false if ctx ends before.
func (c *containerRun) start(ctx context.Context) (*runtime.Container, bool) {
	delay := firstStartRetry
	for {
		if ctx.Err() != nil {
			return nil, false
		}
		running, err := c.tryStart()
		if err == nil {
			c.told = ""
			return running, true
		}
		reason := "RunContainerError"
		var refused *refusal
		if errors.As(err, &refused) {
			reason = refused.reason
		}
		c.waiting(reason, err.Error())
		if c.told != err.Error() {
			c.told = err.Error()
			c.event(corev1.EventTypeWarning, "Failed", err.Error())
		}
		if !sleep(ctx, delay) {
			return nil, false
		}
		delay = min(2*delay, lastStartRetry)
	}
}

func (c *containerRun) tryStart() (*runtime.Container, error) {
	w, p := c.worker, c.worker.current()
	program, err := c.program()
	if err != nil {
		return nil, &refusal{"ErrImagePull", err}
	}
	spec, err := c.plan(p, program)
	if err != nil {
		return nil, &refusal{"CreateContainerConfigError", err}
	}
	folder := filepath.Join(w.dir, "logs", c.spec.Name)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	log, err := logs.Create(filepath.Join(folder, fmt.Sprint(c.restarts)))
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	sandbox := w.sandbox
	w.mu.Unlock()
	stdout, stderr := log.Stream("stdout"), log.Stream("stderr")
	running, err := runtime.Start(sandbox, spec, stdout, stderr)
	if err != nil {
		log.Remove()
		return nil, err
	}
	c.closeLog = func() {
		stdout.Flush()
		stderr.Flush()
		log.Close()
	}
	c.started(running, log)
	return running, nil
}

func (c *containerRun) event(kind, reason, message string) {
	c.worker.event(kind, reason, message)
}

// update changes the container's status.
func (c *containerRun) update(change func(*corev1.ContainerStatus)) {
	c.worker.observe(func(o *pod.Observed) {
		status := o.Containers[c.spec.Name]
		status.Name, status.Image = c.spec.Name, c.spec.Image
		change(&status)
		o.Containers[c.spec.Name] = status
	})
}

func (c *containerRun) waiting(reason, message string) {
	c.update(func(s *corev1.ContainerStatus) {
		if s.State.Terminated != nil {
			s.LastTerminationState = s.State
		}
		s.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
		s.Ready, s.Started = false, new(bool)
	})
}

// giveUp shows the last end again where the container waited for its next start.
func (c *containerRun) giveUp() {
	c.update(func(s *corev1.ContainerStatus) {
		if s.LastTerminationState.Terminated != nil && s.State.Terminated == nil {
			s.State, s.LastTerminationState = s.LastTerminationState, corev1.ContainerState{}
		}
	})
}

func (c *containerRun) started(running *runtime.Container, log *logs.Log) {
	w := c.worker
	w.mu.Lock()
	w.containers[c.spec.Name] = running
	kept := w.logs[c.spec.Name]
	if kept.previous != nil {
		kept.previous.Remove()
	}
	w.logs[c.spec.Name] = containerLogs{current: log, previous: kept.current}
	id := fmt.Sprintf("xinhari://%s-%s-%d", w.pod.UID, c.spec.Name, c.restarts)
	w.mu.Unlock()
	c.update(func(s *corev1.ContainerStatus) {
		if s.State.Terminated != nil {
			s.LastTerminationState = s.State
		}
		s.State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(running.Started).Rfc3339Copy()}}
		s.RestartCount = c.restarts
		s.ContainerID = id
		s.ImageID = c.spec.Image
		s.Ready, s.Started = false, new(bool)
	})
	c.event(corev1.EventTypeNormal, "Started", "Started container "+c.spec.Name)
}

func (c *containerRun) ended(running *runtime.Container, exit runtime.Exit) {
	c.closeLog()
	w := c.worker
	w.mu.Lock()
	delete(w.containers, c.spec.Name)
	w.mu.Unlock()
	reason := "Completed"
	if exit.Code != 0 {
		reason = "Error"
	}
	message := c.message(exit)
	c.update(func(s *corev1.ContainerStatus) {
		s.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			ExitCode: int32(exit.Code), Reason: reason, Message: message,
			StartedAt:   metav1.NewTime(running.Started).Rfc3339Copy(),
			FinishedAt:  metav1.NewTime(exit.Time).Rfc3339Copy(),
			ContainerID: s.ContainerID,
		}}
		s.Started = new(bool)
		s.Ready = c.init && exit.Code == 0
	})
}

// parts are what goes on beside a container while it runs.
type parts struct {
	sync.WaitGroup
	kill chan string // why it must be ended, at most one
}
