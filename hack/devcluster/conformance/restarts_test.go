package conformance

import (
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

const (
	restartPolicy = "concepts/workloads/pods/pod-lifecycle/#restart-policy"
	podPhase      = "concepts/workloads/pods/pod-lifecycle/#pod-phase"
	lastWords     = "tasks/debug/debug-application/determine-reason-pod-failure/"
)

func restarts() []claim {
	return []claim{
		{"With Always, a container that ends well is started again", restartPolicy, func(s *scene) {
			s.create(notebook(pod("again", shell("main", "test -f /notes/before || { touch /notes/before; exit 0; }"+onward))))
			c := container(s.until("again", restarted), "main")
			if last := c.LastTerminationState.Terminated; last == nil || last.ExitCode != 0 || last.Reason != "Completed" {
				s.Errorf("last state %+v", c.LastTerminationState)
			}
		}},
		{"With OnFailure, a container that ends well is not started again", restartPolicy, func(s *scene) {
			s.create(policy(pod("once", shell("main", "exit 0")), corev1.RestartPolicyOnFailure))
			if c := container(s.until("once", phase(corev1.PodSucceeded)), "main"); c.RestartCount != 0 {
				s.Errorf("%d restarts", c.RestartCount)
			}
		}},
		{"With OnFailure, a container that fails is started again, and its last state is kept", restartPolicy, func(s *scene) {
			s.create(policy(notebook(pod("again", shell("main", "test -f /notes/before || { touch /notes/before; exit 3; }"))), corev1.RestartPolicyOnFailure))
			c := container(s.until("again", phase(corev1.PodSucceeded)), "main")
			if last := c.LastTerminationState.Terminated; c.RestartCount != 1 || last == nil || last.ExitCode != 3 || last.Reason != "Error" {
				s.Errorf("%d restarts, last state %+v", c.RestartCount, c.LastTerminationState)
			}
		}},
		{"With Never, a container that fails is not started again and its pod has failed", restartPolicy, func(s *scene) {
			s.create(policy(pod("once", shell("main", "exit 42")), corev1.RestartPolicyNever))
			c := container(s.until("once", phase(corev1.PodFailed)), "main")
			if end := c.State.Terminated; c.RestartCount != 0 || end == nil || end.ExitCode != 42 || end.Reason != "Error" {
				s.Errorf("%d restarts, state %+v", c.RestartCount, c.State)
			}
		}},
		{"A container that a signal ends has exit code 128 + its number", "concepts/workloads/pods/pod-lifecycle/#pod-termination", func(s *scene) {
			p := pod("stubborn", shell("main", "trap '' TERM; while :; do sleep 1; done"))
			p.Finalizers = []string{"example.com/keep"} // the end is to be seen
			p.Spec.TerminationGracePeriodSeconds = ptr.To[int64](1)
			s.start(p)
			s.delete("stubborn", graceful())
			now := s.until("stubborn", terminated("main"))
			if code := container(now, "main").State.Terminated.ExitCode; code != 137 {
				s.Errorf("exit code %d, want 137", code)
			}
			s.release("stubborn")
		}},
		{"A container that fails again waits in CrashLoopBackOff, ten seconds first", restartPolicy, func(s *scene) {
			s.create(pod("loop", shell("main", "exit 1")))
			now := s.until("loop", waiting("main", "CrashLoopBackOff"))
			c := container(now, "main")
			if c.RestartCount != 1 || !strings.Contains(c.State.Waiting.Message, "back-off 10s") {
				s.Errorf("after %d restarts: %s", c.RestartCount, c.State.Waiting.Message)
			}
			s.event("loop", "BackOff")
			began := c.LastTerminationState.Terminated.FinishedAt
			now = s.until("loop", func(p *corev1.Pod) error {
				c := container(p, "main")
				if c.RestartCount != 2 || c.State.Waiting != nil && c.State.Waiting.Reason == "ContainerCreating" {
					return fmt.Errorf("%d restarts, waiting: %v", c.RestartCount, c.State.Waiting)
				}
				return nil
			})
			c = container(now, "main")
			again := c.LastTerminationState.Terminated.StartedAt
			if c.State.Running != nil {
				again = c.State.Running.StartedAt
			} else if c.State.Terminated != nil {
				again = c.State.Terminated.StartedAt
			}
			// Times have whole seconds.
			if wait := again.Sub(began.Time).Seconds(); wait < 9 {
				s.Errorf("started again after %v seconds", wait)
			}
		}},
		{"A pod has succeeded when all its containers have, and failed when one has not", podPhase, func(s *scene) {
			s.create(policy(pod("good", shell("a", "exit 0"), shell("b", "exit 0")), corev1.RestartPolicyNever))
			s.create(policy(pod("bad", shell("a", "exit 0"), shell("b", "exit 1")), corev1.RestartPolicyNever))
			s.until("good", phase(corev1.PodSucceeded))
			s.until("bad", phase(corev1.PodFailed))
		}},
		{"A container's restart leaves the others of its pod running", restartPolicy, func(s *scene) {
			main := shell("main", "until test -f /notes/other; do sleep 0.1; done; test -f /notes/before || { touch /notes/before; exit 1; }"+onward)
			s.create(notebook(pod("two", main, shell("other", "touch /notes/other"+onward))))
			now := s.until("two", func(p *corev1.Pod) error { return errors.Join(restarted(p), running("other")(p)) })
			if c := container(now, "other"); c.RestartCount != 0 {
				s.Errorf("other: %d restarts", c.RestartCount)
			}
		}},
		{"What a container writes to /dev/termination-log is its status' message", lastWords + "#writing-and-reading-a-termination-message", func(s *scene) {
			s.create(policy(pod("words", shell("main", "echo sleep expired > /dev/termination-log")), corev1.RestartPolicyNever))
			now := s.until("words", phase(corev1.PodSucceeded))
			if message := container(now, "main").State.Terminated.Message; message != "sleep expired\n" {
				s.Errorf("message %q", message)
			}
		}},
		{"FallbackToLogsOnError takes the end of the log of a container that failed", lastWords + "#customizing-the-termination-message", func(s *scene) {
			c := shell("main", "echo first; echo last; exit 1")
			c.TerminationMessagePolicy = corev1.TerminationMessageFallbackToLogsOnError
			s.create(policy(pod("words", c), corev1.RestartPolicyNever))
			now := s.until("words", phase(corev1.PodFailed))
			if message := container(now, "main").State.Terminated.Message; message != "first\nlast\n" {
				s.Errorf("message %q", message)
			}
		}},
		{"A pod that is active longer than activeDeadlineSeconds fails", "concepts/workloads/pods/init-containers/#detailed-behavior", func(s *scene) {
			p := pod("late", shell("main", ":"+onward))
			p.Spec.ActiveDeadlineSeconds = ptr.To[int64](1)
			s.create(p)
			if now := s.until("late", phase(corev1.PodFailed)); now.Status.Reason != "DeadlineExceeded" {
				s.Errorf("reason %s", now.Status.Reason)
			}
		}},
		{"command and args replace the image's own, and $(NAME) in them is a variable", "tasks/inject-data-application/define-command-argument-container/", func(s *scene) {
			c := shell("main", `echo "$0" "$1" "$2"`)
			c.Env = []corev1.EnvVar{{Name: "WHO", Value: "world"}}
			c.Args = []string{"hello", "$(WHO)", "$$(WHO) $(NOBODY)"}
			s.create(policy(pod("args", c), corev1.RestartPolicyNever))
			s.until("args", phase(corev1.PodSucceeded))
			if log := s.log("args", "main"); log != "hello world $(WHO) $(NOBODY)" {
				s.Errorf("log %q", log)
			}
		}},
	}
}
