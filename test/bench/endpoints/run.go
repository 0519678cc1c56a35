package main

import (
	"bytes"
	"context"
	_ "embed" // the prober's manifests
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

//go:embed prober.yaml
var proberManifests string

// What is done to inventory.
const (
	scaleUp   = "scale up"
	deletePod = "delete a pod"
	scaleDown = "scale down"
)

func actions() []string { return []string{scaleUp, deletePod, scaleDown} }

// replicas are those of inventory in the shop's manifests.
const replicas = 3

// report is the outcome of a run.
type report struct {
	Latencies []latency `json:"latencies"`
	Failed    []string  `json:"failed"` // the errors of calls
	Memory    memory    `json:"memory"`
}

func run(ctx context.Context, chart, manifests string, rounds int) (r report, err error) {
	if err := install(ctx, chart, manifests); err != nil {
		return r, err
	}
	if rounds > 0 {
		if r, err = measureChanges(ctx, rounds); err != nil {
			return r, err
		}
	}
	r.Memory, err = measureMemory(ctx)
	return r, err
}

// measureChanges has pods come and go while the prober makes calls.
func measureChanges(ctx context.Context, rounds int) (r report, err error) {
	h := newHistory()
	w, err := newWatcher(h)
	if err != nil {
		return r, err
	}
	watching, cancel := context.WithCancel(ctx)
	var watches sync.WaitGroup
	defer watches.Wait()
	defer cancel()
	watches.Go(func() { w.pods(watching) })
	watches.Go(func() { w.slices(watching) })
	watches.Go(func() {
		if err := followProber(watching, h); watching.Err() == nil {
			h.fail(err)
		}
	})
	say("waiting for calls to reach all %d pods", replicas)
	if err := h.wait(ctx, settled(replicas)); err != nil {
		return r, err
	}
	for round := range rounds {
		say("round %d of %d", round+1, rounds)
		if err := change(ctx, h); err != nil {
			return r, err
		}
	}
	r.Latencies = h.latencies()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, f := range h.failed {
		r.Failed = append(r.Failed, f.Failed)
	}
	return r, nil
}

// change adds a pod, replaces one and removes one again.
func change(ctx context.Context, h *history) error {
	for _, step := range []struct {
		doing string
		do    func() error
		want  int
	}{
		{scaleUp, func() error {
			return kubectl(ctx, "", "scale", "deployment/inventory", "--replicas="+strconv.Itoa(replicas+1))
		}, replicas + 1},
		{deletePod, func() error {
			name, err := anyPod(h)
			if err != nil {
				return err
			}
			return kubectl(ctx, "", "delete", "pod", name, "--wait=false")
		}, replicas + 1},
		{scaleDown, func() error {
			return kubectl(ctx, "", "scale", "deployment/inventory", "--replicas="+strconv.Itoa(replicas))
		}, replicas},
	} {
		h.begin(step.doing)
		before := h.count()
		if err := step.do(); err != nil {
			return err
		}
		if err := h.wait(ctx, func(pods map[string]*pod) bool { return changes(pods) > before && settled(step.want)(pods) }); err != nil {
			return fmt.Errorf("%s: %w", step.doing, err)
		}
	}
	return nil
}

// changes counts pods that came and pods that went.
func changes(pods map[string]*pod) int {
	n := len(pods)
	for _, p := range pods {
		if !p.deleted.IsZero() {
			n++
		}
	}
	return n
}

func (h *history) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return changes(h.pods)
}

// anyPod returns a pod that is not being deleted.
func anyPod(h *history) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, p := range h.pods {
		if p.deleted.IsZero() {
			return name, nil
		}
	}
	return "", fmt.Errorf("inventory has no pods")
}

func install(ctx context.Context, chart, manifests string) error {
	say("installing the operator and the shop")
	if err := command(ctx, "", "helm", "install", "xinhari", chart, "-n", operatorNamespace, "--create-namespace", "--wait", "--timeout", "90s"); err != nil {
		return err
	}
	if err := command(ctx, "", "kubectl", "create", "namespace", namespace); err != nil {
		return err
	}
	if err := kubectl(ctx, "", "apply", "-f", manifests); err != nil {
		return err
	}
	// orders makes calls too, which would only make the machine busy.
	if err := kubectl(ctx, "", "scale", "deployment/orders", "--replicas=0"); err != nil {
		return err
	}
	if err := kubectl(ctx, proberManifests, "apply", "-f", "-"); err != nil {
		return err
	}
	for _, d := range []string{"inventory", "prober"} {
		if err := kubectl(ctx, "", "rollout", "status", "deployment/"+d, "--timeout=90s"); err != nil {
			return err
		}
	}
	return nil
}

// followProber reads the prober's log until it ends, which it does only with
// ctx or by an error.
func followProber(ctx context.Context, h *history) error {
	c := exec.CommandContext(ctx, "kubectl", "-n", namespace, "logs", "-f", "deployment/prober")
	c.Stderr = os.Stderr
	log, err := c.StdoutPipe()
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	if err := readSightings(log, h.saw); err != nil {
		_ = c.Process.Kill()
		_ = c.Wait()
		return err
	}
	if err := c.Wait(); err != nil {
		return fmt.Errorf("kubectl logs: %w", err)
	}
	return fmt.Errorf("the prober's log ended")
}

func kubectl(ctx context.Context, input string, args ...string) error {
	return command(ctx, input, "kubectl", append([]string{"-n", namespace}, args...)...)
}

// command runs a program; what it printed is in the error when it fails.
func command(ctx context.Context, input, name string, args ...string) error {
	var out bytes.Buffer
	c := exec.CommandContext(ctx, name, args...)
	c.Stdin, c.Stdout, c.Stderr = strings.NewReader(input), &out, &out
	if err := c.Run(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out.String())
	}
	return nil
}

// say prints a line of progress, with the time of day.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%s  %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, args...))
}
