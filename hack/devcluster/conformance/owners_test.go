package conformance

import (
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	collection = "concepts/architecture/garbage-collection/"
	ownersPage = "concepts/overview/working-with-objects/owners-dependents/"
)

// family makes a ConfigMap that owns another.
func (s *scene) family(block bool) (owner, child *corev1.ConfigMap) {
	s.Helper()
	owner = s.configMap("owner", nil)
	child, err := s.client.CoreV1().ConfigMaps(s.namespace).Create(s.ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Name:            "child",
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: owner.Name, UID: owner.UID, BlockOwnerDeletion: &block}},
	}}, metav1.CreateOptions{})
	s.must(err)
	return owner, child
}

func (s *scene) deleteMap(name string, policy metav1.DeletionPropagation) {
	s.Helper()
	s.must(s.client.CoreV1().ConfigMaps(s.namespace).Delete(s.ctx, name, metav1.DeleteOptions{PropagationPolicy: &policy}))
}

func owners() []claim {
	return []claim{
		{"Background deletion removes the owner at once and its dependents later", collection + "#background-deletion", func(s *scene) {
			s.family(true)
			s.deleteMap("owner", metav1.DeletePropagationBackground)
			maps := s.client.CoreV1().ConfigMaps(s.namespace)
			if _, err := maps.Get(s.ctx, "owner", metav1.GetOptions{}); err == nil {
				s.Error("the owner is there")
			}
			gone[*corev1.ConfigMap](s, maps, "child")
		}},
		{"Foreground deletion removes the owner after the dependents that block it", collection + "#foreground-deletion", func(s *scene) {
			_, child := s.family(true)
			maps := s.client.CoreV1().ConfigMaps(s.namespace)
			_, err := maps.Patch(s.ctx, child.Name, types.MergePatchType, []byte(`{"metadata":{"finalizers":["example.com/keep"]}}`), metav1.PatchOptions{})
			s.must(err)
			s.deleteMap("owner", metav1.DeletePropagationForeground)
			await(s, maps, "child", func(m *corev1.ConfigMap) error {
				if m.DeletionTimestamp == nil {
					return errors.New("it is not being deleted")
				}
				return nil
			})
			if owner, err := maps.Get(s.ctx, "owner", metav1.GetOptions{}); err != nil || owner.DeletionTimestamp == nil || owner.Finalizers[0] != metav1.FinalizerDeleteDependents {
				s.Errorf("owner: %+v, %v", owner, err)
			}
			_, err = maps.Patch(s.ctx, child.Name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
			s.must(err)
			gone[*corev1.ConfigMap](s, maps, "owner")
		}},
		{"Orphaning leaves the dependents, without the owner's reference", collection + "#orphaned-dependents", func(s *scene) {
			s.family(true)
			s.deleteMap("owner", metav1.DeletePropagationOrphan)
			maps := s.client.CoreV1().ConfigMaps(s.namespace)
			gone[*corev1.ConfigMap](s, maps, "owner")
			child, err := maps.Get(s.ctx, "child", metav1.GetOptions{})
			s.must(err)
			if child.DeletionTimestamp != nil || len(child.OwnerReferences) > 0 {
				s.Errorf("child: %+v", child.ObjectMeta)
			}
		}},
		{"An object whose owner does not exist is removed", ownersPage + "#owner-references-in-object-specifications", func(s *scene) {
			maps := s.client.CoreV1().ConfigMaps(s.namespace)
			_, err := maps.Create(s.ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
				Name: "child", OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "never", UID: "never"}},
			}}, metav1.CreateOptions{})
			s.must(err)
			gone[*corev1.ConfigMap](s, maps, "child")
		}},
		{"A Deployment owns ReplicaSets, which own pods, and all go with it", collection + "#owners-dependents", func(s *scene) {
			s.deploy(deployment("web", 2))
			sets, err := s.client.AppsV1().ReplicaSets(s.namespace).List(s.ctx, metav1.ListOptions{})
			s.must(err)
			pods, err := s.client.CoreV1().Pods(s.namespace).List(s.ctx, metav1.ListOptions{})
			s.must(err)
			if owner := metav1.GetControllerOf(&sets.Items[0]); owner == nil || owner.Kind != "Deployment" {
				s.Errorf("owner of the ReplicaSet: %+v", owner)
			}
			if owner := metav1.GetControllerOf(&pods.Items[0]); owner == nil || owner.UID != sets.Items[0].UID {
				s.Errorf("owner of the pod: %+v", owner)
			}
			s.must(s.client.AppsV1().Deployments(s.namespace).Delete(s.ctx, "web", metav1.DeleteOptions{}))
			s.pods(0)
		}},
		{"A ReplicaSet releases a pod whose labels do not match and makes another", "concepts/workloads/controllers/replicaset/#isolating-pods-from-a-replicaset", func(s *scene) {
			s.deploy(deployment("web", 1))
			name := s.pods(1)[0].Name
			_, err := s.client.CoreV1().Pods(s.namespace).Patch(s.ctx, name, types.MergePatchType, []byte(`{"metadata":{"labels":{"app":"apart"}}}`), metav1.PatchOptions{})
			s.must(err)
			s.pods(2)
			s.until(name, func(p *corev1.Pod) error {
				if metav1.GetControllerOf(p) != nil {
					return errors.New("it is owned")
				}
				return nil
			})
		}},
		{"A deleted pod of a Deployment is replaced", "concepts/workloads/controllers/deployment/", func(s *scene) {
			s.deploy(deployment("web", 1))
			old := s.pods(1)[0]
			s.delete(old.Name, graceful())
			s.podGone(old.Name)
			await(s, s.client.AppsV1().Deployments(s.namespace), "web", available(1))
			if p := s.pods(1)[0]; p.UID == old.UID {
				s.Error("it is the old one")
			}
		}},
	}
}

// pods waits until there are as many pods as wanted that are not being deleted.
func (s *scene) pods(want int) []*corev1.Pod {
	s.Helper()
	return awaitAll(s, s.client.CoreV1().Pods(s.namespace), metav1.ListOptions{}, "pods", func(all []*corev1.Pod) error {
		if len(all) != want {
			return fmt.Errorf("there are %d, want %d", len(all), want)
		}
		return nil
	})
}

func available(want int32) func(*appsv1.Deployment) error {
	return func(d *appsv1.Deployment) error {
		if d.Status.ObservedGeneration < d.Generation || d.Status.AvailableReplicas != want || d.Status.UpdatedReplicas != want || d.Status.Replicas != want {
			return fmt.Errorf("status %+v, want %d", d.Status, want)
		}
		return nil
	}
}
