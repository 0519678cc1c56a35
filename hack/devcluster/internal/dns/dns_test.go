package dns

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/tools/cache"
)

func service(name, clusterIP string, ports ...corev1.ServicePort) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
	s.Spec = corev1.ServiceSpec{ClusterIP: clusterIP, ClusterIPs: []string{clusterIP}, Ports: ports}
	return s
}

func newServer(t *testing.T, addr netip.AddrPort) *Server {
	t.Helper()
	grpc := corev1.ServicePort{Name: "grpc", Protocol: corev1.ProtocolTCP, Port: 8080}
	external := service("outside", "")
	external.Spec.Type = corev1.ServiceTypeExternalName
	external.Spec.ExternalName = "web.shop.svc.cluster.local"
	objects := []any{
		service("web", "10.96.0.7", grpc), service("both", "10.96.0.8"), service("peers", corev1.ClusterIPNone, grpc),
		service("empty", corev1.ClusterIPNone), external,
	}
	objects[1].(*corev1.Service).Spec.ClusterIPs = []string{"10.96.0.8", "fd00::8"}
	no := false
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "peers-1", Labels: map[string]string{discoveryv1.LabelServiceName: "peers"}},
		Ports:      []discoveryv1.EndpointPort{{Name: new("grpc"), Port: new(int32(9090)), Protocol: new(corev1.ProtocolTCP)}},
		Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{"10.244.0.2"}, Hostname: new("first")},
			{Addresses: []string{"10.244.0.3"}},
			{Addresses: []string{"10.244.0.4"}, Conditions: discoveryv1.EndpointConditions{Ready: &no}},
		},
	}
	return New(Options{
		Addr:     addr,
		Domain:   "cluster.local",
		Services: corelisters.NewServiceLister(indexer(t, objects...)),
		Slices:   discoverylisters.NewEndpointSliceLister(indexer(t, slice)),
		Logger:   slog.New(slog.DiscardHandler),
	})
}

func indexer(t *testing.T, objects ...any) cache.Indexer {
	t.Helper()
	i := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	for _, o := range objects {
		if err := i.Add(o); err != nil {
			t.Fatal(err)
		}
	}
	return i
}

func TestAnswer(t *testing.T) {
	const absent = "NXDOMAIN"
	tests := []struct {
		name  string
		qtype uint16
		rcode string
		want  []string
	}{
		{name: "web.shop.svc.cluster.local.", qtype: dns.TypeA, want: []string{"A 10.96.0.7"}},
		{name: "WEB.Shop.svc.cluster.local.", qtype: dns.TypeA, want: []string{"A 10.96.0.7"}},
		{name: "web.shop.svc.cluster.local.", qtype: dns.TypeAAAA},
		{name: "web.shop.svc.cluster.local.", qtype: dns.TypeTXT},
		{name: "both.shop.svc.cluster.local.", qtype: dns.TypeA, want: []string{"A 10.96.0.8"}},
		{name: "both.shop.svc.cluster.local.", qtype: dns.TypeAAAA, want: []string{"AAAA fd00::8"}},
		{name: "_grpc._tcp.web.shop.svc.cluster.local.", qtype: dns.TypeSRV, want: []string{"SRV 8080 web.shop.svc.cluster.local.", "A 10.96.0.7"}},
		{name: "_grpc._tcp.web.shop.svc.cluster.local.", qtype: dns.TypeA},
		{name: "_grpc._udp.web.shop.svc.cluster.local.", qtype: dns.TypeSRV, rcode: absent},
		{name: "x.web.shop.svc.cluster.local.", qtype: dns.TypeA, rcode: absent},
		{name: "peers.shop.svc.cluster.local.", qtype: dns.TypeA, want: []string{"A 10.244.0.2", "A 10.244.0.3"}},
		{name: "first.peers.shop.svc.cluster.local.", qtype: dns.TypeA, want: []string{"A 10.244.0.2"}},
		{name: "10-244-0-3.peers.shop.svc.cluster.local.", qtype: dns.TypeA, want: []string{"A 10.244.0.3"}},
		{name: "10-244-0-4.peers.shop.svc.cluster.local.", qtype: dns.TypeA, rcode: absent},
		{name: "_grpc._tcp.peers.shop.svc.cluster.local.", qtype: dns.TypeSRV, want: []string{
			"SRV 9090 10-244-0-3.peers.shop.svc.cluster.local.", "SRV 9090 first.peers.shop.svc.cluster.local.",
			"A 10.244.0.2", "A 10.244.0.3",
		}},
		{name: "empty.shop.svc.cluster.local.", qtype: dns.TypeA},
		{name: "outside.shop.svc.cluster.local.", qtype: dns.TypeA, want: []string{"CNAME web.shop.svc.cluster.local.", "A 10.96.0.7"}},
		{name: "10-244-0-9.shop.pod.cluster.local.", qtype: dns.TypeA, want: []string{"A 10.244.0.9"}},
		{name: "nonsense.shop.pod.cluster.local.", qtype: dns.TypeA, rcode: absent},
		{name: "none.shop.svc.cluster.local.", qtype: dns.TypeA, rcode: absent},
		{name: "web.other.svc.cluster.local.", qtype: dns.TypeA, rcode: absent},
		{name: "shop.svc.cluster.local.", qtype: dns.TypeA},
		{name: "other.svc.cluster.local.", qtype: dns.TypeA, rcode: absent},
		{name: "svc.cluster.local.", qtype: dns.TypeA},
		{name: "cluster.local.", qtype: dns.TypeA},
		{name: "example.com.", qtype: dns.TypeA, rcode: absent},
		{name: "notcluster.local.", qtype: dns.TypeA, rcode: absent},
		{name: ".", qtype: dns.TypeA, rcode: absent},
	}
	s := newServer(t, netip.AddrPort{})
	for _, test := range tests {
		t.Run(test.name+dns.TypeToString[test.qtype], func(t *testing.T) {
			query := new(dns.Msg).SetQuestion(test.name, test.qtype)
			m := s.answer(query)
			want := test.rcode
			if want == "" {
				want = "NOERROR"
			}
			if got := dns.RcodeToString[m.Rcode]; got != want {
				t.Errorf("rcode = %s, want %s", got, want)
			}
			got := append(show(m.Answer), show(m.Extra)...)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("records (-want +got):\n%s", diff)
			}
			if authority := len(m.Ns) == 1; authority != (len(m.Answer) == 0) {
				t.Errorf("authority = %v with %d answers", m.Ns, len(m.Answer))
			}
		})
	}
}

// show gives records as sorted text; an answer's order is random. An alias stays first.
func show(list []dns.RR) []string {
	var text []string
	for _, rr := range list {
		switch rr := rr.(type) {
		case *dns.A:
			text = append(text, "A "+rr.A.String())
		case *dns.AAAA:
			text = append(text, "AAAA "+rr.AAAA.String())
		case *dns.SRV:
			text = append(text, fmt.Sprintf("SRV %d %s", rr.Port, rr.Target))
		case *dns.CNAME:
			text = append(text, "CNAME "+rr.Target)
		default:
			text = append(text, rr.String())
		}
	}
	if len(text) > 0 && text[0][0] != 'C' {
		slices.Sort(text)
	}
	return text
}

func TestServer(t *testing.T) {
	// A free port, for both protocols in all likelihood.
	probe, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := probe.LocalAddr().(*net.UDPAddr).AddrPort()
	probe.Close()
	s := newServer(t, addr)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	for _, network := range []string{"udp", "tcp"} {
		resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr.String())
		}}
		var hosts []string
		// The server may not listen yet.
		for hosts == nil && t.Context().Err() == nil && len(ended) == 0 {
			hosts, err = resolver.LookupHost(ctx, "peers.shop.svc.cluster.local.")
		}
		slices.Sort(hosts)
		if diff := cmp.Diff([]string{"10.244.0.2", "10.244.0.3"}, hosts); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", network, err, diff)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run = %v after its context ended", err)
	}
}
