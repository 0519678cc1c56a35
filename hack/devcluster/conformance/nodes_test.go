package conformance

import (
	"context"
	"errors"
	"fmt"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

const (
	assignPage   = "concepts/scheduling-eviction/assign-pod-node/"
	taintsPage   = "concepts/scheduling-eviction/taint-and-toleration/"
	securityPage = "tasks/configure-pod-container/security-context/"
)

// pending fails the case unless the pod cannot be scheduled for a reason with words.
func (s *scene) pending(p *corev1.Pod, words string) {
	s.Helper()
	s.create(p)
	if message := s.event(p.Name, "FailedScheduling"); !strings.Contains(message, words) {
		s.Errorf("event %q, want %q", message, words)
	}
	now := s.until(p.Name, func(p *corev1.Pod) error {
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable {
				return nil
			}
		}
		return fmt.Errorf("conditions %+v", p.Status.Conditions)
	})
	s.must(phase(corev1.PodPending)(now))
}

// removeNode removes the case's own node at its end; it has the name of the namespace.
func (s *scene) removeNode() {
	s.Cleanup(func() {
		if err := s.client.CoreV1().Nodes().Delete(context.Background(), s.namespace, metav1.DeleteOptions{}); err != nil {
			s.Error(err)
		}
	})
}

func nodes() []claim {
	return []claim{
		{"A node renews its lease", "concepts/architecture/nodes/#node-heartbeats", func(s *scene) {
			leases := s.client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
			first, err := leases.Get(s.ctx, "node-1", metav1.GetOptions{})
			s.must(err)
			await(s, leases, "node-1", func(l *coordinationv1.Lease) error {
				if !l.Spec.RenewTime.After(first.Spec.RenewTime.Time) {
					return errors.New("not renewed")
				}
				return nil
			})
		}},
		{"A node has conditions, addresses, capacity and the labels of its system", "reference/node/node-status/", func(s *scene) {
			await(s, s.client.CoreV1().Nodes(), "node-1", func(n *corev1.Node) error {
				status := map[corev1.NodeConditionType]corev1.ConditionStatus{}
				for _, c := range n.Status.Conditions {
					status[c.Type] = c.Status
				}
				want := map[corev1.NodeConditionType]corev1.ConditionStatus{
					corev1.NodeReady: corev1.ConditionTrue, corev1.NodeMemoryPressure: corev1.ConditionFalse,
					corev1.NodeDiskPressure: corev1.ConditionFalse, corev1.NodePIDPressure: corev1.ConditionFalse,
				}
				for kind, is := range want {
					if status[kind] != is {
						return fmt.Errorf("conditions %v", status)
					}
				}
				if n.Labels[corev1.LabelHostname] != "node-1" || n.Labels[corev1.LabelOSStable] != "linux" || len(n.Status.Addresses) == 0 || n.Status.Capacity.Cpu().IsZero() {
					return fmt.Errorf("labels %v, addresses %v, capacity %v", n.Labels, n.Status.Addresses, n.Status.Capacity)
				}
				return nil
			})
		}},
		{"A pod whose nodeSelector no node matches stays Pending, with an event", assignPage + "#nodeselector", func(s *scene) {
			p := idle("picky")
			p.Spec.NodeSelector = map[string]string{"example.com/disk": s.namespace}
			s.pending(p, "didn't match Pod's node affinity/selector")
		}},
		{"A pod that requests more than nodes have stays Pending, with an event", "concepts/configuration/manage-resources-containers/#how-pods-with-resource-requests-are-scheduled", func(s *scene) {
			p := idle("large")
			p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1000Ti")}
			s.pending(p, "Insufficient memory")
		}},
		{"A pod is scheduled when it matches again: a Pending pod is not forgotten", assignPage + "#nodeselector", func(s *scene) {
			p := idle("patient")
			label := "example.com/" + s.namespace
			p.Spec.NodeSelector = map[string]string{label: ""}
			s.pending(p, "didn't match")
			patch := func(value string) {
				_, err := s.client.CoreV1().Nodes().Patch(s.ctx, "node-1", types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"labels":{%q:%s}}}`, label, value), metav1.PatchOptions{})
				s.must(err)
			}
			patch(`""`)
			s.until("patient", ready)
			patch("null")
		}},
		{"A pod goes to a node with a taint only if it tolerates it", taintsPage, func(s *scene) {
			// A node of the case's own, which no agent serves: binding is all that is to be seen.
			_, err := s.client.CoreV1().Nodes().Create(s.ctx, &corev1.Node{
				ObjectMeta: metav1.ObjectMeta{Name: s.namespace, Labels: map[string]string{"example.com/own": s.namespace}},
				Spec:       corev1.NodeSpec{Taints: []corev1.Taint{{Key: "example.com/own", Effect: corev1.TaintEffectNoSchedule}}},
				Status:     corev1.NodeStatus{Allocatable: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("10")}},
			}, metav1.CreateOptions{})
			s.must(err)
			s.removeNode()
			stranger, friend := idle("stranger"), idle("friend")
			for _, p := range []*corev1.Pod{stranger, friend} {
				p.Spec.NodeSelector = map[string]string{"example.com/own": s.namespace}
			}
			friend.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
			s.pending(stranger, "untolerated taint")
			s.create(friend)
			s.until("friend", func(p *corev1.Pod) error {
				if p.Spec.NodeName != s.namespace {
					return errors.New("not bound")
				}
				return nil
			})
			s.delete("friend", now())
		}},
		{"A NoExecute taint evicts the pods that do not tolerate it", taintsPage + "#taint-based-evictions", func(s *scene) {
			_, err := s.client.CoreV1().Nodes().Create(s.ctx, &corev1.Node{
				ObjectMeta: metav1.ObjectMeta{Name: s.namespace},
				Spec:       corev1.NodeSpec{Taints: []corev1.Taint{{Key: "example.com/out", Effect: corev1.TaintEffectNoExecute}}},
			}, metav1.CreateOptions{})
			s.must(err)
			s.removeNode()
			p := idle("evicted")
			p.Spec.NodeName = s.namespace
			s.create(p)
			s.event("evicted", "TaintManagerEviction")
			s.delete("evicted", now())
		}},
		{"A pod with a scheduling gate is not scheduled until the gate is removed", "concepts/scheduling-eviction/pod-scheduling-readiness/", func(s *scene) {
			p := idle("gated")
			p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/gate"}}
			s.create(p)
			s.until("gated", func(p *corev1.Pod) error {
				for _, c := range p.Status.Conditions {
					if c.Type == corev1.PodScheduled && c.Reason == corev1.PodReasonSchedulingGated {
						return nil
					}
				}
				return fmt.Errorf("conditions %+v", p.Status.Conditions)
			})
			_, err := s.client.CoreV1().Pods(s.namespace).Patch(s.ctx, "gated", types.MergePatchType, []byte(`{"spec":{"schedulingGates":null}}`), metav1.PatchOptions{})
			s.must(err)
			s.until("gated", ready)
		}},
		{"A pod's phase, its IP and its QoS class are in its status", "concepts/workloads/pods/pod-qos/", func(s *scene) {
			classes := map[string]corev1.ResourceRequirements{
				"BestEffort": {},
				"Burstable":  {Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1m")}},
				"Guaranteed": {Limits: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1m"), corev1.ResourceMemory: resource.MustParse("1Mi")}},
			}
			for class, resources := range classes {
				p := idle(strings.ToLower(class))
				p.Spec.Containers[0].Resources = resources
				s.create(p)
			}
			for class := range classes {
				now := s.until(strings.ToLower(class), ready)
				if string(now.Status.QOSClass) != class || now.Status.PodIP == "" || now.Status.Phase != corev1.PodRunning {
					s.Errorf("%s: %+v", class, now.Status)
				}
			}
		}},
	}
}

func securityContexts() []claim {
	return []claim{
		{"A container runs as runAsUser and runAsGroup, the container's before the pod's", securityPage + "#set-the-security-context-for-a-pod", func(s *scene) {
			p := pod("user", shell("main", ":"+onward), shell("other", ":"+onward))
			p.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: ptr.To[int64](1000), RunAsGroup: ptr.To[int64](3000)}
			p.Spec.Containers[1].SecurityContext = &corev1.SecurityContext{RunAsUser: ptr.To[int64](2000)}
			s.start(p)
			if !mapsUsers(s) {
				s.event("user", "UserNotMapped")
				return
			}
			for name, want := range map[string]string{"main": "1000 3000", "other": "2000 3000"} {
				if out, _ := s.exec("user", name, "sh", "-c", "echo $(id -u) $(id -g)"); strings.TrimSpace(out) != want {
					s.Errorf("%s runs as %s", name, out)
				}
			}
		}},
		{"runAsNonRoot refuses a container that would run as root", "concepts/security/pod-security-standards/#restricted", func(s *scene) {
			p := idle("root")
			p.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsNonRoot: ptr.To(true), RunAsUser: ptr.To[int64](0)}
			s.create(p)
			now := s.until("root", waiting("main", "CreateContainerConfigError"))
			if message := container(now, "main").State.Waiting.Message; !strings.Contains(message, "runAsNonRoot") {
				s.Errorf("message %q", message)
			}
			s.event("root", "Failed")
		}},
		{"With readOnlyRootFilesystem only volumes can be written", securityPage, func(s *scene) {
			p := notebook(idle("fixed"))
			p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{ReadOnlyRootFilesystem: ptr.To(true)}
			s.start(p)
			if out := s.run("fixed", "touch /tmp/file 2>/dev/null || echo no; touch /notes/file && echo yes"); out != "no\nyes" {
				s.Errorf("%q", out)
			}
		}},
		{"Volumes belong to fsGroup, which is one of the container's groups", securityPage + "#set-the-security-context-for-a-pod", func(s *scene) {
			p := notebook(idle("group"))
			p.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: ptr.To[int64](1000), FSGroup: ptr.To[int64](2000)}
			s.start(p)
			if !mapsUsers(s) {
				s.event("group", "UserNotMapped")
				return
			}
			if out := s.run("group", "touch /notes/file; stat -c %g /notes /notes/file; id -G | tr ' ' '\\n' | grep -c 2000"); out != "2000\n2000\n1" {
				s.Errorf("%q", out)
			}
		}},
		{"supplementalGroups are the container's, too", securityPage + "#set-the-security-context-for-a-pod", func(s *scene) {
			p := idle("groups")
			p.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: ptr.To[int64](1000), SupplementalGroups: []int64{4000}}
			s.start(p)
			if !mapsUsers(s) {
				s.event("groups", "UserNotMapped")
				return
			}
			if out := s.run("groups", "id -G"); out != "0 4000" { // without runAsGroup, root's is the first
				s.Errorf("groups %s", out)
			}
		}},
		{"A container without privilege escalation cannot gain privileges", securityPage, func(s *scene) {
			p := idle("bound")
			p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{AllowPrivilegeEscalation: ptr.To(false)}
			s.start(p)
			s.start(idle("free"))
			for name, want := range map[string]string{"bound": "1", "free": "0"} {
				if out := s.run(name, "sed -n 's/NoNewPrivs:\\t//p' /proc/1/status"); out != want {
					s.Errorf("%s: NoNewPrivs %s", name, out)
				}
			}
		}},
		{"A container has no capabilities that it drops", securityPage + "#set-capabilities-for-a-container", func(s *scene) {
			p := idle("none")
			p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{RunAsUser: ptr.To[int64](0), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}}
			some := idle("some")
			some.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{RunAsUser: ptr.To[int64](0)}
			s.start(p)
			s.start(some)
			capabilities := func(name string) string { return s.run(name, "sed -n 's/CapEff:\\t//p' /proc/1/status") }
			if none, some := capabilities("none"), capabilities("some"); strings.Trim(none, "0") != "" || strings.Trim(some, "0") == "" {
				s.Errorf("capabilities %s and %s", none, some)
			}
		}},
		{"What the node cannot do is refused with an event that names it", "tasks/debug/debug-application/debug-pods/#my-pod-stays-waiting", func(s *scene) {
			p := idle("host")
			p.Spec.HostPID = true
			p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: ptr.To(true)}
			s.create(p)
			if message := s.event("host", "Unsupported"); !strings.Contains(message, "hostPID") || !strings.Contains(message, "privileged") {
				s.Errorf("event %q", message)
			}
			s.until("host", waiting("main", "Unsupported"))
		}},
	}
}
