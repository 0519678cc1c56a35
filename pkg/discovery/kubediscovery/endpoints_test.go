package kubediscovery

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
	"github.com/xinhari/xinhari/internal/kubekinds"
	"github.com/xinhari/xinhari/internal/kubewatch"
	"github.com/xinhari/xinhari/pkg/discovery"
)

func TestStateOf(t *testing.T) {
	yes, no := new(bool), new(bool)
	*yes = true
	for _, c := range []struct {
		name                        string
		ready, serving, terminating *bool
		want                        discovery.State
	}{
		{"nothing is said", nil, nil, nil, discovery.Ready},
		{"ready", yes, yes, no, discovery.Ready},
		{"ready, and nothing else is said", yes, nil, nil, discovery.Ready},
		{"ready is not said, serving", nil, yes, nil, discovery.Ready},
		{"not ready", no, no, no, discovery.NotReady},
		{"not ready, and nothing else is said", no, nil, nil, discovery.NotReady},
		{"serving and not ready, without stopping", no, yes, no, discovery.NotReady},
		{"stopping, still serving", no, yes, yes, discovery.Draining},
		{"stopping, no longer serving", no, no, yes, discovery.NotReady},
		{"stopping, and serving is not said", no, nil, yes, discovery.NotReady},
		{"stopping, called ready: publishNotReadyAddresses", yes, yes, yes, discovery.Draining},
		{"stopping, called ready, not serving", yes, no, yes, discovery.NotReady},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := stateOf(kubekinds.EndpointConditions{Ready: c.ready, Serving: c.serving, Terminating: c.terminating}); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// slice makes an EndpointSlice with the port grpc, 8080.
func slice(name, version string, endpoints ...kubekinds.Endpoint) *kubekinds.EndpointSlice {
	port, number := DefaultPort, int32(8080)
	s := &kubekinds.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{}},
		Ports:      []kubekinds.EndpointPort{{Name: &port, Port: &number}},
		Endpoints:  endpoints,
	}
	if version != "" {
		s.Labels[xinhariv1alpha1.LabelVersion] = version
	}
	return s
}

// pod is an instance that a pod is.
func pod(uid string, addresses ...string) kubekinds.Endpoint {
	return kubekinds.Endpoint{Addresses: addresses, TargetRef: &kubekinds.ObjectReference{UID: types.UID(uid)}}
}

func at(addresses ...string) []netip.AddrPort {
	var all []netip.AddrPort
	for _, a := range addresses {
		all = append(all, netip.MustParseAddrPort(a))
	}
	return all
}

func TestEndpoints(t *testing.T) {
	zone, metrics, unnamed := "z1", "metrics", ""
	zoned := pod("a", "192.0.2.1")
	zoned.Zone = &zone
	otherPort := slice("b", "", pod("b", "192.0.2.2"))
	otherPort.Ports[0].Name = &metrics
	noName := slice("c", "", pod("c", "192.0.2.3"))
	noName.Ports[0].Name = &unnamed
	nilName := slice("d", "", pod("d", "192.0.2.4"))
	nilName.Ports[0].Name = nil
	nilPort := slice("e", "", pod("e", "192.0.2.5"))
	nilPort.Ports[0].Port = nil
	noPorts := slice("f", "", pod("f", "192.0.2.6"))
	noPorts.Ports = nil
	wrongPort := slice("g", "", pod("g", "192.0.2.7"))
	wrong := int32(65536 + 80)
	wrongPort.Ports[0].Port = &wrong
	numbered := slice("h", "", pod("h", "192.0.2.8"))
	other := int32(9000)
	numbered.Ports = append([]kubekinds.EndpointPort{{Name: &metrics, Port: &wrong}}, numbered.Ports...)
	numbered.Ports[1].Port = &other

	for _, c := range []struct {
		name    string
		slices  []*kubekinds.EndpointSlice
		want    []discovery.Endpoint
		skipped int
	}{
		{name: "no slices"},
		{name: "a slice without endpoints", slices: []*kubekinds.EndpointSlice{slice("a", "")}},
		{
			name:   "zones",
			slices: []*kubekinds.EndpointSlice{slice("a", "", zoned)},
			want:   []discovery.Endpoint{{Addresses: at("192.0.2.1:8080"), Zone: "z1"}},
		},
		{
			name: "a pod with an address of both families is one instance",
			slices: []*kubekinds.EndpointSlice{
				slice("six", "", pod("a", "2001:db8::1"), pod("b", "2001:db8::2")),
				slice("four", "", pod("b", "192.0.2.2"), pod("a", "192.0.2.1")),
			},
			want: []discovery.Endpoint{
				{Addresses: at("192.0.2.1:8080", "[2001:db8::1]:8080")},
				{Addresses: at("192.0.2.2:8080", "[2001:db8::2]:8080")},
			},
		},
		{
			name: "a pod in two slices while it moves from one to the other is one instance",
			slices: []*kubekinds.EndpointSlice{
				slice("a", "", pod("a", "192.0.2.1")),
				slice("b", "", pod("a", "192.0.2.1")),
			},
			want: []discovery.Endpoint{{Addresses: at("192.0.2.1:8080")}},
		},
		{
			name: "instances outside of the cluster are told apart by their addresses",
			slices: []*kubekinds.EndpointSlice{
				slice("a", "", kubekinds.Endpoint{Addresses: []string{"192.0.2.9"}}, kubekinds.Endpoint{Addresses: []string{"192.0.2.8"}}),
			},
			want: []discovery.Endpoint{{Addresses: at("192.0.2.8:8080")}, {Addresses: at("192.0.2.9:8080")}},
		},
		{
			name:   "addresses that are none are passed over",
			slices: []*kubekinds.EndpointSlice{slice("a", "", pod("a", "host.example"), pod("b", "192.0.2.2"))},
			want:   []discovery.Endpoint{{Addresses: at("192.0.2.2:8080")}},
		},
		{
			name:    "slices without a port of the name are skipped",
			slices:  []*kubekinds.EndpointSlice{otherPort, noName, nilName, nilPort, noPorts, wrongPort, slice("z", "", pod("z", "192.0.2.26"))},
			want:    []discovery.Endpoint{{Addresses: at("192.0.2.26:8080")}},
			skipped: 6,
		},
		{
			name:   "the port of the name counts, wherever it stands and whatever its number",
			slices: []*kubekinds.EndpointSlice{numbered},
			want:   []discovery.Endpoint{{Addresses: at("192.0.2.8:9000")}},
		},
		{
			name: "with versions, slices of versions only",
			slices: []*kubekinds.EndpointSlice{
				slice("all", "", pod("a", "192.0.2.1"), pod("b", "192.0.2.2"), pod("c", "192.0.2.3")),
				slice("v1", "v1", pod("a", "192.0.2.1")),
				slice("v2", "v2", pod("b", "192.0.2.2")),
			},
			want: []discovery.Endpoint{
				{Addresses: at("192.0.2.1:8080"), Version: "v1"},
				{Addresses: at("192.0.2.2:8080"), Version: "v2"},
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := map[string]*kubekinds.EndpointSlice{}
			for _, s := range c.slices {
				all[s.Name] = s
			}
			got, skipped := endpoints(all, DefaultPort)
			if diff := cmp.Diff(c.want, got, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
				t.Errorf("endpoints (-want +got):\n%s", diff)
			}
			if skipped != c.skipped {
				t.Errorf("skipped %d, want %d", skipped, c.skipped)
			}
		})
	}
}

func TestASnapshotSaysWhatWasSkipped(t *testing.T) {
	s := slice("a", "", pod("a", "192.0.2.1"))
	s.Ports = nil
	d := &driver{port: DefaultPort}
	got := d.snapshot(discovery.Service{Namespace: "shop", Name: "inventory"}, kubewatch.State{Objects: []kubewatch.Object{s}})
	if want := `1 EndpointSlices have no port named "grpc"`; got.Detail != want || !got.Known {
		t.Errorf("got %+v, want detail %q", got, want)
	}
}
