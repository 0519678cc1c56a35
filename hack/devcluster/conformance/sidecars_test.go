package conformance

import (
	"fmt"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

const sidecarPage = "concepts/workloads/pods/sidecar-containers/"

// sidecar is an init container that goes on beside the others.
func sidecar(c corev1.Container) corev1.Container {
	c.RestartPolicy = ptr.To(corev1.ContainerRestartPolicyAlways)
	return c
}

func sidecars() []claim {
	return []claim{
		{"A sidecar starts before the containers after it, and goes on beside them", sidecarPage + "#sidecar-containers-and-pod-lifecycle", func(s *scene) {
			p := withInit(pod("order", shell("main", "cat /notes/order"+onward)),
				sidecar(shell("side", "echo side > /notes/order"+onward)), shell("init", "until test -f /notes/order; do sleep 0.1; done; echo init >> /notes/order"))
			s.start(notebook(p))
			s.eventually("main has read", func() error {
				if out := s.log("order", "main"); out != "side\ninit" {
					return fmt.Errorf("order %q", out)
				}
				return nil
			})
			now := s.until("order", ready)
			s.must(running("side")(now))
			if c := container(now, "side"); !c.Ready || c.RestartCount != 0 {
				s.Errorf("side: %+v", c)
			}
		}},
		{"The containers after a sidecar wait for its startup probe", sidecarPage + "#sidecar-containers-and-pod-lifecycle", func(s *scene) {
			side := sidecar(shell("side", ":"+onward))
			side.StartupProbe = probe(execAction("test -f /notes/go"))
			side.StartupProbe.FailureThreshold = 1000
			s.create(notebook(withInit(pod("held", shell("main", ":"+onward)), side)))
			now := s.until("held", running("side"))
			s.must(waiting("main", "PodInitializing")(now))
			s.must(s.tryIn("held", "side", "touch", "/notes/go"))
			s.until("held", ready)
		}},
		{"A sidecar that ends is started again, whatever the pod's policy", sidecarPage + "#differences-from-application-containers", func(s *scene) {
			p := withInit(pod("again", shell("main", ":"+onward)), sidecar(shell("side", "test -f /notes/before || { touch /notes/before; exit 1; }"+onward)))
			s.create(policy(notebook(p), corev1.RestartPolicyNever))
			s.until("again", func(p *corev1.Pod) error {
				if c := container(p, "side"); c.RestartCount < 1 || c.State.Running == nil {
					return fmt.Errorf("%d restarts, %+v", c.RestartCount, c.State)
				}
				return running("main")(p)
			})
		}},
		{"A pod is ready when its sidecars are, too", sidecarPage + "#sidecar-containers-and-pod-lifecycle", func(s *scene) {
			side := sidecar(shell("side", ":"+onward))
			side.ReadinessProbe = probe(execAction("test -f /notes/well"))
			s.create(notebook(withInit(pod("both", shell("main", ":"+onward)), side)))
			s.until("both", running("main"))
			s.event("both", "Unhealthy")
			s.must(unready(s.until("both", exists)))
			s.must(s.tryIn("both", "side", "touch", "/notes/well"))
			s.until("both", ready)
		}},
		{"A sidecar does not keep a Job from its completion", sidecarPage + "#jobs-with-sidecar-containers", func(s *scene) {
			j := job("exit 0")
			j.Spec.Template.Spec.InitContainers = []corev1.Container{sidecar(shell("side", ":"+onward))}
			s.submit(j)
			s.job(has(batchv1.JobComplete, ""))
			s.until(s.pods(1)[0].Name, phase(corev1.PodSucceeded))
		}},
		{"Sidecars end after the other containers, in reverse order", sidecarPage + "#sidecar-containers-and-pod-lifecycle", func(s *scene) {
			last := func(name string) corev1.Container {
				return shell(name, "trap 'sleep 0.3; date +%s%N "+say+"; exit 0' TERM; sleep 10000 & wait")
			}
			p := kept(withInit(pod("ends", last("main")), sidecar(last("one")), sidecar(last("two"))))
			s.start(p)
			s.ending("ends")
			now := s.until("ends", func(p *corev1.Pod) error {
				if err := terminated("two")(p); err != nil {
					return err
				}
				return terminated("one")(p)
			})
			at := func(name string) int64 {
				n, err := strconv.ParseInt(strings.TrimSpace(container(now, name).State.Terminated.Message), 10, 64)
				s.must(err)
				return n
			}
			if main, one, two := at("main"), at("one"), at("two"); main >= two || two >= one {
				s.Errorf("ends: main %d, two %d, one %d", main, two, one)
			}
		}},
	}
}
