package apply

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
)

func TestHolds(t *testing.T) {
	wanted := func() *corev1ac.ServiceApplyConfiguration {
		return corev1ac.Service("a", "b").WithLabels(map[string]string{"ours": "x"}).WithSpec(corev1ac.ServiceSpec().
			WithSelector(map[string]string{"app": "a"}).
			WithPublishNotReadyAddresses(false).
			WithPorts(corev1ac.ServicePort().WithName("grpc").WithPort(1).WithTargetPort(intstr.FromInt32(1))))
	}
	for _, test := range []struct {
		name   string
		change func(*corev1.Service)
		want   bool
	}{
		{name: "the same", change: func(*corev1.Service) {}, want: true},
		{name: "a label of someone else's", change: func(s *corev1.Service) { s.Labels["theirs"] = "y" }, want: true},
		{name: "a field that the API server set", change: func(s *corev1.Service) { s.Spec.ClusterIP = "None" }, want: true},
		{name: "a label of ours is gone", change: func(s *corev1.Service) { s.Labels = nil }},
		{name: "a label of ours has another value", change: func(s *corev1.Service) { s.Labels["ours"] = "y" }},
		{name: "a further label in the selector", change: func(s *corev1.Service) { s.Spec.Selector["b"] = "c" }},
		{name: "a false that became true", change: func(s *corev1.Service) { s.Spec.PublishNotReadyAddresses = true }},
		{name: "a port of another number", change: func(s *corev1.Service) { s.Spec.Ports[0].Port = 2 }},
		{name: "a further port", change: func(s *corev1.Service) { s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: "b", Port: 2}) }},
		{name: "no spec", change: func(s *corev1.Service) { s.Spec = corev1.ServiceSpec{} }},
	} {
		t.Run(test.name, func(t *testing.T) {
			live := &corev1.Service{
				ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "b", Labels: map[string]string{"ours": "x"}},
				Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "a"}, Ports: []corev1.ServicePort{{Name: "grpc", Port: 1, TargetPort: intstr.FromInt32(1)}}},
			}
			test.change(live)
			got, err := Holds(live, wanted())
			if err != nil {
				t.Fatal(err)
			}
			if got != test.want {
				t.Errorf("Holds is %v, want %v", got, test.want)
			}
		})
	}
	// A selector that is no longer wanted must go.
	live := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "b"}, Spec: corev1.ServiceSpec{Selector: map[string]string{"a": "b"}}}
	none := corev1ac.Service("a", "b").WithSpec(corev1ac.ServiceSpec().WithSelector(nil))
	if got, err := Holds(live, none); got || err != nil {
		t.Errorf("Holds is %v, %v for a selector that is not wanted", got, err)
	}
}
