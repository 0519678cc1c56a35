package service

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	discoveryv1ac "k8s.io/client-go/applyconfigurations/discovery/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
)

// endpointsPerSlice is the most endpoints that the API server takes in one slice.
const endpointsPerSlice = 1000

// spiffeID returns the identity of the Service's instances.
func spiffeID(trustDomain string, s *xinhariv1alpha1.Service) string {
	return "spiffe://" + trustDomain + "/ns/" + s.Namespace + "/sa/" + s.AccountName()
}

// coreServices returns the core Services that the Service wants: its own, then one for each version.
func coreServices(s *xinhariv1alpha1.Service) []*corev1ac.ServiceApplyConfiguration {
	var all []*corev1ac.ServiceApplyConfiguration
	if s.Spec.CreatesCoreService() {
		all = append(all, coreService(s, s.Name, "", labels(s.Spec.Selector)))
	}
	for _, version := range s.Spec.Versions {
		selector := labels(s.Spec.Selector)
		for key, value := range version.Selector {
			selector[key] = string(value)
		}
		all = append(all, coreService(s, s.Name+xinhariv1alpha1.VersionSeparator+version.Name, version.Name, selector))
	}
	return all
}

// coreService returns a headless core Service, so that cluster DNS and EndpointSlices name every instance.
func coreService(s *xinhariv1alpha1.Service, name, version string, selector map[string]string) *corev1ac.ServiceApplyConfiguration {
	spec := corev1ac.ServiceSpec().
		WithType(corev1.ServiceTypeClusterIP).
		WithClusterIP(corev1.ClusterIPNone).
		WithIPFamilyPolicy(corev1.IPFamilyPolicyPreferDualStack).
		WithPublishNotReadyAddresses(false).
		WithSelector(selector)
	for _, port := range s.Spec.EffectivePorts() {
		spec.WithPorts(corev1ac.ServicePort().
			WithName(port.Name).
			WithProtocol(corev1.ProtocolTCP).
			WithPort(port.Port).
			WithTargetPort(intstr.FromInt32(port.Port)))
	}
	core := corev1ac.Service(name, s.Namespace).
		WithLabels(ownLabels(s)).
		WithOwnerReferences(owner(s)).
		WithSpec(spec)
	if version != "" {
		core.WithLabels(map[string]string{xinhariv1alpha1.LabelVersion: version})
	}
	return core
}

// endpointSlices returns slices of the Service's instances outside the cluster. A slice has one address family and one
// port number; its name follows from these and a running number, so that the same endpoints give the same slices.
func endpointSlices(s *xinhariv1alpha1.Service) ([]*discoveryv1ac.EndpointSliceApplyConfiguration, error) {
	type group struct {
		family discoveryv1.AddressType
		port   int32
	}
	type endpoint struct {
		address netip.Addr
		zone    string
	}
	groups := map[group][]endpoint{}
	for _, e := range s.Spec.Endpoints {
		address, err := netip.ParseAddr(e.Address)
		if err != nil {
			return nil, fmt.Errorf("spec.endpoints: %w", err)
		}
		g := group{family: discoveryv1.AddressTypeIPv6, port: e.Port}
		if address.Is4() {
			g.family = discoveryv1.AddressTypeIPv4
		}
		groups[g] = append(groups[g], endpoint{address: address, zone: e.Zone})
	}

	order := make([]group, 0, len(groups))
	for g := range groups {
		order = append(order, g)
	}
	slices.SortFunc(order, func(a, b group) int {
		return cmp.Or(cmp.Compare(a.family, b.family), cmp.Compare(a.port, b.port))
	})

	var all []*discoveryv1ac.EndpointSliceApplyConfiguration
	for _, g := range order {
		endpoints := groups[g]
		slices.SortStableFunc(endpoints, func(a, b endpoint) int { return a.address.Compare(b.address) })
		endpoints = slices.CompactFunc(endpoints, func(a, b endpoint) bool { return a.address == b.address })
		for i, chunk := range slices.Collect(slices.Chunk(endpoints, endpointsPerSlice)) {
			slice := discoveryv1ac.EndpointSlice(sliceName(s.Name, g.family, g.port, i), s.Namespace).
				WithLabels(ownLabels(s)).
				WithLabels(map[string]string{
					discoveryv1.LabelServiceName: s.Name,
					discoveryv1.LabelManagedBy:   xinhariv1alpha1.EndpointSliceManager,
				}).
				WithOwnerReferences(owner(s)).
				WithAddressType(g.family).
				WithPorts(discoveryv1ac.EndpointPort().
					WithName(s.Spec.EffectivePorts()[0].Name).
					WithProtocol(corev1.ProtocolTCP).
					WithPort(g.port))
			for _, e := range chunk {
				one := discoveryv1ac.Endpoint().
					WithAddresses(e.address.String()).
					WithConditions(discoveryv1ac.EndpointConditions().WithReady(true))
				if e.zone != "" {
					one.WithZone(e.zone)
				}
				slice.WithEndpoints(one)
			}
			all = append(all, slice)
		}
	}
	return all, nil
}

// sliceName cannot meet the names that Kubernetes gives to slices, nor those of another Service, since a Service's name
// has no two hyphens in a row.
func sliceName(service string, family discoveryv1.AddressType, port int32, number int) string {
	kind := "ipv6"
	if family == discoveryv1.AddressTypeIPv4 {
		kind = "ipv4"
	}
	return service + "--" + kind + "-" + strconv.Itoa(int(port)) + "-" + strconv.Itoa(number)
}

func ownLabels(s *xinhariv1alpha1.Service) map[string]string {
	return map[string]string{
		xinhariv1alpha1.LabelService:   s.Name,
		xinhariv1alpha1.LabelManagedBy: xinhariv1alpha1.ManagedBy,
	}
}

func owner(s *xinhariv1alpha1.Service) *metav1ac.OwnerReferenceApplyConfiguration {
	gvk := xinhariv1alpha1.Kind("Service")
	return metav1ac.OwnerReference().
		WithAPIVersion(gvk.GroupVersion().String()).
		WithKind(gvk.Kind).
		WithName(s.Name).
		WithUID(s.UID).
		WithController(true)
}

func labels(of xinhariv1alpha1.Labels) map[string]string {
	m := make(map[string]string, len(of))
	for key, value := range of {
		m[key] = string(value)
	}
	return m
}

// count counts instances. An instance with several addresses has an endpoint in a slice of each family and counts once.
func count(endpointSlices []discoveryv1.EndpointSlice) (ready, total int32) {
	seen := map[string]bool{}
	for _, slice := range endpointSlices {
		for _, e := range slice.Endpoints {
			key := ""
			switch {
			case e.TargetRef != nil:
				key = string(e.TargetRef.UID) + "/" + e.TargetRef.Name
			case len(e.Addresses) > 0 && len(slice.Ports) > 0 && slice.Ports[0].Port != nil:
				key = netip.AddrPortFrom(address(e.Addresses[0]), uint16(*slice.Ports[0].Port)).String()
			}
			// A missing condition means ready, as the API says.
			isReady := e.Conditions.Ready == nil || *e.Conditions.Ready
			seen[key] = seen[key] || isReady
		}
	}
	for _, isReady := range seen {
		total++
		if isReady {
			ready++
		}
	}
	return ready, total
}

func address(s string) netip.Addr {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}
	}
	return a
}
