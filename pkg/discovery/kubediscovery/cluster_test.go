package kubediscovery_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
	"github.com/xinhari/xinhari/internal/apiservertest"
	"github.com/xinhari/xinhari/internal/watchtest"
	"github.com/xinhari/xinhari/pkg/discovery"
	"github.com/xinhari/xinhari/pkg/discovery/discoverytest"
	"github.com/xinhari/xinhari/pkg/discovery/kubediscovery"
)

func address(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + n)}), 8080)
}

func leaks() []goleak.Option {
	return []goleak.Option{
		// client-go keeps idle connections for its next client.
		goleak.IgnoreAnyFunction("golang.org/x/net/http2.(*ClientConn).readLoop"),
		// envtest watches the process of the API server, anew after a restart.
		goleak.IgnoreAnyFunction("os/exec.(*Cmd).Wait"),
	}
}

// world is a namespace of its own.
type world struct {
	testing.TB
	client.Client
	namespace string
}

func newWorld(t testing.TB, server *apiservertest.Server) *world {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "w-"}}
	w := &world{TB: t, Client: server.Client(t)}
	w.create(ns)
	w.namespace = ns.Name
	return w
}

func (w *world) create(o client.Object) {
	w.Helper()
	if err := w.Create(w.Context(), o); err != nil {
		w.Fatal(err)
	}
}

// slice makes an EndpointSlice of the core Service with one instance.
func (w *world) slice(core, version string, a netip.AddrPort) *discoveryv1.EndpointSlice {
	w.Helper()
	port, name := int32(a.Port()), kubediscovery.DefaultPort
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: w.namespace, GenerateName: core + "-", Labels: map[string]string{discoveryv1.LabelServiceName: core}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &port}},
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{a.Addr().String()}}},
	}
	if version != "" {
		s.Labels[xinhariv1alpha1.LabelVersion] = version
	}
	w.create(s)
	return s
}

func open(t testing.TB, config *rest.Config, o kubediscovery.Options) *discovery.Discovery {
	t.Helper()
	d, err := kubediscovery.New(config, o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestKubernetes(t *testing.T) {
	server := apiservertest.New(t, apiservertest.Options{})
	t.Run("it does what every source does", func(t *testing.T) { testConformance(t, server) })
	for _, c := range []struct {
		name string
		test func(*world, *apiservertest.Server)
	}{
		{"the watch follows the versions of the Service", testVersions},
		{"nothing is told before the versions are known", testVersionsFirst},
		{"a missing right says what to apply, and heals when it is given", testForbidden},
		{"endpoints stay while the API server is killed, and what changed arrives after", testKilled},
	} {
		t.Run(c.name, func(t *testing.T) {
			left := append(leaks(), goleak.IgnoreCurrent())
			t.Cleanup(func() { goleak.VerifyNone(t, left...) })
			c.test(newWorld(t, server), server)
		})
	}
}

func testConformance(t *testing.T, server *apiservertest.Server) {
	discoverytest.Run(t, discoverytest.Driver{
		Open: func(t testing.TB, service, other []int) *discoverytest.World {
			here, there := newWorld(t, server), newWorld(t, server)
			w := &discoverytest.World{
				Discovery: open(t, server.Admin, kubediscovery.Options{}),
				Service:   discovery.Service{Namespace: here.namespace, Name: "inventory"},
				Same:      discovery.Service{Namespace: there.namespace, Name: "inventory"},
				Other:     discovery.Service{Namespace: here.namespace, Name: "orders"},
				Address:   address,
			}
			for s, numbers := range map[discovery.Service][]int{w.Service: service, w.Other: other} {
				for _, n := range numbers {
					here.slice(s.Name, "", address(n))
				}
			}
			return w
		},
		Add: func(t testing.TB, _ *discoverytest.World, s discovery.Service, a netip.AddrPort) (remove func()) {
			w := &world{TB: t, Client: server.Client(t), namespace: s.Namespace}
			slice := w.slice(s.Name, "", a)
			return func() {
				if err := w.Delete(t.Context(), slice); err != nil {
					t.Error(err)
				}
			}
		},
		Leaks: leaks(),
	})
}

// text writes endpoints: "192.0.2.1:8080=v1".
func text(s discovery.Snapshot) string {
	var all []string
	for _, e := range s.Endpoints {
		all = append(all, fmt.Sprintf("%v=%s", e.Addresses[0].Addr(), e.Version))
	}
	return strings.Join(all, " ")
}

func good(want string) func(discovery.Snapshot) string {
	return func(s discovery.Snapshot) string {
		if got := text(s); got != want || s.Err != nil || s.Synced.IsZero() {
			return fmt.Sprintf("got %q (synced %v, error %v), want %q", got, s.Synced, s.Err, want)
		}
		return ""
	}
}

func (w *world) watch(d *discovery.Discovery, service string) (*watchtest.Recorder[discovery.Snapshot], func()) {
	r := &watchtest.Recorder[discovery.Snapshot]{}
	return r, watchtest.Run(w, func(ctx context.Context) error {
		return d.Watch(ctx, discovery.Service{Namespace: w.namespace, Name: service}, r.Set)
	})
}

// told returns versions that the test tells.
func told(versions <-chan []string) func(context.Context, discovery.Service, func([]string)) {
	return func(ctx context.Context, _ discovery.Service, set func([]string)) {
		for {
			select {
			case v := <-versions:
				set(v)
			case <-ctx.Done():
				return
			}
		}
	}
}

func testVersions(w *world, server *apiservertest.Server) {
	w.slice("inventory", "", address(0))
	w.slice("inventory--v1", "v1", address(1))
	w.slice("inventory--v2", "v2", address(2))
	w.slice("inventoryx--v1", "v1", address(3))
	versions := make(chan []string)
	r, _ := w.watch(open(w, server.Admin, kubediscovery.Options{Versions: told(versions)}), "inventory")
	for _, c := range []struct {
		versions []string
		want     string
	}{
		{nil, "192.0.2.1="},
		{[]string{"v1"}, "192.0.2.2=v1"},
		{[]string{"v1", "v2"}, "192.0.2.2=v1 192.0.2.3=v2"},
		{[]string{"v2"}, "192.0.2.3=v2"},
		{nil, "192.0.2.1="},
	} {
		seen := len(r.All())
		versions <- c.versions
		r.Await(w, seen, good(c.want))
	}
}

func testVersionsFirst(w *world, server *apiservertest.Server) {
	w.slice("inventory", "", address(0))
	w.slice("inventory--v1", "v1", address(1))
	versions := make(chan []string)
	r, stop := w.watch(open(w, server.Admin, kubediscovery.Options{Versions: told(versions)}), "inventory")
	versions <- []string{"v1"}
	r.Await(w, 0, good("192.0.2.2=v1"))
	stop()
	for _, s := range r.All() {
		if got := text(s); got != "192.0.2.2=v1" && !s.Synced.IsZero() {
			w.Errorf("told of %q", got)
		}
	}
}

func testForbidden(w *world, server *apiservertest.Server) {
	w.slice("inventory", "", address(0))
	r, _ := w.watch(open(w, server.Account(w.namespace, "orders"), kubediscovery.Options{}), "inventory")
	s := r.Await(w, 0, func(s discovery.Snapshot) string {
		if s.Err == nil {
			return "no error"
		}
		return ""
	})
	got := s.Reason(discovery.Service{Namespace: w.namespace, Name: "inventory"}).Error()
	for _, part := range []string{
		"inventory." + w.namespace,
		"Kubernetes has not answered",
		"no permission to ",
		" endpointslices.discovery.k8s.io in namespace " + w.namespace,
		"apply an object of kind Service (xinhari.com/v1alpha1) in namespace " + w.namespace,
		"serviceAccountName",
	} {
		if !strings.Contains(got, part) {
			w.Errorf("%q does not say %q", got, part)
		}
	}
	meta := metav1.ObjectMeta{Namespace: w.namespace, Name: "reader"}
	w.create(&rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{discoveryv1.GroupName}, Resources: []string{"endpointslices"}, Verbs: []string{"list", "watch"}},
	}})
	w.create(&rbacv1.RoleBinding{
		ObjectMeta: meta,
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "reader"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: w.namespace, Name: "orders"}},
	})
	r.Await(w, 0, good("192.0.2.1="))
}

func testKilled(w *world, server *apiservertest.Server) {
	w.slice("inventory", "", address(0))
	link, config := apiservertest.NewLink(w, server.Admin)
	defer link.Close()
	r, stop := w.watch(open(w, config, kubediscovery.Options{}), "inventory")
	defer stop()
	r.Await(w, 0, good("192.0.2.1="))
	seen := len(r.All())
	server.Kill(w)
	r.Await(w, seen, func(s discovery.Snapshot) string {
		if got := text(s); s.Err == nil || got != "192.0.2.1=" || len(s.Usable) != 1 {
			return fmt.Sprintf("got %q, %d usable, error %v", got, len(s.Usable), s.Err)
		}
		return ""
	})
	link.Cut()
	seen = len(r.All())
	server.Restart(w)
	w.slice("inventory", "", address(1)) // before the watch can know
	link.Heal()
	r.Await(w, seen, good("192.0.2.1= 192.0.2.2="))
}
