package conformance

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

const statefulPage = "concepts/workloads/controllers/statefulset/"

func statefulSet(name string, replicas int32) *appsv1.StatefulSet {
	return &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       appsv1.StatefulSetSpec{Replicas: &replicas, ServiceName: name, Selector: selects(name), Template: template(name)},
	}
}

func (s *scene) stateful(set *appsv1.StatefulSet) {
	s.Helper()
	s.service(set.Name, idle(set.Name), headless)
	_, err := s.client.AppsV1().StatefulSets(s.namespace).Create(s.ctx, set, metav1.CreateOptions{})
	s.must(err)
}

func (s *scene) scale(name string, replicas int32) {
	s.Helper()
	patch := fmt.Sprintf(`{"spec":{"replicas":%d}}`, replicas)
	_, err := s.client.AppsV1().StatefulSets(s.namespace).Patch(s.ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	s.must(err)
}

func names(pods []*corev1.Pod) string {
	var all []string
	for _, p := range pods {
		all = append(all, p.Name)
	}
	return strings.Join(slices.Sorted(slices.Values(all)), " ")
}

func sets() []claim {
	return []claim{
		{"A StatefulSet makes its pods in order, each when the one before is ready", statefulPage + "#deployment-and-scaling-guarantees", func(s *scene) {
			set := statefulSet("db", 2)
			c := &set.Spec.Template.Spec.Containers[0]
			c.ReadinessProbe = probe(execAction("test -f /tmp/go"))
			s.stateful(set)
			s.until("db-0", running("main"))
			s.event("db-0", "Unhealthy")
			if all := names(s.pods(1)); all != "db-0" {
				s.Errorf("pods %s", all)
			}
			s.run("db-0", "touch /tmp/go")
			s.until("db-1", running("main"))
			s.run("db-1", "touch /tmp/go")
			first, second := s.until("db-0", ready), s.until("db-1", ready)
			if second.CreationTimestamp.Before(&first.CreationTimestamp) {
				s.Error("out of order")
			}
		}},
		{"A StatefulSet removes its pods in reverse order", statefulPage + "#deployment-and-scaling-guarantees", func(s *scene) {
			s.stateful(statefulSet("db", 2))
			s.until("db-1", ready)
			s.scale("db", 1)
			s.podGone("db-1")
			if all := names(s.pods(1)); all != "db-0" {
				s.Errorf("pods %s", all)
			}
		}},
		{"A pod of a StatefulSet has a stable name, hostname and DNS name, also when it is replaced", statefulPage + "#stable-network-id", func(s *scene) {
			s.stateful(statefulSet("db", 1))
			old := s.until("db-0", ready)
			name := "db-0.db." + s.namespace + ".svc.cluster.local"
			s.resolves(name, old.Status.PodIP)
			if out := s.run("db-0", "hostname"); out != "db-0" {
				s.Errorf("hostname %s", out)
			}
			s.delete("db-0", graceful())
			again := s.until("db-0", func(p *corev1.Pod) error {
				if p.UID == old.UID {
					return errors.New("it is the old one")
				}
				return ready(p)
			})
			s.resolves(name, again.Status.PodIP)
			if label := again.Labels["apps.kubernetes.io/pod-index"]; label != "0" {
				s.Errorf("pod-index %q", label)
			}
		}},
		{"With podManagementPolicy Parallel, pods do not wait for one another", statefulPage + "#parallel-pod-management", func(s *scene) {
			set := statefulSet("db", 2)
			set.Spec.PodManagementPolicy = appsv1.ParallelPodManagement
			set.Spec.Template.Spec.Containers[0].ReadinessProbe = probe(execAction("exit 1"))
			s.stateful(set)
			s.pods(2)
		}},
		{"A rolling update of a StatefulSet leaves pods below the partition", statefulPage + "#partitions", func(s *scene) {
			set := statefulSet("db", 2)
			set.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: ptr.To[int32](1)}
			s.stateful(set)
			old := s.until("db-1", ready)
			patch := `{"spec":{"template":{"metadata":{"annotations":{"revision":"two"}}}}}`
			_, err := s.client.AppsV1().StatefulSets(s.namespace).Patch(s.ctx, "db", types.MergePatchType, []byte(patch), metav1.PatchOptions{})
			s.must(err)
			s.until("db-1", func(p *corev1.Pod) error {
				if p.UID == old.UID || p.Annotations["revision"] != "two" {
					return errors.New("it is the old one")
				}
				return ready(p)
			})
			await(s, s.client.AppsV1().StatefulSets(s.namespace), "db", func(set *appsv1.StatefulSet) error {
				if set.Status.ReadyReplicas != 2 || set.Status.UpdatedReplicas != 1 {
					return fmt.Errorf("status %+v", set.Status)
				}
				return nil
			})
			if p := s.until("db-0", ready); p.Annotations["revision"] != "" {
				s.Error("db-0 was updated")
			}
		}},
		{"A DaemonSet runs a pod on each node that it selects", "concepts/workloads/controllers/daemonset/", func(s *scene) {
			set := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: "agent"}, Spec: appsv1.DaemonSetSpec{Selector: selects("agent"), Template: template("agent")}}
			set.Spec.Template.Spec.NodeSelector = map[string]string{corev1.LabelTopologyRegion: "local"}
			none := set.DeepCopy()
			none.Name, none.Spec.Selector, none.Spec.Template = "none", selects("none"), template("none")
			none.Spec.Template.Spec.NodeSelector = map[string]string{"example.com/none": ""}
			sets := s.client.AppsV1().DaemonSets(s.namespace)
			for _, set := range []*appsv1.DaemonSet{set, none} {
				_, err := sets.Create(s.ctx, set, metav1.CreateOptions{})
				s.must(err)
			}
			await(s, sets, "agent", func(set *appsv1.DaemonSet) error {
				if set.Status.DesiredNumberScheduled != 3 || set.Status.NumberReady != 3 {
					return fmt.Errorf("status %+v", set.Status)
				}
				return nil
			})
			await(s, sets, "none", func(set *appsv1.DaemonSet) error {
				if set.Status.ObservedGeneration != set.Generation || set.Status.DesiredNumberScheduled != 0 {
					return fmt.Errorf("status %+v", set.Status)
				}
				return nil
			})
		}},
	}
}
