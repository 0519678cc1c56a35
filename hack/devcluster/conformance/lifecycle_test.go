package conformance

import (
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

const (
	hooksPage   = "concepts/containers/container-lifecycle-hooks/"
	termination = "concepts/workloads/pods/pod-lifecycle/#pod-termination"
)

func lifecycleExec(script string) *corev1.LifecycleHandler {
	return &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"sh", "-c", script}}}
}

// kept gives a pod a finalizer: what it was at its end stays readable.
func kept(p *corev1.Pod) *corev1.Pod {
	p.Finalizers = []string{"example.com/keep"}
	return p
}

// ending deletes a pod that is kept and returns it with its last status.
func (s *scene) ending(name string) *corev1.Pod {
	s.Helper()
	s.delete(name, graceful())
	last := s.until(name, terminated("main"))
	s.release(name)
	return last
}

// say ends a command whose output is to be the container's last words.
const say = "> /dev/termination-log"

func hooks() []claim {
	return []claim{
		{"A postStart hook runs when the container was created", hooksPage + "#container-hooks", func(s *scene) {
			p := notebook(pod("hook", shell("main", ":"+onward)))
			p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PostStart: lifecycleExec("echo hello > /notes/hook")}
			s.start(p)
			if out := s.run("hook", "cat /notes/hook"); out != "hello" {
				s.Errorf("the hook wrote %q", out)
			}
		}},
		{"A container is not ready before its postStart hook has ended", hooksPage + "#hook-handler-execution", func(s *scene) {
			p := notebook(pod("hook", shell("main", ":"+onward)))
			p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PostStart: lifecycleExec("touch /notes/begun; until test -f /notes/go; do sleep 0.1; done")}
			s.create(p)
			s.eventually("the hook runs", func() error {
				return s.try("hook", "test", "-f", "/notes/begun")
			})
			s.must(unready(s.until("hook", exists)))
			s.run("hook", "touch /notes/go")
			s.until("hook", ready)
		}},
		{"A postStart hook that fails has the container killed", hooksPage + "#hook-handler-execution", func(s *scene) {
			p := notebook(pod("hook", shell("main", ":"+onward)))
			p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PostStart: lifecycleExec("test -f /notes/before || { touch /notes/before; exit 1; }")}
			s.create(p)
			s.event("hook", "FailedPostStartHook")
			s.until("hook", restarted)
		}},
		{"A hook may be an HTTP request to the container", hooksPage + "#hook-handler-implementations", func(s *scene) {
			p := kept(pod("hook", server()))
			p.Spec.Containers[0].ReadinessProbe = probe(httpAction("/healthz"))
			p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/exit/5", Port: intstr.FromString("web")}}}
			s.start(p)
			if c := container(s.ending("hook"), "main"); c.State.Terminated.ExitCode != 5 {
				s.Errorf("state %+v", c.State)
			}
		}},
		{"A preStop hook ends before SIGTERM is sent", hooksPage + "#container-hooks", func(s *scene) {
			p := kept(notebook(pod("hook", shell("main", "trap 'echo after $(cat /notes/hook) "+say+"; exit 0' TERM; sleep 10000 & wait"))))
			p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: lifecycleExec("sleep 0.5; echo hook > /notes/hook")}
			s.start(p)
			if message := container(s.ending("hook"), "main").State.Terminated.Message; message != "after hook\n" {
				s.Errorf("last words %q", message)
			}
		}},
		{"A preStop hook may sleep", hooksPage + "#hook-handler-implementations", func(s *scene) {
			p := kept(pod("hook", shell("main", ":"+onward)))
			p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 2}}}
			s.start(p)
			began := time.Now()
			s.ending("hook")
			if took := time.Since(began); took < 2*time.Second {
				s.Errorf("it ended after %s", took)
			}
		}},
		{"The time of a preStop hook counts in the grace period", hooksPage + "#hook-handler-execution", func(s *scene) {
			p := kept(pod("hook", shell("main", ":"+onward)))
			p.Spec.TerminationGracePeriodSeconds = ptr.To[int64](2)
			p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: lifecycleExec("sleep 10000")}
			s.start(p)
			s.ending("hook") // within the patience of the case
			s.event("hook", "FailedPreStopHook")
		}},
		{"A preStop hook does not run when the container ends by itself", hooksPage + "#container-hooks", func(s *scene) {
			p := notebook(pod("hook", shell("main", "until test -f /notes/go; do sleep 0.1; done; rm /notes/go"), shell("other", ":"+onward)))
			p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: lifecycleExec("touch /notes/hook")}
			s.start(p)
			s.must(s.tryIn("hook", "other", "touch", "/notes/go"))
			s.until("hook", restarted)
			if err := s.tryIn("hook", "other", "test", "-f", "/notes/hook"); err == nil {
				s.Error("the hook ran")
			}
		}},
	}
}

func terminations() []claim {
	return []claim{
		{"A deleted pod's containers get SIGTERM and may end by themselves", termination, func(s *scene) {
			s.start(kept(pod("polite", shell("main", "trap 'echo goodbye "+say+"; exit 3' TERM; sleep 10000 & wait"))))
			end := container(s.ending("polite"), "main").State.Terminated
			if end.Message != "goodbye\n" || end.ExitCode != 3 {
				s.Errorf("end %+v", end)
			}
		}},
		{"A container that does not end gets SIGKILL when the grace period is over", termination, func(s *scene) {
			p := kept(pod("stubborn", shell("main", "trap '' TERM; while :; do sleep 1; done")))
			p.Spec.TerminationGracePeriodSeconds = ptr.To[int64](2)
			s.start(p)
			began := time.Now()
			end := container(s.ending("stubborn"), "main").State.Terminated
			if took := time.Since(began); end.ExitCode != 137 || took < 2*time.Second {
				s.Errorf("exit code %d after %s", end.ExitCode, took)
			}
		}},
		{"A deletion may shorten the grace period", termination, func(s *scene) {
			p := kept(pod("stubborn", shell("main", "trap '' TERM; while :; do sleep 1; done")))
			p.Spec.TerminationGracePeriodSeconds = ptr.To[int64](3600)
			s.start(p)
			o := graceful()
			o.GracePeriodSeconds = ptr.To[int64](1)
			s.delete("stubborn", o)
			s.until("stubborn", terminated("main"))
			s.release("stubborn")
		}},
		{"A second deletion may shorten the grace of the first", termination, func(s *scene) {
			p := kept(pod("stubborn", shell("main", "trap '' TERM; while :; do sleep 1; done")))
			p.Spec.TerminationGracePeriodSeconds = ptr.To[int64](3600)
			s.start(p)
			s.delete("stubborn", graceful())
			s.event("stubborn", "Killing")
			o := graceful()
			o.GracePeriodSeconds = ptr.To[int64](1)
			s.delete("stubborn", o)
			s.until("stubborn", terminated("main"))
			s.release("stubborn")
		}},
		{"A pod that is deleted by force is gone from the API at once", "concepts/workloads/pods/pod-lifecycle/#pod-termination-forced", func(s *scene) {
			p := pod("forced", shell("main", "trap '' TERM; while :; do sleep 1; done"))
			p.Spec.TerminationGracePeriodSeconds = ptr.To[int64](3600)
			s.start(p)
			out, code := s.kubectl("", "delete", "pod", "forced", "--force", "--grace-period=0", "--wait=false")
			if code != 0 || !strings.Contains(out, "force") {
				s.Errorf("exit code %d: %s", code, out)
			}
			s.podGone("forced")
			s.start(pod("forced", shell("main", ":"+onward))) // its name is free
		}},
		{"A terminating pod that still serves is an endpoint that is serving, terminating and not ready", "concepts/services-networking/endpoint-slices/#conditions", func(s *scene) {
			p := notebook(pod("web", server()))
			p.Spec.TerminationGracePeriodSeconds = ptr.To[int64](3600)
			p.Spec.Containers[0].ReadinessProbe = probe(httpAction("/healthz"))
			p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: lifecycleExec("until test -f /notes/go; do sleep 0.1; done")}
			s.service("web", p)
			s.start(p)
			s.endpoints("web", readyEndpoints(1))
			s.delete("web", graceful())
			s.endpoints("web", func(all []discoveryv1.Endpoint) error {
				if len(all) != 1 {
					return fmt.Errorf("%d endpoints", len(all))
				}
				c := all[0].Conditions
				if *c.Ready || !*c.Serving || !*c.Terminating {
					return fmt.Errorf("ready %v, serving %v, terminating %v", *c.Ready, *c.Serving, *c.Terminating)
				}
				return nil
			})
			s.tell(s.until("web", exists), "set/unwell") // readiness probes go on
			s.endpoints("web", func(all []discoveryv1.Endpoint) error {
				if len(all) != 1 || *all[0].Conditions.Serving {
					return errors.New("serving")
				}
				return nil
			})
			_, _, _ = s.execute("web", "", "touch", "/notes/go") // the container may end before this does
			s.podGone("web")
			s.endpoints("web", func(all []discoveryv1.Endpoint) error {
				if len(all) != 0 {
					return fmt.Errorf("%d endpoints", len(all))
				}
				return nil
			})
		}},
		{"A pod without finalizers is gone when its containers have ended", termination, func(s *scene) {
			s.start(pod("brief", shell("main", ":"+onward)))
			s.delete("brief", graceful())
			s.podGone("brief")
		}},
	}
}
