package conformance

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const spreadPage = "concepts/scheduling-eviction/topology-spread-constraints/"

// zoneOf is the zone of each node that has an agent, by name.
func zoneOf(s *scene) map[string]string {
	s.Helper()
	list, err := s.client.CoreV1().Nodes().List(s.ctx, metav1.ListOptions{LabelSelector: corev1.LabelTopologyZone})
	s.must(err)
	zones := map[string]string{}
	for _, n := range list.Items {
		zones[n.Name] = n.Labels[corev1.LabelTopologyZone]
	}
	return zones
}

// nodeAddresses are where nodes are reached from outside.
func nodeAddresses(s *scene) []string {
	s.Helper()
	list, err := s.client.CoreV1().Nodes().List(s.ctx, metav1.ListOptions{LabelSelector: corev1.LabelTopologyZone})
	s.must(err)
	var all []string
	for _, n := range list.Items {
		for _, a := range n.Status.Addresses {
			if a.Type == corev1.NodeInternalIP {
				all = append(all, a.Address)
			}
		}
	}
	return all
}

// placed starts n pods that an edit makes the same of, and returns their nodes.
func (s *scene) placed(n int, edit func(*corev1.Pod)) []string {
	s.Helper()
	var on []string
	for i := range n {
		p := idle(fmt.Sprint("placed-", i))
		p.Labels["app"] = "placed"
		edit(p)
		s.create(p)
	}
	for i := range n {
		on = append(on, s.until(fmt.Sprint("placed-", i), ready).Spec.NodeName)
	}
	return on
}

func zones() []claim {
	mine := &metav1.LabelSelector{MatchLabels: map[string]string{"app": "placed"}}
	return []claim{
		{"Each node is in a zone, which its labels tell", "reference/labels-annotations-taints/#topologykubernetesiozone", func(s *scene) {
			got := slices.Sorted(maps.Values(zoneOf(s)))
			if want := []string{"zone-a", "zone-b", "zone-c"}; !slices.Equal(got, want) {
				s.Errorf("zones %q, want %q", got, want)
			}
		}},
		{"A topology spread constraint spreads pods evenly over zones", spreadPage + "#topology-spread-constraint-examples", func(s *scene) {
			zones, pods := zoneOf(s), map[string]int{}
			for _, node := range s.placed(6, func(p *corev1.Pod) {
				p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{
					MaxSkew: 1, TopologyKey: corev1.LabelTopologyZone, WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: mine,
				}}
			}) {
				pods[zones[node]]++
			}
			if want := map[string]int{"zone-a": 2, "zone-b": 2, "zone-c": 2}; !maps.Equal(pods, want) {
				s.Errorf("pods by zone %v, want %v", pods, want)
			}
		}},
		{"Pods that repel each other go to different nodes, and wait where there is none left", assignPage + "#inter-pod-affinity-and-anti-affinity", func(s *scene) {
			apart := func(p *corev1.Pod) {
				p.Labels["app"] = "placed"
				p.Spec.NodeSelector = map[string]string{corev1.LabelTopologyRegion: "local"}
				p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
					RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{TopologyKey: corev1.LabelHostname, LabelSelector: mine}},
				}}
			}
			on := s.placed(3, apart)
			if slices.Sort(on); len(slices.Compact(on)) != 3 {
				s.Errorf("on %q", on)
			}
			p := idle("fourth")
			apart(p)
			s.pending(p, "didn't match pod anti-affinity rules")
		}},
		{"Node affinity to a zone has pods go to the nodes of that zone only", assignPage + "#node-affinity", func(s *scene) {
			zones := zoneOf(s)
			for _, node := range s.placed(3, func(p *corev1.Pod) {
				p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
					RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
						MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelTopologyZone, Operator: corev1.NodeSelectorOpIn, Values: []string{"zone-b"}}},
					}}},
				}}
			}) {
				if zones[node] != "zone-b" {
					s.Errorf("a pod is on %s, which is in %s", node, zones[node])
				}
			}
		}},
		{"A Service of type NodePort answers on its port at every node", servicePage + "#type-nodeport", func(s *scene) {
			p := s.web("web")[0]
			service := s.service("web", p, func(spec *corev1.ServiceSpec) { spec.Type = corev1.ServiceTypeNodePort })
			nodes := nodeAddresses(s)
			if len(nodes) != 3 {
				s.Fatalf("addresses of nodes %q", nodes)
			}
			for _, addr := range nodes {
				s.eventually("an answer at "+addr, func() error {
					name, err := s.get(fmt.Sprintf("http://%s:%d/", addr, service.Spec.Ports[0].NodePort))
					if err == nil && name != "web" {
						err = fmt.Errorf("it was %q", name)
					}
					return err
				})
			}
		}},
		{"With session affinity ClientIP, a client's connections go to one pod", "reference/networking/virtual-ips/#session-affinity", func(s *scene) {
			pods := s.web("one", "two", "three")
			counts := map[corev1.ServiceAffinity]int{}
			for _, affinity := range []corev1.ServiceAffinity{corev1.ServiceAffinityNone, corev1.ServiceAffinityClientIP} {
				service := s.service(map[corev1.ServiceAffinity]string{corev1.ServiceAffinityNone: "any", corev1.ServiceAffinityClientIP: "one"}[affinity], pods[0], func(spec *corev1.ServiceSpec) {
					spec.SessionAffinity = affinity
				})
				s.endpoints(service.Name, readyEndpoints(3))
				names := map[string]bool{}
				s.eventually("an answer", func() error { _, err := s.get("http://" + service.Spec.ClusterIP); return err })
				for range 20 {
					name, err := s.get("http://" + service.Spec.ClusterIP)
					s.must(err)
					names[name] = true
				}
				counts[affinity] = len(names)
			}
			if counts[corev1.ServiceAffinityNone] < 2 || counts[corev1.ServiceAffinityClientIP] != 1 {
				s.Errorf("pods that answered, by affinity: %v", counts)
			}
		}},
	}
}
