package envtest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
	"github.com/xinhari/xinhari/internal/pemfile"
)

// world is a namespace of a test, with all rights.
type world struct {
	*testing.T
	client.Client
	namespace string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	c := adminClient(t)
	return &world{T: t, Client: c, namespace: newNamespace(t, c)}
}

// service creates a Service, or replaces its spec.
func (w *world) service(name, spec string) {
	w.Helper()
	var wanted xinhariv1alpha1.ServiceSpec
	if err := yaml.UnmarshalStrict([]byte(spec), &wanted); err != nil {
		w.Fatal(err)
	}
	eventually(w.T, func() string {
		s := new(xinhariv1alpha1.Service)
		err := w.Get(w.Context(), w.key(name), s)
		switch {
		case err == nil:
			s.Spec = wanted
			err = w.Update(w.Context(), s)
		case apierrors.IsNotFound(err):
			s.Name, s.Namespace, s.Spec = name, w.namespace, wanted
			err = w.Create(w.Context(), s)
		}
		switch {
		case apierrors.IsConflict(err): // the operator wrote the status meanwhile
			return err.Error()
		case err != nil:
			w.Fatal(err)
		}
		return ""
	})
}

func (w *world) rule(name, spec string) {
	w.Helper()
	r := &xinhariv1alpha1.AccessRule{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.namespace}}
	if err := yaml.UnmarshalStrict([]byte(spec), &r.Spec); err != nil {
		w.Fatal(err)
	}
	if err := w.Create(w.Context(), r); err != nil {
		w.Fatal(err)
	}
}

func (w *world) key(name string) client.ObjectKey {
	return client.ObjectKey{Namespace: w.namespace, Name: name}
}

// settled waits until the Service's status speaks of its spec with the state and reason of Ready, and checks the rest.
func (w *world) settled(name string, status metav1.ConditionStatus, reason string) *xinhariv1alpha1.Service {
	w.Helper()
	s := new(xinhariv1alpha1.Service)
	eventually(w.T, func() string {
		if err := w.Get(w.Context(), w.key(name), s); err != nil {
			return err.Error()
		}
		ready := meta.FindStatusCondition(s.Status.Conditions, xinhariv1alpha1.ConditionReady)
		if ready == nil || s.Status.ObservedGeneration != s.Generation || ready.Status != status || ready.Reason != reason {
			return fmt.Sprintf("Service %s: generation %d, status %+v; want Ready %s %s", name, s.Generation, s.Status, status, reason)
		}
		return ""
	})
	if problem := kstatus(s.Generation, s.Status.ObservedGeneration, s.Status.Conditions); problem != "" {
		w.Errorf("Service %s: %s: %+v", name, problem, s.Status)
	}
	return s
}

func (w *world) ready(name string) *xinhariv1alpha1.Service {
	w.Helper()
	return w.settled(name, metav1.ConditionTrue, xinhariv1alpha1.ReasonReady)
}

// kstatus says which rule of conditions that tools rely on is broken.
func kstatus(generation, observed int64, all []metav1.Condition) string {
	if observed != generation {
		return "observedGeneration is not the generation"
	}
	abnormal := 0
	for _, c := range all {
		if c.ObservedGeneration != generation {
			return c.Type + " speaks of another generation"
		}
		if c.Reason == "" || c.Message == "" {
			return c.Type + " has no reason or no message"
		}
		if c.Type == xinhariv1alpha1.ConditionReady {
			continue
		}
		if c.Status != metav1.ConditionTrue {
			return c.Type + " is there and not true"
		}
		if c.Type == xinhariv1alpha1.ConditionReconciling || c.Type == xinhariv1alpha1.ConditionStalled {
			abnormal++
		}
	}
	want := 1
	if meta.IsStatusConditionTrue(all, xinhariv1alpha1.ConditionReady) {
		want = 0
	}
	if abnormal != want {
		return fmt.Sprintf("%d of Reconciling and Stalled are there, want %d", abnormal, want)
	}
	return ""
}

// coreServices returns the names of the core Services of the namespace.
func (w *world) coreServices() []string {
	w.Helper()
	var list corev1.ServiceList
	if err := w.List(w.Context(), &list, client.InNamespace(w.namespace)); err != nil {
		w.Fatal(err)
	}
	names := []string{}
	for _, s := range list.Items {
		names = append(names, s.Name)
	}
	slices.Sort(names)
	return names
}

func (w *world) wantCoreServices(want ...string) {
	w.Helper()
	eventually(w.T, func() string { return cmp.Diff(append([]string{}, want...), w.coreServices()) })
}

func TestServices(t *testing.T) {
	stop := startOperator(t)
	t.Run("a Service gets a headless core Service, defaults and rights", testCoreService)
	t.Run("versions come and go", testVersions)
	t.Run("what a Service no longer wants goes, and only what is its own", testRemoval)
	t.Run("what others change is put right", testDrift)
	t.Run("endpoints outside the cluster become slices of at most 1000", testSlices)
	t.Run("endpoints are counted, each instance once", testCounts)
	t.Run("someone else's core Service is left alone", testNotOwned)
	t.Run("someone else's ConfigMap is left alone", testForeignDefaults)
	t.Run("an existing core Service is used as it is", testExisting)
	t.Run("a core Service that the API server refuses stalls its Service alone", testRefused)
	t.Run("Services of one account are told", testSharedIdentity)
	t.Run("the namespace is left clean by its last Service", testLastService)
	t.Run("who may call may find", testRights)
	t.Run("events tell of changes only", testEvents)
	t.Run("trust", func(inner *testing.T) {
		testTrust(inner, func() { stop() }, func() { stop = startOperator(t) })
	})
	t.Run("key pairs in Secrets", func(inner *testing.T) {
		testKeyPairs(inner, func() { stop() }, func() { stop = startOperator(t) })
	})
	t.Run("signing", testSigner)
	t.Run("a key pair in a Secret at rest", testPairRests)
	if t.Failed() {
		return
	}
	t.Run("a world at rest is written by nobody", func(t *testing.T) { testRest(t, func() { stop() }) })
	t.Run("the chart gives exactly the rights that were used", testExactRights)
}

func testCoreService(t *testing.T) {
	w := newWorld(t)
	w.service("inventory", `selector: {app: inventory}`)
	s := w.ready("inventory")
	if want := "spiffe://cluster.local/ns/" + w.namespace + "/sa/inventory"; s.Status.SPIFFEID != want {
		t.Errorf("status.spiffeID is %s, want %s", s.Status.SPIFFEID, want)
	}

	core := new(corev1.Service)
	if err := w.Get(t.Context(), w.key("inventory"), core); err != nil {
		t.Fatal(err)
	}
	got := corev1.ServiceSpec{
		Type: core.Spec.Type, ClusterIP: core.Spec.ClusterIP, Selector: core.Spec.Selector, Ports: core.Spec.Ports,
		PublishNotReadyAddresses: core.Spec.PublishNotReadyAddresses, IPFamilyPolicy: core.Spec.IPFamilyPolicy,
	}
	want := corev1.ServiceSpec{
		Type: corev1.ServiceTypeClusterIP, ClusterIP: corev1.ClusterIPNone, Selector: map[string]string{"app": "inventory"},
		Ports:          []corev1.ServicePort{{Name: "grpc", Protocol: corev1.ProtocolTCP, Port: 8080, TargetPort: intstr.FromInt32(8080)}},
		IPFamilyPolicy: new(corev1.IPFamilyPolicyPreferDualStack),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("core Service (-want +got):\n%s", diff)
	}
	wantLabels := map[string]string{"xinhari.com/service": "inventory", "app.kubernetes.io/managed-by": "xinhari"}
	if diff := cmp.Diff(wantLabels, core.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	if !metav1.IsControlledBy(core, s) {
		t.Errorf("owners are %+v, want the Service", core.OwnerReferences)
	}

	defaults := new(corev1.ConfigMap)
	if err := w.Get(t.Context(), w.key("xinhari"), defaults); err != nil {
		t.Fatal(err)
	}
	wantData := map[string]string{
		"trustDomain": "cluster.local", "operatorID": "spiffe://cluster.local/ns/xinhari-system/sa/xinhari-operator",
		"natsURL": "nats://nats.nats:4222", "etcdEndpoints": "https://etcd-0:2379,https://etcd-1:2379",
	}
	eventually(t, func() string {
		if err := w.Get(t.Context(), w.key("xinhari"), defaults); err != nil {
			return err.Error()
		}
		if _, err := pemfile.Certificates([]byte(defaults.Data["ca.crt"])); err != nil {
			return "ConfigMap xinhari: the trust bundle: " + err.Error()
		}
		return ""
	})
	delete(defaults.Data, "ca.crt")
	if issuer := defaults.Data["issuer"]; len(issuer) != 16 {
		t.Errorf("ConfigMap xinhari names the issuer %q", issuer)
	}
	delete(defaults.Data, "issuer")
	if diff := cmp.Diff(wantData, defaults.Data); diff != "" {
		t.Errorf("ConfigMap xinhari (-want +got):\n%s", diff)
	}
}

func testVersions(t *testing.T) {
	w := newWorld(t)
	w.service("inventory", `
selector: {app: inventory}
ports: [{name: grpc, port: 9000}]
versions: [{name: v1, selector: {version: one}, weight: 90}, {name: v2, selector: {version: two}, weight: 10}]`)
	w.ready("inventory")
	w.wantCoreServices("inventory", "inventory--v1", "inventory--v2")
	core := new(corev1.Service)
	if err := w.Get(t.Context(), w.key("inventory--v2"), core); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"app": "inventory", "version": "two"}, core.Spec.Selector); diff != "" {
		t.Errorf("selector (-want +got):\n%s", diff)
	}
	if got := core.Labels["xinhari.com/version"]; got != "v2" {
		t.Errorf("label xinhari.com/version is %q, want v2", got)
	}

	w.service("inventory", `
selector: {app: stock}
versions: [{name: v2, selector: {version: two}, weight: 10}]`)
	w.ready("inventory")
	w.wantCoreServices("inventory", "inventory--v2")
	if err := w.Get(t.Context(), w.key("inventory--v2"), core); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"app": "stock", "version": "two"}, core.Spec.Selector); diff != "" {
		t.Errorf("selector after a change (-want +got):\n%s", diff)
	}
}

func testRemoval(t *testing.T) {
	w := newWorld(t)
	w.service("worker", `selector: {app: worker}`)
	w.ready("worker")
	w.wantCoreServices("worker")
	// By label it is the Service's, by ownerReference it is not: it stays.
	stray := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "stray", Namespace: w.namespace, Labels: map[string]string{
			"xinhari.com/service": "worker", "app.kubernetes.io/managed-by": "xinhari",
		}},
		Spec: corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone, Selector: map[string]string{"a": "b"}},
	}
	if err := w.Create(t.Context(), stray); err != nil {
		t.Fatal(err)
	}
	w.service("worker", `clientOnly: true`)
	s := w.ready("worker")
	w.wantCoreServices("stray")
	if s.Status.Endpoints != nil {
		t.Errorf("a client has endpoints: %+v", s.Status.Endpoints)
	}
}

func testDrift(t *testing.T) {
	w := newWorld(t)
	w.service("inventory", `selector: {app: inventory}`)
	w.ready("inventory")
	core := new(corev1.Service)
	if err := w.Get(t.Context(), w.key("inventory"), core); err != nil {
		t.Fatal(err)
	}
	core.Spec.Selector["extra"] = "label"
	core.Spec.PublishNotReadyAddresses = true
	core.Labels["theirs"] = "kept"
	if err := w.Update(t.Context(), core); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		if err := w.Get(t.Context(), w.key("inventory"), core); err != nil {
			return err.Error()
		}
		if core.Spec.PublishNotReadyAddresses {
			return "publishNotReadyAddresses is still true"
		}
		return ""
	})
	if core.Labels["theirs"] != "kept" {
		t.Error("a label of someone else is gone")
	}
	if core.Spec.Selector["app"] != "inventory" {
		t.Errorf("selector is %v", core.Spec.Selector)
	}
	if err := w.Delete(t.Context(), core); err != nil {
		t.Fatal(err)
	}
	w.wantCoreServices("inventory")

	defaults := new(corev1.ConfigMap)
	if err := w.Get(t.Context(), w.key("xinhari"), defaults); err != nil {
		t.Fatal(err)
	}
	defaults.Data["trustDomain"] = "evil.example"
	if err := w.Update(t.Context(), defaults); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		if err := w.Get(t.Context(), w.key("xinhari"), defaults); err != nil {
			return err.Error()
		}
		if got := defaults.Data["trustDomain"]; got != "cluster.local" {
			return "trustDomain is " + got
		}
		return ""
	})
}

func endpoints(n int, extra string) string {
	var b strings.Builder
	b.WriteString("endpoints:\n")
	for i := range n {
		fmt.Fprintf(&b, "- {address: 10.9.%d.%d, port: 9000, tls: {spiffeID: spiffe://cluster.local/ns/a/sa/b}}\n", i/250, i%250+1)
	}
	return b.String() + extra
}

func (w *world) slices(service string) map[string]int {
	w.Helper()
	var list discoveryv1.EndpointSliceList
	if err := w.List(w.Context(), &list, client.InNamespace(w.namespace), client.MatchingLabels{discoveryv1.LabelServiceName: service}); err != nil {
		w.Fatal(err)
	}
	sizes := map[string]int{}
	for _, s := range list.Items {
		sizes[s.Name] = len(s.Endpoints)
	}
	return sizes
}

func testSlices(t *testing.T) {
	w := newWorld(t)
	w.service("old", endpoints(2001, `- {address: "2001:db8::1", port: 9001, zone: dc-1, tls: {spiffeID: spiffe://cluster.local/ns/a/sa/b}}`))
	s := w.ready("old")
	eventually(t, func() string {
		return cmp.Diff(map[string]int{
			"old--ipv4-9000-0": 1000, "old--ipv4-9000-1": 1000, "old--ipv4-9000-2": 1, "old--ipv6-9001-0": 1,
		}, w.slices("old"))
	})
	eventually(t, func() string {
		s = w.ready("old")
		return cmp.Diff(&xinhariv1alpha1.EndpointCount{Ready: new(int32(2002)), Total: new(int32(2002))}, s.Status.Endpoints)
	})
	slice := new(discoveryv1.EndpointSlice)
	if err := w.Get(t.Context(), w.key("old--ipv6-9001-0"), slice); err != nil {
		t.Fatal(err)
	}
	if got := slice.Labels[discoveryv1.LabelManagedBy]; got != "xinhari.com" {
		t.Errorf("the slice is managed by %q", got)
	}
	if diff := cmp.Diff([]discoveryv1.Endpoint{{
		Addresses: []string{"2001:db8::1"}, Zone: new("dc-1"), Conditions: discoveryv1.EndpointConditions{Ready: new(true)},
	}}, slice.Endpoints); diff != "" {
		t.Errorf("endpoints (-want +got):\n%s", diff)
	}
	if !metav1.IsControlledBy(slice, s) {
		t.Error("the slice is not the Service's")
	}

	w.service("old", endpoints(3, ""))
	w.ready("old")
	eventually(t, func() string { return cmp.Diff(map[string]int{"old--ipv4-9000-0": 3}, w.slices("old")) })
}

// podSlice makes a slice as Kubernetes makes them for pods: with the labels of the core Service.
func (w *world) podSlice(name, service string, labels map[string]string, family discoveryv1.AddressType, e ...discoveryv1.Endpoint) {
	w.Helper()
	all := map[string]string{
		discoveryv1.LabelServiceName: service, discoveryv1.LabelManagedBy: "endpointslice-controller.k8s.io",
	}
	maps.Copy(all, labels)
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: name, Namespace: w.namespace, Labels: all},
		AddressType: family, Endpoints: e,
	}
	if err := w.Create(w.Context(), slice); err != nil {
		w.Fatal(err)
	}
}

func pod(address, uid string, ready *bool) discoveryv1.Endpoint {
	return discoveryv1.Endpoint{
		Addresses: []string{address}, Conditions: discoveryv1.EndpointConditions{Ready: ready},
		TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: uid, UID: types.UID(uid)},
	}
}

func testCounts(t *testing.T) {
	w := newWorld(t)
	w.service("inventory", "selector: {app: inventory}\nversions: [{name: v1, selector: {v: one}, weight: 1}]")
	w.ready("inventory")
	ours := map[string]string{"xinhari.com/service": "inventory", "app.kubernetes.io/managed-by": "xinhari"}
	w.podSlice("inventory-four", "inventory", ours, discoveryv1.AddressTypeIPv4,
		pod("10.0.0.1", "a", new(true)), pod("10.0.0.2", "b", new(false)), pod("10.0.0.3", "c", nil))
	w.podSlice("inventory-six", "inventory", ours, discoveryv1.AddressTypeIPv6, pod("2001:db8::1", "a", new(true)))
	w.podSlice("inventory--v1-four", "inventory--v1", ours, discoveryv1.AddressTypeIPv4, pod("10.0.0.1", "a", new(true)))
	eventually(t, func() string {
		return cmp.Diff(&xinhariv1alpha1.EndpointCount{Ready: new(int32(2)), Total: new(int32(3))}, w.ready("inventory").Status.Endpoints)
	})
	// Slices that are not the operator's stay when the Service has no endpoints of its own.
	if got := len(w.slices("inventory")); got != 2 {
		t.Errorf("%d slices of pods are left, want 2", got)
	}
}

func (w *world) foreignCoreService(name string) *corev1.Service {
	w.Helper()
	core := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.namespace},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "theirs"}, Ports: []corev1.ServicePort{{Port: 80}}},
	}
	if err := w.Create(w.Context(), core); err != nil {
		w.Fatal(err)
	}
	return core
}

func testNotOwned(t *testing.T) {
	w := newWorld(t)
	before := w.foreignCoreService("inventory")
	w.service("inventory", `selector: {app: inventory}`)
	s := w.settled("inventory", metav1.ConditionFalse, xinhariv1alpha1.ReasonNotOwned)
	message := meta.FindStatusCondition(s.Status.Conditions, "Ready").Message
	if !strings.Contains(message, "spec.coreService to Existing") || !strings.Contains(message, "delete it") {
		t.Errorf("message %q does not name both ways out", message)
	}
	after := new(corev1.Service)
	if err := w.Get(t.Context(), w.key("inventory"), after); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("the core Service changed (-before +after):\n%s", diff)
	}
	// Both ways out lead out.
	w.service("inventory", `coreService: Existing`)
	w.ready("inventory")
	if err := w.Delete(t.Context(), after); err != nil {
		t.Fatal(err)
	}
	w.service("inventory", `selector: {app: inventory}`)
	w.ready("inventory")
}

func testForeignDefaults(t *testing.T) {
	w := newWorld(t)
	theirs := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "xinhari", Namespace: w.namespace}, Data: map[string]string{"a": "b"}}
	if err := w.Create(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	w.service("inventory", `selector: {app: inventory}`)
	w.settled("inventory", metav1.ConditionFalse, xinhariv1alpha1.ReasonNotOwned)
	got := new(corev1.ConfigMap)
	if err := w.Get(t.Context(), w.key("xinhari"), got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(theirs, got); diff != "" {
		t.Errorf("the ConfigMap changed (-before +after):\n%s", diff)
	}
}

func testExisting(t *testing.T) {
	w := newWorld(t)
	w.service("inventory", `coreService: Existing`)
	w.settled("inventory", metav1.ConditionFalse, xinhariv1alpha1.ReasonNotFound)
	before := w.foreignCoreService("inventory")
	w.podSlice("inventory-abcde", "inventory", nil, discoveryv1.AddressTypeIPv4, pod("10.0.0.1", "a", new(true)))
	w.service("inventory", "coreService: Existing\nserviceAccountName: stock")
	s := w.ready("inventory")
	if diff := cmp.Diff(&xinhariv1alpha1.EndpointCount{Ready: new(int32(1)), Total: new(int32(1))}, s.Status.Endpoints); diff != "" {
		t.Errorf("endpoints (-want +got):\n%s", diff)
	}
	after := new(corev1.Service)
	if err := w.Get(t.Context(), w.key("inventory"), after); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("the core Service changed (-before +after):\n%s", diff)
	}
}

func testRefused(t *testing.T) {
	w := newWorld(t)
	core := w.foreignCoreService("inventory")
	core.Labels = map[string]string{"xinhari.com/service": "inventory", "app.kubernetes.io/managed-by": "xinhari"}
	if err := w.Update(t.Context(), core); err != nil {
		t.Fatal(err)
	}
	// By its labels the core Service is ours; its cluster IP cannot be taken away.
	w.service("inventory", `selector: {app: inventory}`)
	w.settled("inventory", metav1.ConditionFalse, xinhariv1alpha1.ReasonRefused)
	w.service("orders", `selector: {app: orders}`)
	w.ready("orders")
}

func testSharedIdentity(t *testing.T) {
	w := newWorld(t)
	shared := func(name string) string {
		if c := meta.FindStatusCondition(w.ready(name).Status.Conditions, xinhariv1alpha1.ConditionSharedIdentity); c != nil {
			return c.Message
		}
		return ""
	}
	w.service("a", `selector: {app: a}`)
	w.ready("a")
	w.service("b", "selector: {app: b}\nserviceAccountName: a")
	eventually(t, func() string {
		if a, b := shared("a"), shared("b"); !strings.Contains(a, "that of b:") || !strings.Contains(b, "that of a:") {
			return fmt.Sprintf("a says %q, b says %q", a, b)
		}
		return ""
	})
	w.service("b", `selector: {app: b}`)
	eventually(t, func() string { return shared("a") + shared("b") })
}

func testLastService(t *testing.T) {
	w := newWorld(t)
	w.service("a", "selector: {app: a}\naccess: {default: Allow}")
	w.service("b", `selector: {app: b}`)
	w.ready("a")
	w.ready("b")
	exist := func() []string {
		var names []string
		for _, o := range []client.Object{
			&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "xinhari"}},
			&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "xinhari-workload"}},
			&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "xinhari-caller"}},
		} {
			err := w.Get(t.Context(), w.key(o.GetName()), o)
			if err == nil {
				names = append(names, o.GetName())
			} else if !apierrors.IsNotFound(err) {
				t.Fatal(err)
			}
		}
		return names
	}
	eventually(t, func() string { return cmp.Diff([]string{"xinhari", "xinhari-workload", "xinhari-caller"}, exist()) })
	remove := func(name string) {
		if err := w.Delete(t.Context(), &xinhariv1alpha1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.namespace}}); err != nil {
			t.Fatal(err)
		}
	}
	remove("a")
	eventually(t, func() string { return cmp.Diff([]string{"xinhari", "xinhari-workload"}, exist()) })
	remove("b")
	eventually(t, func() string { return cmp.Diff([]string(nil), exist()) })
}

func testEvents(t *testing.T) {
	w := newWorld(t)
	w.foreignCoreService("inventory")
	w.service("inventory", `selector: {app: inventory}`)
	w.settled("inventory", metav1.ConditionFalse, xinhariv1alpha1.ReasonNotOwned)
	told := func(times int) {
		eventually(t, func() string {
			var list eventsv1.EventList
			if err := w.List(t.Context(), &list, client.InNamespace(w.namespace)); err != nil {
				return err.Error()
			}
			got := 0
			for _, e := range list.Items {
				if e.Reason == xinhariv1alpha1.ReasonNotOwned && e.Type == corev1.EventTypeWarning && e.Regarding.Name == "inventory" {
					got++
				}
			}
			if got != times {
				return fmt.Sprintf("%d events tell of it, want %d", got, times)
			}
			return ""
		})
	}
	told(1)
	w.service("inventory", `coreService: Existing`)
	w.ready("inventory")
	w.service("inventory", `selector: {app: inventory}`)
	told(2)
}
