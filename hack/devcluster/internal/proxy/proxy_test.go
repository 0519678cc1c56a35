package proxy

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/xinhari/xinhari/hack/devcluster/internal/netns"
)

func service(clusterIP string, ports ...corev1.ServicePort) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"},
		Spec:       corev1.ServiceSpec{ClusterIP: clusterIP, ClusterIPs: []string{clusterIP}, Ports: ports},
	}
}

func slice(name string, port discoveryv1.EndpointPort, endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
		Ports:      []discoveryv1.EndpointPort{port},
		Endpoints:  endpoints,
	}
}

func endpointPort(port int, protocol corev1.Protocol) discoveryv1.EndpointPort {
	return discoveryv1.EndpointPort{Name: new("main"), Port: new(int32(port)), Protocol: &protocol}
}

func endpoint(addr string, ready, serving, terminating bool) discoveryv1.Endpoint {
	return discoveryv1.Endpoint{
		Addresses:  []string{addr},
		Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating},
	}
}

func sticky(s *corev1.Service) *corev1.Service {
	s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	return s
}

func TestRotation(t *testing.T) {
	a, b := netip.MustParseAddrPort("10.244.0.2:80"), netip.MustParseAddrPort("10.244.0.3:80")
	one, two := netip.MustParseAddr("10.244.0.8"), netip.MustParseAddr("10.244.0.9")
	var r rotation
	r.update(target{backends: []netip.AddrPort{a, b}, affinity: time.Minute})
	now := time.Now()
	first, second := r.pick(one, now), r.pick(two, now)
	if first == second {
		t.Errorf("both clients are at %s", first)
	}
	for range 3 {
		now = now.Add(time.Minute)
		if got := r.pick(one, now); got != first {
			t.Errorf("the client is at %s, want %s as before", got, first)
		}
	}
	if got := r.pick(two, now); got != first { // its minute is over, and it is first's turn
		t.Errorf("after its time the client is at %s, want %s", got, first)
	}
	r.update(target{backends: []netip.AddrPort{second}, affinity: time.Minute})
	if got := r.pick(one, now); got != second {
		t.Errorf("without its backend the client is at %s, want %s", got, second)
	}
}

func TestDesired(t *testing.T) {
	tcp := corev1.ServicePort{Name: "main", Protocol: corev1.ProtocolTCP, Port: 80}
	udp := corev1.ServicePort{Name: "main", Protocol: corev1.ProtocolUDP, Port: 80}
	port := endpointPort(8080, corev1.ProtocolTCP)
	front := frontend{protocol: corev1.ProtocolTCP, addr: netip.MustParseAddrPort("10.96.0.7:80")}
	type table = map[frontend]target
	node := netip.MustParseAddr("10.245.0.11")
	nodePort := frontend{protocol: corev1.ProtocolTCP, addr: netip.AddrPortFrom(node, 30080)}
	backends := func(list ...string) target {
		var all []netip.AddrPort
		for _, b := range list {
			all = append(all, netip.MustParseAddrPort(b))
		}
		return target{backends: all}
	}
	tests := []struct {
		name    string
		service *corev1.Service
		slices  []*discoveryv1.EndpointSlice
		want    table
	}{
		{name: "no endpoints", service: service("10.96.0.7", tcp), want: table{}},
		{name: "headless", service: service("None", tcp), slices: []*discoveryv1.EndpointSlice{
			slice("a", port, endpoint("10.244.0.2", true, true, false)),
		}, want: table{}},
		{name: "several slices, and an endpoint in both", service: service("10.96.0.7", tcp), slices: []*discoveryv1.EndpointSlice{
			slice("a", port, endpoint("10.244.0.3", true, true, false), endpoint("10.244.0.2", true, true, false)),
			slice("b", port, endpoint("10.244.0.2", true, true, false), discoveryv1.Endpoint{Addresses: []string{"10.244.0.4"}}),
		}, want: table{front: backends("10.244.0.2:8080", "10.244.0.3:8080", "10.244.0.4:8080")}},
		{name: "ready before ending", service: service("10.96.0.7", tcp), slices: []*discoveryv1.EndpointSlice{
			slice("a", port, endpoint("10.244.0.2", true, true, false), endpoint("10.244.0.3", false, true, true), endpoint("10.244.0.4", false, false, false)),
		}, want: table{front: backends("10.244.0.2:8080")}},
		{name: "ending when none is ready", service: service("10.96.0.7", tcp), slices: []*discoveryv1.EndpointSlice{
			slice("a", port, endpoint("10.244.0.3", false, true, true), endpoint("10.244.0.4", false, false, true)),
		}, want: table{front: backends("10.244.0.3:8080")}},
		{name: "another protocol", service: service("10.96.0.7", udp), slices: []*discoveryv1.EndpointSlice{
			slice("a", port, endpoint("10.244.0.2", true, true, false)),
		}, want: table{}},
		{name: "a node port", service: service("10.96.0.7", corev1.ServicePort{Name: "main", Protocol: corev1.ProtocolTCP, Port: 80, NodePort: 30080}), slices: []*discoveryv1.EndpointSlice{
			slice("a", port, endpoint("10.244.0.2", true, true, false)),
		}, want: table{front: backends("10.244.0.2:8080"), nodePort: backends("10.244.0.2:8080")}},
		{name: "clients that keep their endpoint", service: sticky(service("10.96.0.7", tcp)), slices: []*discoveryv1.EndpointSlice{
			slice("a", port, endpoint("10.244.0.2", true, true, false)),
		}, want: table{front: {backends: backends("10.244.0.2:8080").backends, affinity: 3 * time.Hour}}},
		{name: "served by its own endpoint", service: service("10.96.0.7", tcp), slices: []*discoveryv1.EndpointSlice{
			slice("a", endpointPort(80, corev1.ProtocolTCP), endpoint("10.96.0.7", true, true, false)),
		}, want: table{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := desired([]*corev1.Service{test.service}, test.slices, map[netip.Addr]*netns.Namespace{node: nil})
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(frontend{}, target{}), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
				t.Errorf("desired (-want +got):\n%s", diff)
			}
		})
	}
}

// world is a proxy with one Service, web, on 127.0.0.7.
type world struct {
	t        *testing.T
	services cache.Indexer
	slices   cache.Indexer
	changes  chan struct{}
}

func start(t *testing.T) *world {
	t.Helper()
	indexers := cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc}
	w := &world{
		t:        t,
		services: cache.NewIndexer(cache.MetaNamespaceKeyFunc, indexers),
		slices:   cache.NewIndexer(cache.MetaNamespaceKeyFunc, indexers),
		changes:  make(chan struct{}),
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- Run(ctx, Options{
			Services: corelisters.NewServiceLister(w.services),
			Slices:   discoverylisters.NewEndpointSliceLister(w.slices),
			Changes:  w.changes,
			Logger:   slog.New(slog.DiscardHandler),
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v after its context ended", err)
		}
	})
	return w
}

// set makes addrs the endpoints, and returns when the proxy has seen it.
func (w *world) set(protocol corev1.Protocol, front int, backends ...netip.AddrPort) {
	w.t.Helper()
	s := service("127.0.0.7", corev1.ServicePort{Name: "main", Protocol: protocol, Port: int32(front)})
	if err := w.services.Add(s); err != nil {
		w.t.Fatal(err)
	}
	var all []any
	for _, b := range backends {
		all = append(all, slice(b.String(), endpointPort(int(b.Port()), protocol), endpoint(b.Addr().String(), true, true, false)))
	}
	if err := w.slices.Replace(all, ""); err != nil {
		w.t.Fatal(err)
	}
	// It takes the second one only after it is done with the first.
	w.changes <- struct{}{}
	w.changes <- struct{}{}
}

// freePort finds a port on 127.0.0.7.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.7:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// echo answers each connection with its name and then what it got, until its end.
func echo(t *testing.T, name string) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				io.WriteString(conn, name)
				io.Copy(conn, conn)
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func (w *world) dial(port int) (*net.TCPConn, error) {
	w.t.Helper()
	conn, err := net.DialTCP("tcp", nil, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 7), Port: port})
	if err == nil {
		w.t.Cleanup(func() { conn.Close() })
		conn.SetDeadline(time.Now().Add(30 * time.Second))
	}
	return conn, err
}

func TestTCP(t *testing.T) {
	w := start(t)
	port := freePort(t)
	a, b := echo(t, "a"), echo(t, "b")
	w.set(corev1.ProtocolTCP, port, a, b)

	got := make(map[string]int)
	for range 10 {
		conn, err := w.dial(port)
		if err != nil {
			t.Fatal(err)
		}
		// The end of one direction reaches the backend, and leaves the other open.
		io.WriteString(conn, "!")
		conn.CloseWrite()
		text, err := io.ReadAll(conn)
		if err != nil {
			t.Fatal(err)
		}
		got[string(text)]++
	}
	if diff := cmp.Diff(map[string]int{"a!": 5, "b!": 5}, got); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}

	old, err := w.dial(port)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(old, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	w.set(corev1.ProtocolTCP, port)
	for {
		// The listener is closed beside the proxy's loop.
		conn, err := w.dial(port)
		if errors.Is(err, syscall.ECONNREFUSED) {
			break
		}
		switch {
		case errors.Is(err, syscall.ECONNRESET): // in the very moment
		case err != nil:
			t.Fatalf("dial without endpoints: %v, want refused", err)
		default:
			conn.Close()
		}
	}
	io.WriteString(old, "?")
	if _, err := io.ReadFull(old, make([]byte, 1)); err != nil {
		t.Errorf("a connection from before: %v", err)
	}
}

func TestTCPTriesAnotherEndpoint(t *testing.T) {
	w := start(t)
	port := freePort(t)
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := nobody.Addr().(*net.TCPAddr).AddrPort()
	nobody.Close()
	w.set(corev1.ProtocolTCP, port, echo(t, "a"), gone)
	for range 4 {
		conn, err := w.dial(port)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			t.Errorf("read: %v", err)
		}
	}
	w.set(corev1.ProtocolTCP, port, gone)
	conn, err := w.dial(port)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatal(err)
	}
	if err == nil {
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read from a dead endpoint: %v, want reset", err)
		}
	}
}

func TestUDP(t *testing.T) {
	backend, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Close()
	go func() {
		buffer := make([]byte, 64)
		for {
			n, from, err := backend.ReadFromUDPAddrPort(buffer)
			if err != nil {
				return
			}
			backend.WriteToUDPAddrPort(append([]byte("re "), buffer[:n]...), from)
		}
	}()
	w := start(t)
	port := freePort(t)
	w.set(corev1.ProtocolUDP, port, backend.LocalAddr().(*net.UDPAddr).AddrPort())
	for _, client := range []string{"one", "two"} {
		conn, err := net.DialUDP("udp", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 7), Port: port})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(30 * time.Second))
		for range 2 {
			if _, err := io.WriteString(conn, client); err != nil {
				t.Fatal(err)
			}
			buffer := make([]byte, 64)
			n, err := conn.Read(buffer)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := string(buffer[:n]), "re "+client; got != want {
				t.Errorf("answer = %q, want %q", got, want)
			}
		}
	}
}
