package conformance

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

const (
	probeKinds  = "concepts/workloads/pods/pod-lifecycle/#container-probes"
	probeTask   = "tasks/configure-pod-container/configure-liveness-readiness-startup-probes/"
	probeFields = probeTask + "#configure-probes"
)

func probes() []claim {
	return []claim{
		{"An HTTP probe succeeds with a status from 200 to 399", probeTask + "#http-probes", func(s *scene) {
			good, bad := pod("good", server()), pod("bad", server())
			good.Spec.Containers[0].ReadinessProbe = probe(httpAction("/code/399"))
			bad.Spec.Containers[0].ReadinessProbe = probe(httpAction("/code/400"))
			s.create(bad)
			s.start(good)
			if message := s.event("bad", "Unhealthy"); !strings.Contains(message, "400") {
				s.Errorf("event %q does not name the status", message)
			}
			s.until("bad", unready)
		}},
		{"An HTTP probe sends the headers it is given", probeTask + "#http-probes", func(s *scene) {
			p := pod("web", server())
			p.Spec.Containers[0].ReadinessProbe = probe(httpAction("/wants/probe"))
			p.Spec.Containers[0].ReadinessProbe.HTTPGet.HTTPHeaders = []corev1.HTTPHeader{{Name: "X-Wants", Value: "probe"}}
			s.start(p)
		}},
		{"An HTTPS probe does not verify the certificate", probeTask + "#http-probes", func(s *scene) {
			p := pod("web", server())
			h := httpAction("/healthz")
			h.HTTPGet.Scheme, h.HTTPGet.Port = corev1.URISchemeHTTPS, intstr.FromInt32(httpsPort)
			p.Spec.Containers[0].ReadinessProbe = probe(h)
			s.tell(s.start(p), "set/unwell")
			s.until("web", unready)
		}},
		{"A gRPC probe follows the gRPC health protocol", probeTask + "#define-a-grpc-liveness-probe", func(s *scene) {
			p := pod("web", server())
			p.Spec.Containers[0].ReadinessProbe = probe(corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: grpcPort}})
			s.tell(s.start(p), "set/unwell")
			s.until("web", unready)
		}},
		{"A gRPC probe asks for the service it names", probeTask + "#define-a-grpc-liveness-probe", func(s *scene) {
			for name, service := range map[string]string{"known": "named", "unknown": "absent"} {
				p := pod(name, server())
				p.Spec.Containers[0].ReadinessProbe = probe(corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: grpcPort, Service: ptr.To(service)}})
				s.create(p)
			}
			s.until("known", ready)
			s.event("unknown", "Unhealthy")
			s.until("unknown", unready)
		}},
		{"A TCP probe succeeds when the port is open", probeTask + "#define-a-tcp-liveness-probe", func(s *scene) {
			open, closed := pod("open", server()), pod("closed", server())
			open.Spec.Containers[0].ReadinessProbe = probe(corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(httpPort)}})
			closed.Spec.Containers[0].ReadinessProbe = probe(corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(1)}})
			s.create(closed)
			s.start(open)
			s.event("closed", "Unhealthy")
			s.until("closed", unready)
		}},
		{"A probe may name a port of its container", probeTask + "#use-a-named-port", func(s *scene) {
			p := pod("web", server())
			h := httpAction("/healthz")
			h.HTTPGet.Port = intstr.FromString("web")
			p.Spec.Containers[0].ReadinessProbe = probe(h)
			s.start(p)
		}},
		{"An exec probe succeeds with exit code 0", probeTask + "#define-a-liveness-command", func(s *scene) {
			p := notebook(pod("notes", shell("main", "touch /notes/well"+onward)))
			p.Spec.Containers[0].ReadinessProbe = probe(execAction("test -f /notes/well"))
			s.start(p)
			s.run("notes", "rm /notes/well")
			s.until("notes", unready)
		}},
		{"A probe that takes longer than timeoutSeconds has failed", probeFields, func(s *scene) {
			p := pod("slow", shell("main", ":"+onward))
			p.Spec.Containers[0].ReadinessProbe = probe(execAction("sleep 1000"))
			p.Spec.Containers[0].ReadinessProbe.TimeoutSeconds = 1
			s.create(p)
			s.event("slow", "Unhealthy")
			s.until("slow", unready)
		}},
		{"No probe is made before initialDelaySeconds", probeFields, func(s *scene) {
			p := notebook(pod("delayed", shell("main", "date +%s%N > /notes/start"+onward)))
			p.Spec.Containers[0].ReadinessProbe = probe(execAction("test -f /notes/probe || date +%s%N > /notes/probe"))
			p.Spec.Containers[0].ReadinessProbe.InitialDelaySeconds = 3
			s.start(p)
			began, _ := strconv.ParseInt(s.run("delayed", "cat /notes/start"), 10, 64)
			asked, _ := strconv.ParseInt(s.run("delayed", "cat /notes/probe"), 10, 64)
			// The script notes its start a little after the agent does.
			if wait := time.Duration(asked - began); began == 0 || wait < 2*time.Second {
				s.Errorf("first probe after %s", wait)
			}
		}},
		{"A failed liveness probe has the container restarted", probeKinds, func(s *scene) {
			p := pod("web", server())
			p.Spec.Containers[0].LivenessProbe = probe(httpAction("/healthz"))
			p.Spec.Containers[0].LivenessProbe.FailureThreshold = 3 // the program takes its time to serve
			s.tell(s.start(p), "set/unwell")
			now := s.until("web", restarted)
			if last := container(now, "main").LastTerminationState.Terminated; last == nil {
				s.Error("the last state is not known")
			}
			s.event("web", "Unhealthy")
			s.event("web", "Killing")
		}},
		{"A container is restarted after failureThreshold failures in a row, not before", probeFields, func(s *scene) {
			// What is counted at the second start are the probes of the first.
			p := notebook(pod("counted", shell("main", "if test -f /notes/before; then cp /notes/asked /notes/counted; fi; touch /notes/before /tmp/up"+onward)))
			p.Spec.Containers[0].LivenessProbe = probe(execAction("test -f /tmp/up || exit 0; echo >> /notes/asked; test -f /notes/counted"))
			p.Spec.Containers[0].LivenessProbe.FailureThreshold = 3
			s.create(p)
			s.until("counted", restarted)
			s.eventually("the probes are counted", func() error {
				if out := s.run("counted", "wc -l < /notes/counted || true"); out != "3" {
					return fmt.Errorf("asked %s times, want 3", out)
				}
				return nil
			})
		}},
		{"A probe that failed succeeds after successThreshold successes in a row", probeFields, func(s *scene) {
			p := notebook(pod("counted", shell("main", ":"+onward)))
			// The fourth answer is no.
			p.Spec.Containers[0].ReadinessProbe = probe(execAction(`echo >> /notes/asked; test $(wc -l < /notes/asked) -ne 4`))
			p.Spec.Containers[0].ReadinessProbe.SuccessThreshold = 4
			s.start(p)
			if n, _ := strconv.Atoi(s.run("counted", "wc -l < /notes/asked")); n < 8 {
				s.Errorf("ready after %d probes, want 8", n)
			}
		}},
		{"An unready container goes on running, and its pod leaves the endpoints", probeKinds, func(s *scene) {
			p := pod("web", server())
			p.Spec.Containers[0].ReadinessProbe = probe(httpAction("/healthz"))
			s.service("web", p)
			now := s.start(p)
			s.endpoints("web", readyEndpoints(1))
			s.tell(now, "set/unwell")
			s.endpoints("web", readyEndpoints(0))
			now = s.until("web", unready)
			if c := container(now, "main"); c.State.Running == nil || c.RestartCount != 0 {
				s.Errorf("state %+v, %d restarts", c.State, c.RestartCount)
			}
			s.tell(now, "set/well")
			s.endpoints("web", readyEndpoints(1))
		}},
		{"No other probe is made before the startup probe succeeds", probeKinds, func(s *scene) {
			p := notebook(pod("slow", shell("main", ":"+onward)))
			c := &p.Spec.Containers[0]
			c.StartupProbe = probe(execAction("echo >> /notes/startup; test -f /notes/started"))
			c.StartupProbe.FailureThreshold = 1000
			c.LivenessProbe = probe(execAction("touch /notes/live"))
			c.ReadinessProbe = probe(execAction("touch /notes/ready"))
			s.create(p)
			s.until("slow", running("main"))
			s.eventually("the startup probe is made three times", func() error {
				if out := s.run("slow", "cat /notes/startup 2>/dev/null | wc -l"); out < "3" {
					return fmt.Errorf("%s times", out)
				}
				return nil
			})
			if out := s.run("slow", "ls /notes"); out != "startup" {
				s.Errorf("probes made: %s", out)
			}
			if c := container(s.until("slow", unready), "main"); c.Started == nil || *c.Started {
				s.Error("the container counts as started")
			}
			s.run("slow", "touch /notes/started")
			if c := container(s.until("slow", ready), "main"); c.Started == nil || !*c.Started {
				s.Error("the container does not count as started")
			}
			s.eventually("the liveness probe is made", func() error {
				if _, code := s.exec("slow", "", "test", "-f", "/notes/live"); code != 0 {
					return errAbsent
				}
				return nil
			})
		}},
		{"A startup probe that never succeeds has the container restarted", probeKinds, func(s *scene) {
			p := pod("stuck", shell("main", ":"+onward))
			p.Spec.Containers[0].StartupProbe = probe(execAction("exit 1"))
			p.Spec.Containers[0].StartupProbe.FailureThreshold = 2
			s.create(p)
			s.until("stuck", restarted)
		}},
		{"A probe's own terminationGracePeriodSeconds replaces the pod's", probeTask + "#probe-level-terminationgraceperiodseconds", func(s *scene) {
			p := pod("stubborn", shell("main", "trap '' TERM; while :; do sleep 1; done"))
			p.Spec.TerminationGracePeriodSeconds = ptr.To[int64](3600)
			p.Spec.Containers[0].LivenessProbe = probe(execAction("exit 1"))
			p.Spec.Containers[0].LivenessProbe.TerminationGracePeriodSeconds = ptr.To[int64](1)
			s.create(p)
			if code := container(s.until("stubborn", killedOnce), "main").LastTerminationState.Terminated.ExitCode; code != 137 {
				s.Errorf("exit code %d, want 137", code)
			}
			s.delete("stubborn", now())
		}},
		{"Readiness and liveness of one container do not depend on each other", probeTask + "#define-readiness-probes", func(s *scene) {
			p := notebook(pod("both", shell("main", ":"+onward)))
			p.Spec.Containers[0].LivenessProbe = probe(execAction("echo >> /notes/live"))
			p.Spec.Containers[0].ReadinessProbe = probe(execAction("exit 1"))
			s.create(p)
			s.event("both", "Unhealthy")
			s.eventually("the liveness probe goes on", func() error {
				if out := s.run("both", "cat /notes/live 2>/dev/null | wc -l"); out < "3" {
					return fmt.Errorf("%s times", out)
				}
				return nil
			})
			if c := container(s.until("both", unready), "main"); c.RestartCount != 0 {
				s.Errorf("%d restarts", c.RestartCount)
			}
		}},
	}
}

// killedOnce waits for the end of main's first run.
func killedOnce(p *corev1.Pod) error {
	if c := container(p, "main"); c.LastTerminationState.Terminated == nil {
		return fmt.Errorf("state %+v", c.State)
	}
	return nil
}
