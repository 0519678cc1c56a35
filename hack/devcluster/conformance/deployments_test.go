package conformance

import (
	"errors"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/ptr"
)

const (
	deploymentPage  = "concepts/workloads/controllers/deployment/"
	disruptionsPage = "concepts/workloads/pods/disruptions/"
	gatesPage       = "concepts/workloads/pods/pod-lifecycle/#pod-readiness-gate"
)

// template is that of idle pods with the label app.
func template(app string) corev1.PodTemplateSpec {
	p := idle(app)
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: p.Labels}, Spec: p.Spec}
}

func selects(app string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}
}

func deployment(name string, replicas int32) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       appsv1.DeploymentSpec{Replicas: &replicas, Selector: selects(name), Template: template(name)},
	}
}

// deploy waits until all replicas are available.
func (s *scene) deploy(d *appsv1.Deployment) {
	s.Helper()
	_, err := s.client.AppsV1().Deployments(s.namespace).Create(s.ctx, d, metav1.CreateOptions{})
	s.must(err)
	await(s, s.client.AppsV1().Deployments(s.namespace), d.Name, available(*d.Spec.Replicas))
}

// retemplate gives a Deployment's pods a variable and thereby a new revision.
func (s *scene) retemplate(name, value string) {
	s.Helper()
	patch := fmt.Sprintf(`{"spec":{"template":{"spec":{"containers":[{"name":"main","env":[{"name":"REVISION","value":%q}]}]}}}}`, value)
	_, err := s.client.AppsV1().Deployments(s.namespace).Patch(s.ctx, name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{})
	s.must(err)
}

// revision fails the case unless all pods have the variable.
func (s *scene) revision(pods []*corev1.Pod, want string) {
	s.Helper()
	for _, p := range pods {
		var got string
		for _, v := range p.Spec.Containers[0].Env {
			got = v.Value
		}
		if got != want {
			s.Errorf("pod %s has revision %q, want %q", p.Name, got, want)
		}
	}
}

func (s *scene) succeeds(args ...string) string {
	s.Helper()
	out, code := s.kubectl("", args...)
	if code != 0 {
		s.Fatalf("kubectl %s: exit code %d: %s", strings.Join(args, " "), code, out)
	}
	return out
}

func deployments() []claim {
	return []claim{
		{"With maxUnavailable 0, a rolling update never has fewer pods ready than wanted", deploymentPage + "#rolling-update-deployment", func(s *scene) {
			d := deployment("web", 3)
			d.Spec.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{MaxUnavailable: ptr.To(intstr.FromInt32(0)), MaxSurge: ptr.To(intstr.FromInt32(1))}
			s.deploy(d)
			deployments := s.client.AppsV1().Deployments(s.namespace)
			changes, err := deployments.Watch(s.ctx, metav1.ListOptions{FieldSelector: "metadata.name=web"})
			s.must(err)
			defer changes.Stop()
			s.retemplate("web", "two")
			for change := range changes.ResultChan() {
				d, ok := change.Object.(*appsv1.Deployment)
				if !ok || change.Type == watch.Deleted {
					s.Fatalf("%+v", change)
				}
				if d.Status.AvailableReplicas < 3 || d.Status.Replicas > 4 {
					s.Errorf("status %+v", d.Status)
				}
				if d.Generation > 1 && available(3)(d) == nil {
					break
				}
			}
			s.revision(s.pods(3), "two")
		}},
		{"kubectl rollout undo goes back to the revision before", deploymentPage + "#rolling-back-to-a-previous-revision", func(s *scene) {
			s.deploy(deployment("web", 1))
			s.retemplate("web", "bad")
			await(s, s.client.AppsV1().Deployments(s.namespace), "web", available(1))
			s.succeeds("rollout", "undo", "deployment/web")
			if out := s.succeeds("rollout", "status", "deployment/web"); !strings.Contains(out, "successfully rolled out") {
				s.Error(out)
			}
			s.revision(s.pods(1), "")
		}},
		{"A change of a paused Deployment is rolled out when it is resumed", deploymentPage + "#pausing-and-resuming-a-deployment", func(s *scene) {
			s.deploy(deployment("web", 1))
			s.succeeds("rollout", "pause", "deployment/web")
			s.retemplate("web", "two")
			deployments := s.client.AppsV1().Deployments(s.namespace)
			await(s, deployments, "web", func(d *appsv1.Deployment) error {
				if d.Status.ObservedGeneration < d.Generation {
					return errors.New("not observed")
				}
				return nil
			})
			s.revision(s.pods(1), "")
			s.succeeds("rollout", "resume", "deployment/web")
			await(s, deployments, "web", available(1))
			s.revision(s.pods(1), "two")
		}},
		{"Recreate ends all old pods before it makes new ones", deploymentPage + "#recreate-deployment", func(s *scene) {
			d := deployment("web", 2)
			d.Spec.Strategy.Type = appsv1.RecreateDeploymentStrategyType
			s.deploy(d)
			for _, p := range s.pods(2) { // held until they are released
				_, err := s.client.CoreV1().Pods(s.namespace).Patch(s.ctx, p.Name, types.MergePatchType, []byte(`{"metadata":{"finalizers":["example.com/keep"]}}`), metav1.PatchOptions{})
				s.must(err)
			}
			s.retemplate("web", "two")
			old := awaitAll(s, s.client.CoreV1().Pods(s.namespace), metav1.ListOptions{}, "pods end", func(all []*corev1.Pod) error {
				for _, p := range all {
					if p.Spec.Containers[0].Env != nil {
						s.Errorf("%s is new", p.Name)
					} else if p.Status.Phase != corev1.PodSucceeded {
						return fmt.Errorf("%s is %s", p.Name, p.Status.Phase)
					}
				}
				return nil
			})
			for _, p := range old {
				s.release(p.Name)
			}
			await(s, s.client.AppsV1().Deployments(s.namespace), "web", available(2))
		}},
		{"A rollout that makes no progress for progressDeadlineSeconds says so", deploymentPage + "#failed-deployment", func(s *scene) {
			d := deployment("web", 1)
			d.Spec.ProgressDeadlineSeconds = ptr.To[int32](2)
			d.Spec.Template.Spec.Containers[0].ReadinessProbe = probe(execAction("exit 1"))
			_, err := s.client.AppsV1().Deployments(s.namespace).Create(s.ctx, d, metav1.CreateOptions{})
			s.must(err)
			await(s, s.client.AppsV1().Deployments(s.namespace), "web", func(d *appsv1.Deployment) error {
				for _, c := range d.Status.Conditions {
					if c.Type == appsv1.DeploymentProgressing && c.Status == corev1.ConditionFalse && c.Reason == "ProgressDeadlineExceeded" {
						return nil
					}
				}
				return fmt.Errorf("conditions %+v", d.Status.Conditions)
			})
		}},
		{"A pod is available when it was ready for minReadySeconds", deploymentPage + "#min-ready-seconds", func(s *scene) {
			d := deployment("web", 1)
			d.Spec.MinReadySeconds = 2
			s.deploy(d)
			p := s.pods(1)[0]
			at := map[string]metav1.Time{}
			for _, c := range p.Status.Conditions {
				at[string(c.Type)] = c.LastTransitionTime
			}
			d, err := s.client.AppsV1().Deployments(s.namespace).Get(s.ctx, "web", metav1.GetOptions{})
			s.must(err)
			for _, c := range d.Status.Conditions {
				at[string(c.Type)] = c.LastTransitionTime
			}
			if wait := at["Available"].Sub(at["Ready"].Time).Seconds(); wait < 1 { // whole seconds
				s.Errorf("available after %v seconds", wait)
			}
		}},
		{"A pod with a readiness gate is ready when that condition is true, too", gatesPage, func(s *scene) {
			const gate = "example.com/gate"
			p := pod("gated", shell("main", ":"+onward))
			p.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: gate}}
			s.service("gated", p)
			s.create(p)
			s.until("gated", conditionIs(corev1.ContainersReady, corev1.ConditionTrue))
			s.until("gated", func(p *corev1.Pod) error {
				for _, c := range p.Status.Conditions {
					if c.Type == corev1.PodReady && c.Status == corev1.ConditionFalse && c.Reason == "ReadinessGatesNotReady" {
						return nil
					}
				}
				return fmt.Errorf("conditions %+v", p.Status.Conditions)
			})
			s.endpoints("gated", readyEndpoints(0))
			patch := fmt.Sprintf(`{"status":{"conditions":[{"type":%q,"status":"True"}]}}`, gate)
			_, err := s.client.CoreV1().Pods(s.namespace).Patch(s.ctx, "gated", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "status")
			s.must(err)
			s.until("gated", ready)
			s.until("gated", conditionIs(gate, corev1.ConditionTrue)) // the node keeps it
			s.endpoints("gated", readyEndpoints(1))
		}},
		{"A PodDisruptionBudget refuses the eviction that it cannot bear", disruptionsPage + "#pod-disruption-budgets", func(s *scene) {
			s.deploy(deployment("web", 2))
			budgets := s.client.PolicyV1().PodDisruptionBudgets(s.namespace)
			_, err := budgets.Create(s.ctx, &policyv1.PodDisruptionBudget{
				ObjectMeta: metav1.ObjectMeta{Name: "web"},
				Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: ptr.To(intstr.FromInt32(1)), Selector: selects("web")},
			}, metav1.CreateOptions{})
			s.must(err)
			allows := func(want int32) func(*policyv1.PodDisruptionBudget) error {
				return func(b *policyv1.PodDisruptionBudget) error {
					if b.Status.ObservedGeneration < b.Generation || b.Status.DisruptionsAllowed != want {
						return fmt.Errorf("it allows %d", b.Status.DisruptionsAllowed)
					}
					return nil
				}
			}
			await(s, budgets, "web", allows(1))
			// The Deployment may make no other pod meanwhile.
			_, err = s.client.AppsV1().Deployments(s.namespace).Patch(s.ctx, "web", types.MergePatchType, []byte(`{"spec":{"paused":true}}`), metav1.PatchOptions{})
			s.must(err)
			pods := s.pods(2)
			evict := func(name string) error {
				return s.client.PolicyV1().Evictions(s.namespace).Evict(s.ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: s.namespace}})
			}
			s.must(evict(pods[0].Name))
			if err := evict(pods[1].Name); !apierrors.IsTooManyRequests(err) {
				s.Errorf("the second eviction: %v", err)
			}
		}},
	}
}
