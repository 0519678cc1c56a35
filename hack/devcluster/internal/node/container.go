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

	"github.com/xinhari/xinhari/hack/devcluster/internal/node/console"
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
	kind    containerKind
	target  string // of an ephemeral container: whose processes it sees; may be empty

	turn    chan struct{} // closed when it may be asked to stop; nil: when the pod does
	settled *event        // given when its first start has come to something
	up      *event        // given when it has started for the first time
	done    chan struct{} // closed when run returns

	restarts int32
	attempts int    // to start it now
	closeLog func() // of the current run
	told     string // the last reason not to start that an event told
}

type containerKind int

const (
	mainContainer containerKind = iota
	initContainer
	sidecarContainer
	ephemeralContainer
)

func newContainerRun(w *worker, spec *corev1.Container, kind containerKind, sources volume.Sources) *containerRun {
	return &containerRun{
		worker: w, spec: spec, kind: kind, sources: sources,
		settled: newEvent(), up: newEvent(), done: make(chan struct{}),
	}
}

// event is given once, or more often to no effect.
type event struct {
	once sync.Once
	done chan struct{}
}

func newEvent() *event { return &event{done: make(chan struct{})} }

func (s *event) give() { s.once.Do(func() { close(s.done) }) }

// run returns whether the container did its work: whether the pod may go on
// after it if it is an init container.
func (c *containerRun) run(ctx context.Context) bool {
	defer close(c.done)
	defer c.settled.give()
	var backoff pod.Backoff
	for {
		begun := time.Now()
		exit, ok := c.runOnce(ctx)
		if !ok {
			c.giveUp()
			return false
		}
		p := c.worker.current()
		if !c.again(p, exit.Code) || ctx.Err() != nil {
			return exit.Code == 0 && ctx.Err() == nil
		}
		c.restarts++
		if wait := backoff.After(exit.Time.Sub(begun)); wait > 0 {
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

// runOnce is false if ctx ended before the container could be started.
func (c *containerRun) runOnce(ctx context.Context) (runtime.Exit, bool) {
	running, err := c.start(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return runtime.Exit{}, false
		}
		exit := runtime.Exit{Code: startErrorCode, Time: time.Now()}
		c.failed(err, exit)
		return exit, true
	}
	exit := c.supervise(ctx, running)
	c.ended(running, exit)
	return exit, true
}

// again reports whether the container is to be started again after an end.
func (c *containerRun) again(p *corev1.Pod, code int) bool {
	switch c.kind {
	case sidecarContainer:
		return true
	case ephemeralContainer:
		return false
	case initContainer:
		return code != 0 && pod.Restarts(p, c.spec, code)
	default:
		return pod.Restarts(p, c.spec, code)
	}
}

// startErrorCode is the exit code of a container whose program cannot be run.
const startErrorCode = 128

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

// start tries until nothing is missing for the container. Its error is that of
// the program's start, or of ctx.
func (c *containerRun) start(ctx context.Context) (*runtime.Container, error) {
	delay := firstStartRetry
	for c.attempts = 0; ; c.attempts++ {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		running, err := c.tryStart()
		if err == nil {
			c.told = ""
			return running, nil
		}
		var refused *refusal
		if !errors.As(err, &refused) {
			return nil, err
		}
		c.waiting(refused.reason, err.Error())
		if c.told != err.Error() {
			c.told = err.Error()
			c.event(corev1.EventTypeWarning, "Failed", err.Error())
		}
		c.settled.give()
		if !sleep(ctx, delay) {
			return nil, ctx.Err()
		}
		delay = min(2*delay, lastStartRetry)
	}
}

// tryStart returns a refusal if something is missing that may come.
func (c *containerRun) tryStart() (*runtime.Container, error) {
	w, p := c.worker, c.worker.current()
	program, err := c.program()
	if err != nil {
		return nil, c.noImage(err)
	}
	spec, err := c.plan(p, program)
	if err != nil {
		return nil, &refusal{"CreateContainerConfigError", err}
	}
	folder := filepath.Join(w.dir, "logs", c.spec.Name)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, &refusal{"CreateContainerError", err}
	}
	log, err := logs.Create(filepath.Join(folder, fmt.Sprint(c.restarts)))
	if err != nil {
		return nil, &refusal{"CreateContainerError", err}
	}
	stdout, stderr := log.Stream("stdout"), log.Stream("stderr")
	attach, streams, err := console.New(console.Options{Stdin: c.spec.Stdin, StdinOnce: c.spec.StdinOnce, TTY: c.spec.TTY}, stdout, stderr)
	if err != nil {
		log.Remove()
		return nil, &refusal{"CreateContainerError", err}
	}
	w.mu.Lock()
	sandbox, beside := w.sandbox, w.containers[c.target].Container
	w.mu.Unlock()
	running, err := runtime.Start(sandbox, spec, streams, beside)
	if err != nil {
		attach.Close()
		log.Remove()
		return nil, err
	}
	c.closeLog = func() {
		stdout.Flush()
		stderr.Flush()
		attach.Close()
		_ = log.Close() // As Write: what is lost is lost.
	}
	c.started(running, attach, log)
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

// started has the container found by those who want something of it.
func (c *containerRun) started(running *runtime.Container, attach *console.Console, log *logs.Log) {
	w := c.worker
	w.mu.Lock()
	w.containers[c.spec.Name] = runningContainer{running, attach}
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
		// Until its postStart hook is done; it does not wait for the back-off's end any more.
		s.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}}
		s.RestartCount = c.restarts
		s.ContainerID = id
		s.ImageID = c.spec.Image
		s.Ready, s.Started = false, new(bool)
	})
	c.event(corev1.EventTypeNormal, "Started", "Started container "+c.spec.Name)
}

// running shows the container as such: after its postStart hook.
func (c *containerRun) running(since time.Time) {
	c.update(func(s *corev1.ContainerStatus) {
		s.State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(since).Rfc3339Copy()}}
	})
	c.settled.give()
}

// failed shows a program that could not be run.
func (c *containerRun) failed(err error, exit runtime.Exit) {
	c.update(func(s *corev1.ContainerStatus) {
		if s.State.Terminated != nil {
			s.LastTerminationState = s.State
		}
		at := metav1.NewTime(exit.Time).Rfc3339Copy()
		s.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			ExitCode: startErrorCode, Reason: "StartError", Message: err.Error(), StartedAt: at, FinishedAt: at,
		}}
		s.RestartCount = c.restarts
		s.Ready, s.Started = false, new(bool)
	})
	c.event(corev1.EventTypeWarning, "Failed", "Error: "+err.Error())
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
		s.Ready = c.kind == initContainer && exit.Code == 0
	})
}

// parts are what goes on beside a container while it runs.
type parts struct {
	sync.WaitGroup
	kill chan verdict // at most one
}

// verdict is why a container must be ended before its time.
type verdict struct {
	why   string
	probe *corev1.Probe // that failed, if one did
}
