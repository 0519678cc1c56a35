package conformance

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

const initPage = "concepts/workloads/pods/init-containers/"

// withInit gives a pod init containers.
func withInit(p *corev1.Pod, first ...corev1.Container) *corev1.Pod {
	p.Spec.InitContainers = first
	return p
}

func initContainers() []claim {
	return []claim{
		{"Init containers run one after the other, each to its end, before the others start", initPage + "#understanding-init-containers", func(s *scene) {
			note := func(what string) string {
				return "echo " + what + " begins >> /notes/order; sleep 0.2; echo " + what + " ends >> /notes/order"
			}
			p := withInit(pod("order", shell("main", note("main")+onward)), shell("one", note("one")), shell("two", note("two")))
			s.start(notebook(p))
			s.eventually("main has noted", func() error {
				if out, want := s.run("order", "cat /notes/order"), "one begins\none ends\ntwo begins\ntwo ends\nmain begins\nmain ends"; out != want {
					return fmt.Errorf("order %q", out)
				}
				return nil
			})
		}},
		{"A pod is Pending and not Initialized until its init containers have ended", initPage + "#detailed-behavior", func(s *scene) {
			p := notebook(withInit(pod("held", shell("main", ":"+onward)), shell("hold", "until test -f /notes/go; do sleep 0.1; done")))
			s.create(p)
			now := s.until("held", running("hold"))
			if err := errors.Join(phase(corev1.PodPending)(now), conditionIs(corev1.PodInitialized, corev1.ConditionFalse)(now), waiting("main", "PodInitializing")(now)); err != nil {
				s.Error(err)
			}
			if _, code := s.exec("held", "hold", "touch", "/notes/go"); code != 0 {
				s.Fatal(code)
			}
			now = s.until("held", ready)
			if err := conditionIs(corev1.PodInitialized, corev1.ConditionTrue)(now); err != nil {
				s.Error(err)
			}
			if c := container(now, "hold"); c.State.Terminated == nil || c.State.Terminated.ExitCode != 0 || !c.Ready {
				s.Errorf("hold: %+v", c)
			}
		}},
		{"An init container that fails is run again until it succeeds", initPage + "#understanding-init-containers", func(s *scene) {
			s.start(notebook(withInit(pod("again", shell("main", ":"+onward)), shell("first", "test -f /notes/before || { touch /notes/before; exit 1; }"))))
			if c := container(s.until("again", ready), "first"); c.RestartCount != 1 {
				s.Errorf("%d restarts", c.RestartCount)
			}
		}},
		{"With Never, an init container that fails has the whole pod fail", initPage + "#understanding-init-containers", func(s *scene) {
			s.create(policy(withInit(pod("never", shell("main", "exit 0")), shell("first", "exit 7")), corev1.RestartPolicyNever))
			now := s.until("never", phase(corev1.PodFailed))
			if c := container(now, "main"); c.State.Running != nil || c.State.Terminated != nil {
				s.Errorf("main ran: %+v", c.State)
			}
			if c := container(now, "first"); c.State.Terminated == nil || c.State.Terminated.ExitCode != 7 {
				s.Errorf("first: %+v", c.State)
			}
		}},
		{"Init containers do not run again when another container is restarted", initPage + "#pod-restart-reasons", func(s *scene) {
			p := notebook(withInit(pod("once", shell("main", "test -f /notes/before || { touch /notes/before; exit 1; }"+onward)), shell("first", "echo >> /notes/inits")))
			s.create(p)
			s.until("once", restarted)
			if out := s.run("once", "wc -l < /notes/inits"); out != "1" {
				s.Errorf("the init container ran %s times", out)
			}
		}},
	}
}
