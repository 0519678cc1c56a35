package dns

import (
	"net/netip"
	"strings"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// findings are what is known under a name.
type findings struct {
	alias   string // of a Service of type ExternalName
	addrs   []netip.Addr
	targets []target
}

// target is one answer to an SRV question.
type target struct {
	name  string
	port  uint16
	addrs []netip.Addr
}

// lookup finds a lower-case fully qualified name. A name that exists and has
// nothing of the asked type is another answer than a name that does not exist.
func (s *Server) lookup(name string) (f findings, exists bool) {
	rest, ok := strings.CutSuffix(name, s.zone)
	if !ok {
		return findings{}, name == s.zone[1:]
	}
	label := strings.Split(rest, ".")
	kind := label[len(label)-1]
	label = label[:len(label)-1]
	switch {
	case kind == "pod":
		return pod(label)
	case kind != "svc":
		return findings{}, false
	case len(label) == 0:
		return findings{}, true
	}
	namespace := label[len(label)-1]
	label = label[:len(label)-1]
	if len(label) == 0 {
		services, err := s.o.Services.Services(namespace).List(labels.Everything())
		return findings{}, err == nil && len(services) > 0
	}
	service, err := s.o.Services.Services(namespace).Get(label[len(label)-1])
	if err != nil {
		return findings{}, false
	}
	label = label[:len(label)-1]
	own := service.Name + "." + namespace + ".svc" + s.zone
	switch {
	case service.Spec.Type == corev1.ServiceTypeExternalName:
		return findings{alias: dns.Fqdn(service.Spec.ExternalName)}, len(label) == 0
	case service.Spec.ClusterIP == corev1.ClusterIPNone:
		return s.headless(service, own, label)
	}
	return virtual(service, own, label)
}

// virtual finds names of a Service with ClusterIPs.
func virtual(service *corev1.Service, own string, label []string) (findings, bool) {
	var f findings
	for _, ip := range service.Spec.ClusterIPs {
		if addr, err := netip.ParseAddr(ip); err == nil {
			f.addrs = append(f.addrs, addr)
		}
	}
	for _, port := range service.Spec.Ports {
		if matches(label, port.Name, port.Protocol) {
			f.targets = append(f.targets, target{name: own, port: uint16(port.Port), addrs: f.addrs})
		}
	}
	if len(label) > 0 {
		f.addrs = nil
	}
	return f, len(label) == 0 || len(f.targets) > 0
}

// headless finds names of a Service without ClusterIPs, and of its endpoints.
func (s *Server) headless(service *corev1.Service, own string, label []string) (findings, bool) {
	selector := labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: service.Name})
	slices, err := s.o.Slices.EndpointSlices(service.Namespace).List(selector)
	if err != nil {
		return findings{}, false
	}
	var f findings
	for _, slice := range slices {
		for _, endpoint := range slice.Endpoints {
			// No answer counts as yes; a Service that publishes unready addresses has yes in its slices.
			if ready := endpoint.Conditions.Ready; ready != nil && !*ready {
				continue
			}
			addrs := parse(endpoint.Addresses)
			if len(addrs) == 0 {
				continue
			}
			host := strings.NewReplacer(".", "-", ":", "-").Replace(addrs[0].String())
			if endpoint.Hostname != nil && *endpoint.Hostname != "" {
				host = *endpoint.Hostname
			}
			if len(label) == 0 || (len(label) == 1 && label[0] == host) {
				f.addrs = append(f.addrs, addrs...)
			}
			for _, port := range slice.Ports {
				if port.Port == nil || !matches(label, value(port.Name), value(port.Protocol)) {
					continue
				}
				f.targets = append(f.targets, target{name: host + "." + own, port: uint16(*port.Port), addrs: addrs})
			}
		}
	}
	return f, len(label) == 0 || len(f.addrs) > 0 || len(f.targets) > 0
}

// matches reports whether label, what stands before the Service's name, is empty or _port._protocol.
func matches(label []string, port string, protocol corev1.Protocol) bool {
	return len(label) == 0 ||
		len(label) == 2 && label[0] == "_"+port && label[1] == "_"+strings.ToLower(string(protocol))
}

// pod finds the name that every address has, 10-244-0-7.NAMESPACE.pod, whether or not there is such a pod.
func pod(label []string) (findings, bool) {
	if len(label) != 2 {
		return findings{}, len(label) < 2
	}
	for _, separator := range []string{".", ":"} {
		if addr, err := netip.ParseAddr(strings.ReplaceAll(label[0], "-", separator)); err == nil {
			return findings{addrs: []netip.Addr{addr}}, true
		}
	}
	return findings{}, false
}

func parse(list []string) []netip.Addr {
	var addrs []netip.Addr
	for _, a := range list {
		if addr, err := netip.ParseAddr(a); err == nil {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
