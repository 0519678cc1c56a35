package node

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// serving is a container of the program health.
func serving() corev1.Container {
	return corev1.Container{Name: "main", Image: "xinhari.local/health:dev"}
}

// say has the program health say that it is well or not.
func (c *cluster) say(pod string, well bool) {
	c.t.Helper()
	script := map[bool]string{true: "touch /tmp/well", false: "rm /tmp/well"}[well]
	if out, err := c.kubectl("exec", pod, "--", "sh", "-c", script); err != nil {
		c.t.Fatalf("%v: %s", err, out)
	}
}

// events returns the messages of a pod's events for a reason.
func (c *cluster) events(pod, reason string) []string {
	c.t.Helper()
	list, err := c.client.CoreV1().Events("default").List(c.t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=" + pod + ",reason=" + reason})
	if err != nil {
		c.t.Fatal(err)
	}
	var messages []string
	for _, e := range list.Items {
		messages = append(messages, e.Message)
	}
	return messages
}

func (c *cluster) hasEvent(pod, reason, text string) {
	c.t.Helper()
	c.eventually("an event "+reason, func(context.Context) error {
		messages := c.events(pod, reason)
		if !strings.Contains(strings.Join(messages, "\n"), text) {
			return fmt.Errorf("there is no %q: %q", text, messages)
		}
		return nil
	})
}

func restarted(times int32) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool {
		return len(p.Status.ContainerStatuses) > 0 && p.Status.ContainerStatuses[0].RestartCount == times && p.Status.ContainerStatuses[0].State.Running != nil
	}
}

func not(is func(*corev1.Pod) bool) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool { return !is(p) }
}

func TestProbes(t *testing.T) {
	c := newCluster(t)
	kinds := map[string]corev1.ProbeHandler{
		"http":  {HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromInt(8080)}},
		"https": {HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromInt(8443), Scheme: corev1.URISchemeHTTPS}},
		"grpc":  {GRPC: &corev1.GRPCAction{Port: 9090}},
		"named": {GRPC: &corev1.GRPCAction{Port: 9090, Service: pointer("named")}},
		"exec":  command("test -e /tmp/well"),
	}
	for kind, handler := range kinds {
		c.subtest(t, kind+" readiness follows the container, liveness restarts it", func(c *cluster) {
			main := serving()
			main.ReadinessProbe = &corev1.Probe{ProbeHandler: handler, PeriodSeconds: 1, FailureThreshold: 1}
			c.create("ready-"+kind, corev1.PodSpec{Containers: []corev1.Container{main}})
			c.until("ready-"+kind, phaseIs(corev1.PodRunning))
			c.until("ready-"+kind, isReady)
			c.say("ready-"+kind, false)
			if p := c.until("ready-"+kind, not(isReady)); p.Status.ContainerStatuses[0].RestartCount > 0 {
				c.t.Errorf("%+v", p.Status)
			}
			c.say("ready-"+kind, true)
			c.until("ready-"+kind, isReady)

			main = serving()
			main.LivenessProbe = &corev1.Probe{ProbeHandler: handler, PeriodSeconds: 1, FailureThreshold: 2, InitialDelaySeconds: 1}
			c.create("live-"+kind, corev1.PodSpec{Containers: []corev1.Container{main}})
			c.until("live-"+kind, isReady)
			c.say("live-"+kind, false)
			c.until("live-"+kind, restarted(1))
			c.hasEvent("live-"+kind, "Unhealthy", "Liveness probe failed")
			c.hasEvent("live-"+kind, "Killing", "failed liveness probe, will be restarted")
		})
	}
	c.subtest(t, "startup holds the others back", func(c *cluster) {
		main := shell("main", "while ! test -e /share/go; do sleep 0.05; done; touch /tmp/up; sleep 1000")
		main.StartupProbe = &corev1.Probe{ProbeHandler: command("test -e /tmp/up"), PeriodSeconds: 1, FailureThreshold: 60}
		main.LivenessProbe = &corev1.Probe{ProbeHandler: command("echo live >> /share/asked; test -e /tmp/up"), PeriodSeconds: 1, FailureThreshold: 1}
		main.ReadinessProbe = &corev1.Probe{ProbeHandler: command("echo ready >> /share/asked"), PeriodSeconds: 1}
		c.create("starting", sharing(corev1.PodSpec{TerminationGracePeriodSeconds: pointer(int64(1)), Containers: []corev1.Container{main}}))
		c.until("starting", phaseIs(corev1.PodRunning))
		c.hasNot("starting", "test -e /share/asked", 2500*time.Millisecond)
		p := c.until("starting", phaseIs(corev1.PodRunning))
		if s := p.Status.ContainerStatuses[0]; s.Ready || *s.Started || s.RestartCount > 0 {
			c.t.Errorf("%+v", s)
		}
		if out, err := c.kubectl("exec", "starting", "--", "touch", "/share/go"); err != nil {
			c.t.Fatal(out)
		}
		if p := c.until("starting", isReady); !*p.Status.ContainerStatuses[0].Started {
			c.t.Errorf("%+v", p.Status)
		}
	})
	c.subtest(t, "startup that fails kills, with its own grace", func(c *cluster) {
		main := shell("main", "trap '' TERM; while :; do sleep 0.1; done")
		main.StartupProbe = &corev1.Probe{ProbeHandler: command("false"), PeriodSeconds: 1, FailureThreshold: 2, TerminationGracePeriodSeconds: pointer(int64(1))}
		main.LivenessProbe = &corev1.Probe{ProbeHandler: command("true"), TerminationGracePeriodSeconds: pointer(int64(300))}
		c.create("never", corev1.PodSpec{Containers: []corev1.Container{main}, TerminationGracePeriodSeconds: pointer(int64(300))})
		p := c.until("never", func(p *corev1.Pod) bool { return restarted(1)(p) })
		if last := p.Status.ContainerStatuses[0].LastTerminationState.Terminated; last.ExitCode != 137 || last.Reason != "Error" {
			c.t.Errorf("%+v", last)
		}
		c.hasEvent("never", "Unhealthy", "Startup probe failed")
		c.force("never")
	})
	c.subtest(t, "a command that takes too long has failed", func(c *cluster) {
		main := shell("main", "sleep 1000")
		main.LivenessProbe = &corev1.Probe{ProbeHandler: command("sleep 1000"), TimeoutSeconds: 1, PeriodSeconds: 1, FailureThreshold: 1, TerminationGracePeriodSeconds: pointer(int64(1))}
		c.create("slow", corev1.PodSpec{Containers: []corev1.Container{main}, TerminationGracePeriodSeconds: pointer(int64(1))})
		c.until("slow", restarted(1))
	})
	c.subtest(t, "readiness gates hold the pod back", func(c *cluster) {
		gate := corev1.PodConditionType("example.com/gate")
		c.create("gated", corev1.PodSpec{
			ReadinessGates: []corev1.PodReadinessGate{{ConditionType: gate}}, Containers: []corev1.Container{shell("main", waits("main"))},
		})
		p := c.until("gated", func(p *corev1.Pod) bool { return conditionOf(p, corev1.ContainersReady) == corev1.ConditionTrue })
		if isReady(p) {
			c.t.Error("it is ready")
		}
		open := func(status corev1.ConditionStatus) {
			patch := fmt.Sprintf(`{"status":{"conditions":[{"type":%q,"status":%q}]}}`, gate, status)
			if _, err := c.client.CoreV1().Pods("default").Patch(c.t.Context(), "gated", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
				c.t.Fatal(err)
			}
		}
		open(corev1.ConditionTrue)
		c.until("gated", isReady)
		open(corev1.ConditionFalse)
		c.until("gated", not(isReady))
	})
}

func conditionOf(p *corev1.Pod, kind corev1.PodConditionType) corev1.ConditionStatus {
	for _, condition := range p.Status.Conditions {
		if condition.Type == kind {
			return condition.Status
		}
	}
	return ""
}

// hasNot looks for some time whether a script succeeds in the pod, which it must not.
func (c *cluster) hasNot(pod, script string, during time.Duration) {
	c.t.Helper()
	for begun := time.Now(); time.Since(begun) < during; {
		if _, err := c.kubectl("exec", pod, "--", "sh", "-c", script); err == nil {
			c.t.Errorf("%s: %s", pod, script)
			return
		}
	}
}

// following reads a pod's log until its end, from the first line, which it
// waits for. The returned function returns the rest.
func (c *cluster) following(args ...string) (rest func() string) {
	c.t.Helper()
	cmd := exec.Command(filepath.Join(c.binaries, "kubectl"), append([]string{"--kubeconfig=" + c.kubeconfig, "logs", "-f"}, args...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); err != nil {
		c.t.Fatalf("%q: %v", line, err)
	}
	return func() string {
		text, _ := io.ReadAll(lines)
		if err := cmd.Wait(); err != nil {
			c.t.Error(err)
		}
		return string(text)
	}
}

// force has the API forget a pod at once.
func (c *cluster) force(name string) {
	c.t.Helper()
	if out, err := c.kubectl("delete", "pod", name, "--force", "--grace-period=0"); err != nil {
		c.t.Errorf("%v: %s", err, out)
	}
}

func TestHooksAndEnds(t *testing.T) {
	c := newCluster(t)
	c.subtest(t, "postStart comes before Running and before the next container", func(c *cluster) {
		first, second := shell("first", waits("first")), shell("second", "cat /share/f; "+waits("second"))
		first.Lifecycle = &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{
			Command: []string{"sh", "-c", "while ! test -e /share/go; do sleep 0.05; done; echo hooked >> /share/f"},
		}}}
		c.create("post", sharing(corev1.PodSpec{Containers: []corev1.Container{first, second}}))
		c.eventually("the first has started", func(context.Context) error {
			if out, err := c.kubectl("exec", "post", "-c", "first", "--", "cat", "/share/f"); err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		})
		p := c.until("post", func(*corev1.Pod) bool { return true })
		for _, s := range p.Status.ContainerStatuses {
			if s.State.Running != nil {
				c.t.Errorf("%+v", s)
			}
		}
		if out, err := c.kubectl("exec", "post", "-c", "first", "--", "touch", "/share/go"); err != nil {
			c.t.Fatal(out)
		}
		c.until("post", isReady)
		c.eventually("the second has printed what it found", func(context.Context) error {
			if out := c.logsOf("post", "-c", "second"); !strings.Contains(out, "hooked") {
				return fmt.Errorf("%q", out)
			}
			return nil
		})
		c.delete("post")
	})
	c.subtest(t, "postStart that fails restarts", func(c *cluster) {
		main := shell("main", waits("main"))
		main.Lifecycle = &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{
			Command: []string{"sh", "-c", "echo x >> /share/hooks; test $(wc -l < /share/hooks) -gt 1"},
		}}}
		// The hook may fail before the shell listens to signals.
		c.create("poststart", sharing(corev1.PodSpec{TerminationGracePeriodSeconds: pointer(int64(1)), Containers: []corev1.Container{main}}))
		c.until("poststart", restarted(1))
		c.hasEvent("poststart", "FailedPostStartHook", "exit code 1")
	})
	c.subtest(t, "an HTTP hook is asked, by HTTPS too", func(c *cluster) {
		main := serving()
		get := func(port int, scheme corev1.URIScheme) *corev1.LifecycleHandler {
			return &corev1.LifecycleHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/hook/" + string(scheme), Port: intstr.FromInt(port), Scheme: scheme}}
		}
		main.Lifecycle = &corev1.Lifecycle{PreStop: get(8443, corev1.URISchemeHTTPS)}
		c.create("httphook", corev1.PodSpec{Containers: []corev1.Container{main}})
		c.until("httphook", isReady)
		rest := c.following("httphook")
		c.delete("httphook")
		if got := rest(); !strings.Contains(got, "asked for /hook/HTTPS\nasked to stop\n") {
			c.t.Errorf("%q", got)
		}
	})
	c.subtest(t, "preStop counts against the grace, and leaves two seconds", func(c *cluster) {
		main := shell("main", "trap 'sleep 1; exit 0' TERM; while :; do sleep 0.05; done")
		main.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 60}}}
		// The API allows no longer sleep than the grace, which deletion shortens.
		c.create("sleepy", corev1.PodSpec{TerminationGracePeriodSeconds: pointer(int64(60)), Containers: []corev1.Container{main}})
		c.until("sleepy", isReady)
		w, ok := c.agent.worker("default", "sleepy")
		if !ok {
			c.t.Fatal("no worker")
		}
		begun := time.Now()
		if err := c.client.CoreV1().Pods("default").Delete(c.t.Context(), "sleepy", metav1.DeleteOptions{GracePeriodSeconds: pointer(int64(2))}); err != nil {
			c.t.Fatal(err)
		}
		w.mu.Lock()
		running := w.containers["main"].Container
		w.mu.Unlock()
		exit := running.Exit()
		if took := time.Since(begun); exit.Code != 0 || took < 2900*time.Millisecond || took > 10*time.Second {
			c.t.Errorf("%+v after %s", exit, took)
		}
	})
	c.subtest(t, "sleep is a hook", func(c *cluster) {
		main := serving()
		main.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 1}}}
		c.create("nap", corev1.PodSpec{Containers: []corev1.Container{main}})
		c.until("nap", isReady)
		if took := c.delete("nap"); took < time.Second || took > 10*time.Second {
			c.t.Errorf("deletion took %s", took)
		}
	})
	c.subtest(t, "forced deletion forgets the pod, and its program still ends", func(c *cluster) {
		c.create("forced", corev1.PodSpec{Containers: []corev1.Container{shell("main", "trap '' TERM; while :; do sleep 0.1; done")}})
		c.until("forced", isReady)
		w, ok := c.agent.worker("default", "forced")
		if !ok {
			c.t.Fatal("no worker")
		}
		w.mu.Lock()
		running := w.containers["main"].Container
		w.mu.Unlock()
		begun := time.Now()
		c.force("forced")
		if exit, took := running.Exit(), time.Since(begun); exit.Code != 137 || took > 10*time.Second {
			c.t.Errorf("%+v after %s", exit, took)
		}
		c.eventually("the pod is gone from the node", func(context.Context) error {
			if _, ok := c.agent.worker("default", "forced"); ok {
				return fmt.Errorf("it is there")
			}
			return nil
		})
	})
	c.subtest(t, "last words come from their file, or from the log", func(c *cluster) {
		tests := []struct{ name, script, want string }{
			{"file", "echo logged; echo -n words > /tmp/last; exit 1", "words"},
			{"log", "echo logged; exit 1", "logged\n"},
			{"success", "echo logged", ""},
		}
		for _, test := range tests {
			main := shell("main", test.script)
			main.TerminationMessagePath, main.TerminationMessagePolicy = "/tmp/last", corev1.TerminationMessageFallbackToLogsOnError
			c.create("words-"+test.name, corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{main}})
			p := c.until("words-"+test.name, func(p *corev1.Pod) bool {
				return p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded
			})
			if got := p.Status.ContainerStatuses[0].State.Terminated.Message; got != test.want {
				c.t.Errorf("%s: %q", test.name, got)
			}
		}
	})
	c.subtest(t, "a program that cannot be run fails with code 128", func(c *cluster) {
		main := shell("main", "")
		main.Command = []string{"no-such-program"}
		c.create("unrunnable", corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{main}})
		p := c.until("unrunnable", phaseIs(corev1.PodFailed))
		if got := p.Status.ContainerStatuses[0].State.Terminated; got.ExitCode != 128 || got.Reason != "StartError" || !strings.Contains(got.Message, "no-such-program") {
			c.t.Errorf("%+v", got)
		}
	})
	c.subtest(t, "one that ends again and again backs off", func(c *cluster) {
		c.create("crash", corev1.PodSpec{Containers: []corev1.Container{shell("main", "kill -9 $$; sleep 1; exit 7")}})
		p := c.until("crash", waitsFor("CrashLoopBackOff"))
		s := p.Status.ContainerStatuses[0]
		if s.RestartCount != 1 || p.Status.Phase != corev1.PodRunning || !strings.Contains(s.State.Waiting.Message, "back-off 10s") {
			c.t.Errorf("%+v", s)
		}
		c.hasEvent("crash", "BackOff", "restarting failed container main")
	})
	c.subtest(t, "images that are not here", func(c *cluster) {
		never, invalid := shell("main", ""), shell("main", "")
		never.Image, never.ImagePullPolicy = "xinhari.local/absent:dev", corev1.PullNever
		invalid.Image = "xinhari.local/a/b:dev"
		pulled := shell("main", "")
		pulled.Image = "xinhari.local/absent:dev"
		for _, test := range []struct {
			reason    string
			container corev1.Container
		}{{"ErrImageNeverPull", never}, {"InvalidImageName", invalid}, {"ImagePullBackOff", pulled}} {
			name := "image-" + strings.ToLower(test.reason)
			c.create(name, corev1.PodSpec{Containers: []corev1.Container{test.container}})
			c.until(name, waitsFor(test.reason))
		}
	})
	c.subtest(t, "the deadline counts from the start, whatever the pod waits for", func(c *cluster) {
		main := shell("main", "")
		main.EnvFrom = []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "absent"}}}}
		c.create("stuck", corev1.PodSpec{ActiveDeadlineSeconds: pointer(int64(2)), Containers: []corev1.Container{main}})
		c.until("stuck", waitsFor("CreateContainerConfigError"))
		if p := c.until("stuck", phaseIs(corev1.PodFailed)); p.Status.Reason != "DeadlineExceeded" {
			c.t.Errorf("%+v", p.Status)
		}
	})
	c.subtest(t, "too large a request leaves the pod unscheduled", func(c *cluster) {
		main := shell("main", "")
		allocatable := capacity(overcommit)[corev1.ResourceCPU]
		allocatable.Add(allocatable)
		main.Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: allocatable}
		c.create("large", corev1.PodSpec{Containers: []corev1.Container{main}})
		c.hasEvent("large", "FailedScheduling", "Insufficient cpu")
		if p := c.until("large", phaseIs(corev1.PodPending)); p.Spec.NodeName != "" {
			c.t.Errorf("%+v", p.Status)
		}
	})
}
