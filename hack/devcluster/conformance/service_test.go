package conformance

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// service makes a Service of port 80 for the actor of p, changed by edits.
func (s *scene) service(name string, p *corev1.Pod, edits ...func(*corev1.ServiceSpec)) *corev1.Service {
	s.Helper()
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": p.Labels["app"]}, // not the zone, a label that pods get when they are bound
			Ports:    []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromInt32(httpPort)}},
		},
	}
	for _, edit := range edits {
		edit(&service.Spec)
	}
	made, err := s.client.CoreV1().Services(s.namespace).Create(s.ctx, service, metav1.CreateOptions{})
	s.must(err)
	return made
}

func headless(spec *corev1.ServiceSpec) { spec.ClusterIP = corev1.ClusterIPNone }

// endpoints waits for a state of a Service's endpoints.
func (s *scene) endpoints(service string, is func([]discoveryv1.Endpoint) error) []discoveryv1.Endpoint {
	s.Helper()
	var all []discoveryv1.Endpoint
	selector := metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + service}
	awaitAll(s, s.client.DiscoveryV1().EndpointSlices(s.namespace), selector, "endpoints of "+service, func(slices []*discoveryv1.EndpointSlice) error {
		all = nil
		for _, slice := range slices {
			all = append(all, slice.Endpoints...)
		}
		return is(all)
	})
	return all
}

func readyEndpoints(want int) func([]discoveryv1.Endpoint) error {
	return func(all []discoveryv1.Endpoint) error {
		n := 0
		for _, e := range all {
			if e.Conditions.Ready != nil && *e.Conditions.Ready {
				n++
			}
		}
		if n != want {
			return fmt.Errorf("%d of %d endpoints are ready, want %d", n, len(all), want)
		}
		return nil
	}
}
