package proxy

import (
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/xinhari/xinhari/hack/devcluster/internal/netns"
)

// desired tells which ports are to be served and by what, endpoints sorted.
// A frontend whose endpoint is itself is served by that already.
func desired(services []*corev1.Service, endpointSlices []*discoveryv1.EndpointSlice, nodes map[netip.Addr]*netns.Namespace) map[frontend]target {
	byService := make(map[types.NamespacedName][]*discoveryv1.EndpointSlice)
	for _, s := range endpointSlices {
		name := types.NamespacedName{Namespace: s.Namespace, Name: s.Labels[discoveryv1.LabelServiceName]}
		byService[name] = append(byService[name], s)
	}
	wanted := make(map[frontend]target)
	for _, service := range services {
		own := byService[types.NamespacedName{Namespace: service.Namespace, Name: service.Name}]
		for _, ip := range service.Spec.ClusterIPs {
			addr, err := netip.ParseAddr(ip)
			if err != nil { // None
				continue
			}
			for _, port := range service.Spec.Ports {
				if port.Protocol != corev1.ProtocolTCP && port.Protocol != corev1.ProtocolUDP {
					continue
				}
				f := frontend{protocol: port.Protocol, addr: netip.AddrPortFrom(addr, uint16(port.Port))}
				backends := endpoints(own, port.Name, port.Protocol)
				if len(backends) == 0 || slices.Contains(backends, f.addr) {
					continue
				}
				wanted[f] = target{backends: backends, affinity: affinity(service)}
				for node := range nodes {
					if port.NodePort != 0 {
						wanted[frontend{protocol: port.Protocol, addr: netip.AddrPortFrom(node, uint16(port.NodePort))}] = wanted[f]
					}
				}
			}
		}
	}
	return wanted
}

// affinity is how long a client keeps its endpoint; 0: it does not.
func affinity(service *corev1.Service) time.Duration {
	if service.Spec.SessionAffinity != corev1.ServiceAffinityClientIP {
		return 0
	}
	seconds := corev1.DefaultClientIPServiceAffinitySeconds
	if c := service.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
		seconds = *c.ClientIP.TimeoutSeconds
	}
	return time.Duration(seconds) * time.Second
}

// endpoints returns the ready endpoints of a port; when there are none, those
// that still serve while they end, as kube-proxy does.
func endpoints(endpointSlices []*discoveryv1.EndpointSlice, port string, protocol corev1.Protocol) []netip.AddrPort {
	var ready, ending []netip.AddrPort
	for _, slice := range endpointSlices {
		for _, p := range slice.Ports {
			if p.Port == nil || p.Name == nil || *p.Name != port || p.Protocol == nil || *p.Protocol != protocol {
				continue
			}
			for _, e := range slice.Endpoints {
				if len(e.Addresses) == 0 {
					continue
				}
				addr, err := netip.ParseAddr(e.Addresses[0])
				if err != nil {
					continue
				}
				backend := netip.AddrPortFrom(addr, uint16(*p.Port))
				c := e.Conditions
				switch {
				case c.Ready == nil || *c.Ready:
					ready = append(ready, backend)
				case c.Serving != nil && *c.Serving && c.Terminating != nil && *c.Terminating:
					ending = append(ending, backend)
				}
			}
		}
	}
	if len(ready) == 0 {
		ready = ending
	}
	slices.SortFunc(ready, netip.AddrPort.Compare)
	return slices.Compact(ready)
}
