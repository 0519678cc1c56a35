package service

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
)

func sample(spec xinhariv1alpha1.ServiceSpec) *xinhariv1alpha1.Service {
	return &xinhariv1alpha1.Service{ObjectMeta: metav1.ObjectMeta{Name: "inventory", Namespace: "shop", UID: "1"}, Spec: spec}
}

func TestCoreServices(t *testing.T) {
	for _, test := range []struct {
		name string
		spec xinhariv1alpha1.ServiceSpec
		want []string // name, version, selector, ports
	}{
		{name: "one port by default", spec: xinhariv1alpha1.ServiceSpec{Selector: xinhariv1alpha1.Labels{"app": "a"}},
			want: []string{"inventory  map[app:a] grpc:8080"}},
		{name: "ports as listed", spec: xinhariv1alpha1.ServiceSpec{
			Selector: xinhariv1alpha1.Labels{"app": "a"},
			Ports:    []xinhariv1alpha1.ServicePort{{Name: "b", Port: 2}, {Name: "a", Port: 1}},
		}, want: []string{"inventory  map[app:a] b:2 a:1"}},
		{name: "a version has the labels of both selectors", spec: xinhariv1alpha1.ServiceSpec{
			Selector: xinhariv1alpha1.Labels{"app": "a"},
			Versions: []xinhariv1alpha1.ServiceVersion{{Name: "v1", Selector: xinhariv1alpha1.Labels{"v": "one"}}},
		}, want: []string{"inventory  map[app:a] grpc:8080", "inventory--v1 v1 map[app:a v:one] grpc:8080"}},
		{name: "versions beside someone else's core Service", spec: xinhariv1alpha1.ServiceSpec{
			Selector: xinhariv1alpha1.Labels{"app": "a"}, CoreService: xinhariv1alpha1.CoreServiceExisting,
			Versions: []xinhariv1alpha1.ServiceVersion{{Name: "v1", Selector: xinhariv1alpha1.Labels{"v": "one"}}},
		}, want: []string{"inventory--v1 v1 map[app:a v:one] grpc:8080"}},
		{name: "none for a client", spec: xinhariv1alpha1.ServiceSpec{ClientOnly: true}},
		{name: "no selector for endpoints alone", spec: xinhariv1alpha1.ServiceSpec{Endpoints: []xinhariv1alpha1.ServiceEndpoint{{}}},
			want: []string{"inventory  map[] grpc:8080"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for _, core := range coreServices(sample(test.spec)) {
				line := fmt.Sprint(*core.Name, " ", core.Labels[xinhariv1alpha1.LabelVersion], " ", core.Spec.Selector)
				for _, port := range core.Spec.Ports {
					line += fmt.Sprintf(" %s:%d", *port.Name, *port.Port)
				}
				got = append(got, line)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("core Services (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEndpointSlices(t *testing.T) {
	at := func(address string, port int32) xinhariv1alpha1.ServiceEndpoint {
		return xinhariv1alpha1.ServiceEndpoint{Address: address, Port: port}
	}
	many := make([]xinhariv1alpha1.ServiceEndpoint, 0, 1001)
	for i := range 1001 {
		many = append(many, at(fmt.Sprintf("10.0.%d.%d", i/256, i%256), 1))
	}
	for _, test := range []struct {
		name string
		in   []xinhariv1alpha1.ServiceEndpoint
		want []string // name and addresses, or their number
	}{
		{name: "none"},
		{name: "sorted whatever the order", in: []xinhariv1alpha1.ServiceEndpoint{at("10.0.0.10", 1), at("10.0.0.9", 1)},
			want: []string{"inventory--ipv4-1-0 [10.0.0.9 10.0.0.10]"}},
		{name: "the same twice counts once", in: []xinhariv1alpha1.ServiceEndpoint{at("10.0.0.1", 1), at("10.0.0.1", 1)},
			want: []string{"inventory--ipv4-1-0 [10.0.0.1]"}},
		{name: "a slice for each port and family", in: []xinhariv1alpha1.ServiceEndpoint{
			at("2001:db8::1", 1), at("10.0.0.1", 2), at("10.0.0.1", 1),
		}, want: []string{"inventory--ipv4-1-0 [10.0.0.1]", "inventory--ipv4-2-0 [10.0.0.1]", "inventory--ipv6-1-0 [2001:db8::1]"}},
		{name: "no more than 1000 in a slice", in: many, want: []string{"inventory--ipv4-1-0 1000", "inventory--ipv4-1-1 [10.0.3.232]"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			all, err := endpointSlices(sample(xinhariv1alpha1.ServiceSpec{Endpoints: test.in}))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, slice := range all {
				var addresses []string
				for _, e := range slice.Endpoints {
					addresses = append(addresses, e.Addresses...)
				}
				if len(addresses) > 10 {
					got = append(got, fmt.Sprint(*slice.Name, " ", len(addresses)))
				} else {
					got = append(got, fmt.Sprint(*slice.Name, " ", addresses))
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("slices (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCount(t *testing.T) {
	pod := func(uid string, ready *bool) discoveryv1.Endpoint {
		return discoveryv1.Endpoint{
			TargetRef: &corev1.ObjectReference{UID: types.UID(uid), Name: uid}, Conditions: discoveryv1.EndpointConditions{Ready: ready},
		}
	}
	outside := func(address string) discoveryv1.Endpoint { return discoveryv1.Endpoint{Addresses: []string{address}} }
	slice := func(port int32, e ...discoveryv1.Endpoint) discoveryv1.EndpointSlice {
		return discoveryv1.EndpointSlice{Endpoints: e, Ports: []discoveryv1.EndpointPort{{Port: &port}}}
	}
	for _, test := range []struct {
		name         string
		in           []discoveryv1.EndpointSlice
		ready, total int32
	}{
		{name: "none"},
		{name: "no condition is ready", in: []discoveryv1.EndpointSlice{slice(1, pod("a", nil), pod("b", new(false)), pod("c", new(true)))}, ready: 2, total: 3},
		{name: "a pod of two families is one", in: []discoveryv1.EndpointSlice{slice(1, pod("a", new(false))), slice(1, pod("a", new(true)))}, ready: 1, total: 1},
		{name: "ports of one address are two", in: []discoveryv1.EndpointSlice{slice(1, outside("10.0.0.1")), slice(2, outside("10.0.0.1"))}, ready: 2, total: 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			if ready, total := count(test.in); ready != test.ready || total != test.total {
				t.Errorf("count is %d of %d, want %d of %d", ready, total, test.ready, test.total)
			}
		})
	}
}
