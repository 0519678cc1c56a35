// Package catalogtest is the suite that every driver of a catalog passes.
package catalogtest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
	"github.com/xinhari/xinhari/internal/watchtest"
	"github.com/xinhari/xinhari/pkg/catalog"
)

// World is a source of objects that the suite may change.
type World struct {
	Catalog *catalog.Catalog

	// Namespace and Other are namespaces without objects.
	Namespace, Other string

	// Put creates the object or replaces it, Remove takes it away.
	Put    func(catalog.Object)
	Remove func(catalog.Object)

	// Lose puts the source out of reach, Find brings it back.
	Lose, Find func()
}

// Run runs the suite. open is called for each case; what it opens is closed by
// the test that it is given. leaks are options for the search of goroutines
// that were left.
func Run(t *testing.T, open func(testing.TB) *World, leaks ...goleak.Option) {
	for _, c := range []struct {
		name string
		test func(testing.TB, *World)
	}{
		{"a watch begins with all Services of the namespace, by name", testFirst},
		{"a watch of a name tells of that object alone", testName},
		{"a namespace without objects is an empty list that the source confirmed", testEmpty},
		{"each change is a whole list", testChanges},
		{"each of the four kinds is watched by its own method", testKinds},
		{"what was delivered does not change", testImmutable},
		{"when the source is lost the last good objects stay with the error, and the watch goes on", testLost},
		{"several watches at once each get what they asked for", testSeveral},
	} {
		t.Run(c.name, func(t *testing.T) {
			left := append([]goleak.Option{goleak.IgnoreCurrent()}, leaks...)
			t.Cleanup(func() { goleak.VerifyNone(t, left...) })
			c.test(t, open(t))
		})
	}
}

type services = catalog.Snapshot[xinhariv1alpha1.Service]

func service(namespace, name, app string) *xinhariv1alpha1.Service {
	return &xinhariv1alpha1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       xinhariv1alpha1.ServiceSpec{Selector: xinhariv1alpha1.Labels{"app": xinhariv1alpha1.LabelValue(app)}},
	}
}

func watch(t testing.TB, w *World, namespace, name string) (*watchtest.Recorder[services], func()) {
	r := &watchtest.Recorder[services]{}
	return r, watchtest.Run(t, func(ctx context.Context) error {
		return w.Catalog.WatchServices(ctx, namespace, name, r.Set)
	})
}

// text writes the Services of a snapshot: "shop/a=x shop/b=y".
func text(s services) string {
	var all []string
	for _, o := range s.Objects {
		all = append(all, o.Namespace+"/"+o.Name+"="+string(o.Spec.Selector["app"]))
	}
	return strings.Join(all, " ")
}

func good(want ...string) func(services) string {
	return func(s services) string {
		if got := text(s); got != strings.Join(want, " ") || s.Err != nil || s.Synced.IsZero() {
			return fmt.Sprintf("got %q (synced %v, error %v), want %q", got, s.Synced, s.Err, want)
		}
		return ""
	}
}

func testFirst(t testing.TB, w *World) {
	for _, name := range []string{"b", "a", "c"} {
		w.Put(service(w.Namespace, name, "x"))
	}
	w.Put(service(w.Other, "d", "x"))
	w.Put(rule(w.Namespace))
	r, _ := watch(t, w, w.Namespace, "")
	r.Await(t, 0, good(w.Namespace+"/a=x", w.Namespace+"/b=x", w.Namespace+"/c=x"))
	if first := r.All()[0]; len(first.Objects) != 3 {
		t.Errorf("the first snapshot is %q: not the whole", text(first))
	}
}

func testName(t testing.TB, w *World) {
	w.Put(service(w.Namespace, "a", "x"))
	w.Put(service(w.Namespace, "b", "x"))
	w.Put(service(w.Other, "b", "y"))
	r, stop := watch(t, w, w.Namespace, "b")
	r.Await(t, 0, good(w.Namespace+"/b=x"))
	w.Remove(service(w.Namespace, "b", "x"))
	r.Await(t, 0, good())
	stop()
	for _, s := range r.All() {
		if got := text(s); got != "" && got != w.Namespace+"/b=x" {
			t.Errorf("the watch of b told of %q", got)
		}
	}
}

func testEmpty(t testing.TB, w *World) {
	w.Put(service(w.Other, "a", "x"))
	r, _ := watch(t, w, w.Namespace, "")
	r.Await(t, 0, good())
}

func testChanges(t testing.TB, w *World) {
	ns := w.Namespace
	w.Put(service(ns, "a", "x"))
	r, _ := watch(t, w, ns, "")
	r.Await(t, 0, good(ns+"/a=x"))
	w.Put(service(ns, "b", "x"))
	r.Await(t, 0, good(ns+"/a=x", ns+"/b=x"))
	w.Put(service(ns, "a", "y"))
	r.Await(t, 0, good(ns+"/a=y", ns+"/b=x"))
	w.Remove(service(ns, "b", "x"))
	r.Await(t, 0, good(ns+"/a=y"))
}

func rule(namespace string) *xinhariv1alpha1.AccessRule {
	return &xinhariv1alpha1.AccessRule{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "it"},
		Spec: xinhariv1alpha1.AccessRuleSpec{
			Action: xinhariv1alpha1.Allow,
			From:   []xinhariv1alpha1.Peer{{Service: &xinhariv1alpha1.ServiceReference{Name: "orders"}}},
			To:     []xinhariv1alpha1.Target{{Service: &xinhariv1alpha1.ServiceTarget{Name: "it", Methods: []string{"*"}}}},
		},
	}
}

func testKinds(t testing.TB, w *World) {
	ns := w.Namespace
	const inline = "checkout: {timeout: 2s}"
	for _, o := range []catalog.Object{
		service(ns, "it", "x"),
		rule(ns),
		&xinhariv1alpha1.ConfigSource{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "it"},
			Spec:       xinhariv1alpha1.ConfigSourceSpec{Layers: []xinhariv1alpha1.ConfigLayer{{Name: "one", Inline: inline}}},
		},
		&xinhariv1alpha1.Topic{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "it"},
			Spec:       xinhariv1alpha1.TopicSpec{Storage: xinhariv1alpha1.TopicStorageMemory},
		},
	} {
		w.Put(o)
	}
	names := &watchtest.Recorder[string]{}
	watchtest.Run(t, func(ctx context.Context) error {
		return w.Catalog.WatchServices(ctx, ns, "it", tell(names, func(o *xinhariv1alpha1.Service) string { return "Service " + o.Name }))
	})
	watchtest.Run(t, func(ctx context.Context) error {
		return w.Catalog.WatchAccessRules(ctx, ns, tell(names, func(o *xinhariv1alpha1.AccessRule) string { return "AccessRule " + o.Name }))
	})
	watchtest.Run(t, func(ctx context.Context) error {
		return w.Catalog.WatchConfigSources(ctx, ns, "it", tell(names, func(o *xinhariv1alpha1.ConfigSource) string { return "ConfigSource " + o.Spec.Layers[0].Inline }))
	})
	watchtest.Run(t, func(ctx context.Context) error {
		return w.Catalog.WatchTopics(ctx, ns, "it", tell(names, func(o *xinhariv1alpha1.Topic) string { return "Topic " + string(o.Spec.Storage) }))
	})
	for _, want := range []string{"Service it", "AccessRule it", "ConfigSource " + inline, "Topic Memory"} {
		names.Await(t, 0, func(got string) string {
			if got != want {
				return fmt.Sprintf("got %q, want %q", got, want)
			}
			return ""
		})
	}
}

// tell records each object of the snapshots as write has it.
func tell[T any](r *watchtest.Recorder[string], write func(*T) string) func(catalog.Snapshot[T]) {
	return func(s catalog.Snapshot[T]) {
		for _, o := range s.Objects {
			r.Set(write(o))
		}
	}
}

func testImmutable(t testing.TB, w *World) {
	ns := w.Namespace
	w.Put(service(ns, "a", "x"))
	r, _ := watch(t, w, ns, "")
	before := r.Await(t, 0, good(ns+"/a=x"))
	w.Put(service(ns, "a", "y"))
	w.Put(service(ns, "b", "x"))
	r.Await(t, 0, good(ns+"/a=y", ns+"/b=x"))
	if problem := good(ns + "/a=x")(before); problem != "" {
		t.Errorf("the first snapshot changed: %s", problem)
	}
}

func testLost(t testing.TB, w *World) {
	ns := w.Namespace
	w.Put(service(ns, "a", "x"))
	r, _ := watch(t, w, ns, "")
	r.Await(t, 0, good(ns+"/a=x"))
	seen := len(r.All())
	w.Lose()
	r.Await(t, seen, func(s services) string {
		if got := text(s); s.Err == nil || got != ns+"/a=x" || s.Synced.IsZero() {
			return fmt.Sprintf("got %q (synced %v, error %v), want the last good and an error", got, s.Synced, s.Err)
		}
		return ""
	})
	seen = len(r.All())
	w.Find()
	r.Await(t, seen, good(ns+"/a=x"))
	w.Put(service(ns, "a", "y"))
	r.Await(t, seen, good(ns+"/a=y"))
}

func testSeveral(t testing.TB, w *World) {
	w.Put(service(w.Namespace, "a", "x"))
	w.Put(service(w.Other, "a", "y"))
	type asked struct {
		r    *watchtest.Recorder[services]
		want string
	}
	var all []asked
	for i := range 6 {
		ns, app := w.Namespace, "x"
		if i%2 == 1 {
			ns, app = w.Other, "y"
		}
		name := []string{"", "a"}[i/3]
		r, _ := watch(t, w, ns, name)
		all = append(all, asked{r, ns + "/a=" + app})
	}
	for _, a := range slices.Backward(all) {
		a.r.Await(t, 0, good(a.want))
	}
}
