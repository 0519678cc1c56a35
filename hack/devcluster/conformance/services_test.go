package conformance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

const (
	servicePage = "concepts/services-networking/service/"
	dnsPage     = "concepts/services-networking/dns-pod-service/"
)

// resolver asks the cluster's DNS and nobody else.
func resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, "10.96.0.10:53")
	}}
}

// resolves waits until a name has these addresses.
func (s *scene) resolves(name string, want ...string) {
	s.Helper()
	slices.Sort(want)
	s.eventually("addresses of "+name, func() error {
		got, err := resolver().LookupHost(s.ctx, name+".")
		if slices.Sort(got); err == nil && !slices.Equal(got, want) {
			err = fmt.Errorf("%s has %v, want %v", name, got, want)
		}
		return err
	})
}

// web starts ready actors that share the label app.
func (s *scene) web(names ...string) []*corev1.Pod {
	s.Helper()
	var pods []*corev1.Pod
	for _, name := range names {
		p := pod(name, server())
		p.Labels["app"] = "web"
		p.Spec.Containers[0].ReadinessProbe = probe(httpAction("/healthz"))
		s.create(p)
		pods = append(pods, p)
	}
	for i, p := range pods {
		pods[i] = s.until(p.Name, ready)
	}
	return pods
}

func services() []claim {
	return []claim{
		{"A Service is reached by its cluster IP and by its name", servicePage + "#discovering-services", func(s *scene) {
			service := s.service("web", s.web("web")[0])
			s.endpoints("web", readyEndpoints(1))
			for _, host := range []string{service.Spec.ClusterIP, "web." + s.namespace + ".svc.cluster.local", "web." + s.namespace} {
				s.eventually(host, func() error {
					out, err := s.get("http://" + host)
					if err == nil && out != "web" {
						err = fmt.Errorf("answer %q", out)
					}
					return err
				})
			}
		}},
		{"A pod finds Services of its namespace by the name alone, others with their namespace", dnsPage + "#namespaces-of-services", func(s *scene) {
			service := s.service("web", s.web("web")[0])
			s.start(idle("asks"))
			for name, want := range map[string]string{"web": service.Spec.ClusterIP, "kubernetes.default": "10.96.0.1", "web." + s.namespace + ".svc": service.Spec.ClusterIP} {
				s.eventually(name, func() error {
					out, _, err := s.execute("asks", "", "getent", "hosts", name)
					if err == nil && !strings.HasPrefix(out, want+" ") {
						err = fmt.Errorf("%q, want %s", out, want)
					}
					return err
				})
			}
			if err := s.try("asks", "getent", "hosts", "kubernetes"); err == nil {
				s.Error("a Service of another namespace has a short name")
			}
		}},
		{"A Service's requests reach all its ready pods", servicePage, func(s *scene) {
			service := s.service("web", s.web("one", "two")[0])
			s.endpoints("web", readyEndpoints(2))
			seen := map[string]bool{}
			s.eventually("both answer", func() error {
				out, err := s.get("http://" + service.Spec.ClusterIP)
				if seen[out] = true; err == nil && (!seen["one"] || !seen["two"]) {
					err = fmt.Errorf("answers from %v", seen)
				}
				return err
			})
		}},
		{"A targetPort may be the name of a container's port, which may differ from pod to pod", servicePage + "#field-spec-ports", func(s *scene) {
			p := s.web("web")[0]
			other := pod("other", server())
			other.Labels = p.Labels
			other.Spec.Containers[0].Ports[0].ContainerPort = httpsPort
			s.start(other)
			s.service("web", p, func(spec *corev1.ServiceSpec) { spec.Ports[0].TargetPort = intstr.FromString("web") })
			selector := metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=web"}
			awaitAll(s, s.client.DiscoveryV1().EndpointSlices(s.namespace), selector, "slices", func(all []*discoveryv1.EndpointSlice) error {
				ports := map[int32]int{}
				for _, slice := range all {
					for _, port := range slice.Ports {
						ports[*port.Port] += len(slice.Endpoints)
					}
				}
				if len(ports) != 2 || ports[httpPort] != 1 || ports[httpsPort] != 1 {
					return fmt.Errorf("ports %v", ports)
				}
				return nil
			})
		}},
		{"A headless Service's name has the addresses of its ready pods", dnsPage + "#a-aaaa-records", func(s *scene) {
			pods := s.web("one", "two")
			s.service("web", pods[0], headless)
			name := "web." + s.namespace + ".svc.cluster.local"
			s.resolves(name, pods[0].Status.PodIP, pods[1].Status.PodIP)
			s.tell(pods[0], "set/unwell")
			s.resolves(name, pods[1].Status.PodIP)
		}},
		{"A pod with hostname and subdomain has a name below the headless Service", dnsPage + "#pod-hostname-and-subdomain-field", func(s *scene) {
			p := idle("p")
			p.Spec.Hostname, p.Spec.Subdomain = "busybox-1", "busybox-subdomain"
			s.service("busybox-subdomain", p, headless)
			p = s.start(p)
			name := "busybox-1.busybox-subdomain." + s.namespace + ".svc.cluster.local"
			s.resolves(name, p.Status.PodIP)
			if out := s.run("p", "hostname -f"); out != name {
				s.Errorf("hostname -f: %s", out)
			}
		}},
		{"A named port has an SRV record", dnsPage + "#srv-records", func(s *scene) {
			p := s.web("web")[0]
			s.service("web", p)
			s.service("bare", p, headless)
			for name, want := range map[string]uint16{"web": 80, "bare": httpPort} {
				full := name + "." + s.namespace + ".svc.cluster.local."
				s.eventually("SRV record of "+name, func() error {
					_, records, err := resolver().LookupSRV(s.ctx, "http", "tcp", full)
					if err == nil && (len(records) != 1 || records[0].Port != want || !strings.HasSuffix(records[0].Target, full)) {
						err = fmt.Errorf("records %+v", records)
					}
					return err
				})
			}
		}},
		{"publishNotReadyAddresses makes unready pods endpoints and gives them names", "concepts/workloads/controllers/statefulset/#stable-network-id", func(s *scene) {
			p := pod("db", server("unwell"))
			p.Spec.Containers[0].ReadinessProbe = probe(httpAction("/healthz"))
			s.service("db", p, headless, func(spec *corev1.ServiceSpec) { spec.PublishNotReadyAddresses = true })
			s.service("plain", p, headless)
			s.create(p)
			s.endpoints("db", readyEndpoints(1))
			s.resolves("db."+s.namespace+".svc.cluster.local", s.until("db", unready).Status.PodIP)
			s.endpoints("plain", readyEndpoints(0))
		}},
		{"An ExternalName Service is an alias in DNS", servicePage + "#externalname", func(s *scene) {
			s.service("alias", idle("none"), func(spec *corev1.ServiceSpec) {
				spec.Type, spec.ExternalName, spec.Selector = corev1.ServiceTypeExternalName, "kubernetes.default.svc.cluster.local", nil
			})
			s.eventually("the alias", func() error {
				name, err := resolver().LookupCNAME(s.ctx, "alias."+s.namespace+".svc.cluster.local.")
				if err == nil && name != "kubernetes.default.svc.cluster.local." {
					err = errors.New(name)
				}
				return err
			})
		}},
		{"A Service without a selector reaches what its EndpointSlices say", servicePage + "#services-without-selectors", func(s *scene) {
			p := s.web("web")[0]
			service := s.service("outside", p, func(spec *corev1.ServiceSpec) { spec.Selector = nil })
			name, port, protocol := "http", int32(httpPort), corev1.ProtocolTCP
			_, err := s.client.DiscoveryV1().EndpointSlices(s.namespace).Create(s.ctx, &discoveryv1.EndpointSlice{
				ObjectMeta:  metav1.ObjectMeta{Name: "outside-1", Labels: map[string]string{discoveryv1.LabelServiceName: "outside"}},
				AddressType: discoveryv1.AddressTypeIPv4,
				Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &protocol}},
				Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{p.Status.PodIP}}},
			}, metav1.CreateOptions{})
			s.must(err)
			s.eventually("it answers", func() error {
				_, err := s.get("http://" + service.Spec.ClusterIP)
				return err
			})
		}},
		{"A Service whose pods are all unready refuses connections", servicePage, func(s *scene) {
			p := s.web("web")[0]
			service := s.service("web", p)
			s.eventually("it answers", func() error {
				_, err := s.get("http://" + service.Spec.ClusterIP)
				return err
			})
			s.tell(p, "set/unwell")
			s.endpoints("web", readyEndpoints(0))
			s.eventually("it refuses", func() error {
				if out, err := s.get("http://" + service.Spec.ClusterIP); err == nil {
					return fmt.Errorf("answer %q", out)
				}
				return nil
			})
		}},
		{"dnsPolicy None takes the pod's own dnsConfig", dnsPage + "#pod-dns-config", func(s *scene) {
			p := idle("dns")
			p.Spec.DNSPolicy = corev1.DNSNone
			p.Spec.DNSConfig = &corev1.PodDNSConfig{Nameservers: []string{"192.0.2.1"}, Searches: []string{"my.search"}}
			s.start(p)
			if out := s.run("dns", "cat /etc/resolv.conf"); !strings.Contains(out, "nameserver 192.0.2.1") || !strings.Contains(out, "search my.search") || strings.Contains(out, "10.96.0.10") {
				s.Error(out)
			}
		}},
	}
}
