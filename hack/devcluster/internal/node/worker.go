package node

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
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

// worker runs one pod, from its first sight to its end.
type worker struct {
	agent    *Agent
	dir      string
	life     context.Context // the agent's, whose end allows no grace
	stopping context.Context // ends when the pod is to stop
	stopped  context.CancelFunc
	report   chan struct{} // gets a word when the status may have changed

	mu         sync.Mutex
	pod        *corev1.Pod   // the newest known
	absent     bool          // the API has it no more
	changed    chan struct{} // closed when one of the above changes
	observed   pod.Observed
	sandbox    *runtime.Sandbox
	containers map[string]runningContainer
	logs       map[string]containerLogs
}

// runningContainer is a container that runs, and where to attach to it.
type runningContainer struct {
	*runtime.Container
	console *console.Console
}

// containerLogs are those of the current or last run of a container, and of
// the one before; nil if there was none.
type containerLogs struct{ current, previous *logs.Log }

func newWorker(life context.Context, a *Agent, p *corev1.Pod) *worker {
	ctx, stopped := context.WithCancel(life)
	w := &worker{
		agent:      a,
		life:       life,
		dir:        filepath.Join(a.o.Dir, "pods", string(p.UID)),
		stopped:    stopped,
		stopping:   ctx,
		report:     make(chan struct{}, 1),
		pod:        p,
		changed:    make(chan struct{}),
		containers: map[string]runningContainer{},
		logs:       map[string]containerLogs{},
		observed: pod.Observed{
			Started:    metav1.Now().Rfc3339Copy(),
			HostIP:     a.o.Network.Addr(),
			Containers: map[string]corev1.ContainerStatus{},
		},
	}
	if p.DeletionTimestamp != nil {
		stopped()
	}
	return w
}

// current is the pod as it was last seen.
func (w *worker) current() *corev1.Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pod
}

// update takes in a newer state of the pod's object.
func (w *worker) update(p *corev1.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if version(p) < version(w.pod) {
		return
	}
	w.pod = p
	if p.DeletionTimestamp != nil {
		w.stopped()
	}
	w.wake()
}

// gone takes in that the pod's object is no more.
func (w *worker) gone() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.absent = true
	w.stopped()
	w.wake()
}

// wake is called with the lock held.
func (w *worker) wake() {
	close(w.changed)
	w.changed = make(chan struct{})
	w.touch()
}

// touch has the status reported soon.
func (w *worker) touch() {
	select {
	case w.report <- struct{}{}:
	default: // A word is waiting already.
	}
}

// observe changes what is known of the pod, and has it reported.
func (w *worker) observe(change func(*pod.Observed)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(&w.observed)
	w.touch()
}

// event tells people what happens to the pod.
func (w *worker) event(kind, reason, message string) {
	if w.life.Err() == nil {
		w.agent.events.Event(w.current(), kind, reason, message)
	}
}

// run returns when the pod is gone from here and from the API, or when the
// agent ends.
func (w *worker) run() {
	ctx := w.life
	defer w.stopped()
	reporting, stopReporting := context.WithCancel(ctx)
	var reporter sync.WaitGroup
	reporter.Go(func() { w.reportAll(reporting) })
	w.touch()

	if !terminal(w.current()) {
		w.live(w.stopping)
	}

	w.awaitDeletion(ctx)
	stopReporting()
	reporter.Wait()
	if ctx.Err() == nil {
		w.finish(ctx)
	}
	if err := w.clean(); err != nil {
		w.agent.log.Warn("clean up after pod", "pod", w.current().Name, "error", err)
	}
}

// terminal reports whether the API says that the pod has run before.
func terminal(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// live runs the pod's containers until all have ended for good.
func (w *worker) live(ctx context.Context) {
	p := w.current()
	if err := pod.Unsupported(p); err != nil {
		w.refuse(p, err)
		<-ctx.Done()
		return
	}
	if ctx.Err() != nil {
		return
	}
	objects := w.agent.objects.use(p)
	defer objects.release()
	sources := volume.Sources{
		Objects:   objects,
		Tokens:    newTokens(w.agent.client, p),
		OwnGroups: w.agent.groups.Contains,
	}
	background, endBackground := context.WithCancel(ctx)
	var beside sync.WaitGroup
	defer beside.Wait()
	defer endBackground()
	beside.Go(func() { w.enforceDeadline(background) })

	defer w.closeSandbox()
	address, ok := w.openSandbox(ctx, p)
	if !ok {
		return
	}
	sources.Facts = w.agent.facts(address)
	if !w.mountVolumes(ctx, sources, objects) {
		return
	}
	select {
	case <-w.agent.services.known:
	case <-ctx.Done():
		return
	}
	beside.Go(func() { w.refreshVolumes(background, sources, objects) })
	w.runContainers(ctx, p, sources, objects)
}

// refuse leaves the pod as it is, with the reason where people look: to fail
// it would have its controller make the next one, again and again.
func (w *worker) refuse(p *corev1.Pod, err error) {
	w.event(corev1.EventTypeWarning, "Unsupported", err.Error())
	w.observe(func(o *pod.Observed) {
		for _, c := range p.Spec.Containers {
			status := corev1.ContainerStatus{Name: c.Name, Image: c.Image}
			status.State.Waiting = &corev1.ContainerStateWaiting{Reason: "Unsupported", Message: err.Error()}
			o.Containers[c.Name] = status
		}
	})
}

func (w *worker) openSandbox(ctx context.Context, p *corev1.Pod) (netip.Addr, bool) {
	for {
		address, err := w.tryOpenSandbox(p)
		if err == nil {
			return address, true
		}
		w.event(corev1.EventTypeWarning, "FailedCreatePodSandBox", err.Error())
		if !sleep(ctx, time.Second) {
			return netip.Addr{}, false
		}
	}
}

func (w *worker) tryOpenSandbox(p *corev1.Pod) (netip.Addr, error) {
	address := w.agent.o.Network.Addr()
	attach := func(tid int) (err error) {
		address, err = w.agent.o.Network.Attach(tid)
		return err
	}
	if p.Spec.HostNetwork {
		attach = nil
	}
	hostname, err := pod.Hostname(p, w.agent.facts(address))
	if err != nil {
		return netip.Addr{}, err
	}
	sandbox, err := runtime.NewSandbox(hostname, attach)
	if err != nil {
		return netip.Addr{}, err
	}
	w.mu.Lock()
	w.sandbox = sandbox
	w.mu.Unlock()
	w.observe(func(o *pod.Observed) { o.Sandbox, o.PodIP = true, address })
	return address, nil
}

func (w *worker) closeSandbox() {
	w.mu.Lock()
	sandbox, address := w.sandbox, w.observed.PodIP
	w.sandbox = nil
	w.mu.Unlock()
	if sandbox == nil {
		return
	}
	if address != w.agent.o.Network.Addr() {
		if err := w.agent.o.Network.Detach(address); err != nil {
			w.agent.log.Warn("detach pod", "error", err)
		}
	}
	sandbox.Close()
	w.observe(func(o *pod.Observed) { o.Sandbox = false })
}

func (w *worker) volumes() string { return filepath.Join(w.dir, "volumes") }

// mountVolumes fills the volumes for the first time.
func (w *worker) mountVolumes(ctx context.Context, sources volume.Sources, objects *objectUser) bool {
	delay, told := firstRetry, false
	begun := time.Now()
	for {
		p := w.current()
		err := volume.Fill(ctx, w.volumes(), p, sources)
		if err == nil {
			return true
		}
		// At first the API server may not know yet that the pod is ours.
		if !told && time.Since(begun) > time.Second {
			told = true
			w.event(corev1.EventTypeWarning, "FailedMount", err.Error())
		}
		timer := time.NewTimer(delay)
		select {
		case <-objects.changed:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return false
		}
		timer.Stop()
		delay = min(2*delay, lastRetry)
	}
}

// refreshVolumes renews what volumes show when it changes.
func (w *worker) refreshVolumes(ctx context.Context, sources volume.Sources, objects *objectUser) {
	tokens := sources.Tokens.(*tokens)
	for {
		w.mu.Lock()
		changed := w.changed
		w.mu.Unlock()
		wait := time.Hour
		if next := tokens.next(); !next.IsZero() {
			wait = max(time.Until(next), time.Second)
		}
		timer := time.NewTimer(wait)
		select {
		case <-objects.changed:
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
		p := w.current()
		if err := volume.Fill(ctx, w.volumes(), p, sources); err != nil && ctx.Err() == nil {
			w.event(corev1.EventTypeWarning, "FailedMount", err.Error())
		}
	}
}

// enforceDeadline ends the pod when it has been active for longer than its
// spec, which may change, allows.
func (w *worker) enforceDeadline(ctx context.Context) {
	for {
		w.mu.Lock()
		changed, seconds, started := w.changed, w.pod.Spec.ActiveDeadlineSeconds, w.observed.Started.Time
		w.mu.Unlock()
		left := time.Duration(math.MaxInt64)
		if seconds != nil {
			left = time.Until(started.Add(time.Duration(*seconds) * time.Second))
		}
		timer := time.NewTimer(left)
		select {
		case <-timer.C:
			w.observe(func(o *pod.Observed) {
				o.Failed, o.Message = "DeadlineExceeded", "Pod was active on the node longer than the specified deadline"
			})
			w.stopped()
			return
		case <-changed:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// awaitDeletion returns when the API wants the pod gone, or ctx ends.
func (w *worker) awaitDeletion(ctx context.Context) {
	for {
		w.mu.Lock()
		changed, done := w.changed, w.absent || w.pod.DeletionTimestamp != nil
		w.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// clean removes the pod's folder.
func (w *worker) clean() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.logs {
		for _, log := range []*logs.Log{l.current, l.previous} {
			if log != nil {
				log.Close()
			}
		}
	}
	if err := volume.Remove(w.volumes()); err != nil {
		return err
	}
	return os.RemoveAll(w.dir)
}

// version orders the states of an object.
func version(p *corev1.Pod) uint64 {
	n, _ := strconv.ParseUint(p.ResourceVersion, 10, 64)
	return n
}

var errNotRunning = errors.New("container is not running")

func notRunning(name string) error { return fmt.Errorf("%s: %w", name, errNotRunning) }
