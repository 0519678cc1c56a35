package node

import (
	"cmp"
	"context"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// services are those of the cluster, for the environment of containers.
type services struct {
	known chan struct{} // closed when they have been read for the first time

	mu  sync.Mutex
	all map[types.UID]*corev1.Service
}

func newServices() *services { return &services{known: make(chan struct{})} }

// watch keeps them up to date until ctx ends.
func (s *services) watch(ctx context.Context, client kubernetes.Interface, failed func(error)) {
	api := client.CoreV1().Services(metav1.NamespaceAll)
	follow(ctx, source[*corev1.Service]{
		list:  func(ctx context.Context, o metav1.ListOptions) (listed, error) { return api.List(ctx, o) },
		watch: api.Watch,
		replace: func(items []*corev1.Service) {
			s.mu.Lock()
			defer s.mu.Unlock()
			first := s.all == nil
			s.all = map[types.UID]*corev1.Service{}
			for _, item := range items {
				s.all[item.UID] = item
			}
			if first {
				close(s.known)
			}
		},
		set: func(item *corev1.Service) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.all[item.UID] = item
		},
		remove: func(item *corev1.Service) {
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.all, item.UID)
		},
		failed: failed,
	})
}

// in returns the services of a namespace by name.
func (s *services) in(namespace string) []*corev1.Service {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []*corev1.Service
	for _, item := range s.all {
		if item.Namespace == namespace {
			found = append(found, item)
		}
	}
	slices.SortFunc(found, func(a, b *corev1.Service) int { return cmp.Compare(a.Name, b.Name) })
	return found
}
