package kubewatch_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/xinhari/xinhari/internal/apiservertest"
	"github.com/xinhari/xinhari/internal/kubewatch"
	"github.com/xinhari/xinhari/internal/watchtest"
)

// The API server's process is watched by a goroutine of envtest, anew after
// a restart.
func apiServer() goleak.Option {
	return goleak.IgnoreAnyFunction("os/exec.(*Cmd).Wait")
}

// idleConnections belong to client-go, which keeps them for its next client.
func idleConnections() goleak.Option {
	return goleak.IgnoreAnyFunction("golang.org/x/net/http2.(*ClientConn).readLoop")
}

// world is a namespace of its own on the API server.
type world struct {
	*testing.T
	client.Client
	server    *apiservertest.Server
	namespace string
}

func newWorld(t *testing.T, server *apiservertest.Server) *world {
	t.Helper()
	leaks := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, leaks, idleConnections(), apiServer()) })
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "w-"}}
	w := &world{T: t, Client: server.Client(t), server: server}
	if err := w.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	w.namespace = ns.Name
	return w
}

func (w *world) put(name, value string, labels map[string]string) {
	w.Helper()
	o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name, Labels: labels}, Data: map[string]string{"v": value}}
	err := w.Create(w.Context(), o)
	if client.IgnoreAlreadyExists(err) == nil && err != nil {
		err = w.Update(w.Context(), o)
	}
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) remove(name string) {
	w.Helper()
	if err := w.Delete(w.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}}); err != nil {
		w.Fatal(err)
	}
}

// watch watches the ConfigMaps of the world.
func (w *world) watch(config *rest.Config, q kubewatch.Query) (states *watchtest.Recorder[kubewatch.State], stop func()) {
	w.Helper()
	c, err := kubewatch.NewClient(config, corev1.SchemeGroupVersion, corev1.AddToScheme, nil)
	if err != nil {
		w.Fatal(err)
	}
	q.Resource, q.Namespace = "configmaps", w.namespace
	q.List, q.Example = &corev1.ConfigMapList{}, &corev1.ConfigMap{}
	states = &watchtest.Recorder[kubewatch.State]{}
	return states, watchtest.Run(w, func(ctx context.Context) error {
		c.Watch(ctx, q, states.Set)
		return nil
	})
}

// text writes the objects of a state: "a=1 b=2".
func text(s kubewatch.State) string {
	var all []string
	for _, o := range s.Objects {
		all = append(all, o.GetName()+"="+o.(*corev1.ConfigMap).Data["v"])
	}
	return strings.Join(all, " ")
}

// good asks for the objects, confirmed and without an error.
func good(want string) func(kubewatch.State) string {
	return func(s kubewatch.State) string {
		if got := text(s); got != want || s.Err != nil || s.Synced.IsZero() {
			return fmt.Sprintf("got %q (synced %v, error %v), want %q", got, s.Synced, s.Err, want)
		}
		return ""
	}
}

// lost asks for the last good objects and an error.
func lost(want string) func(kubewatch.State) string {
	return func(s kubewatch.State) string {
		if got := text(s); got != want || s.Err == nil || s.Synced.IsZero() {
			return fmt.Sprintf("got %q (synced %v, error %v), want %q and an error", got, s.Synced, s.Err, want)
		}
		return ""
	}
}

func TestWatch(t *testing.T) {
	server := apiservertest.New(t, apiservertest.Options{})
	for _, c := range []struct {
		name string
		test func(*world)
	}{
		{"each state is the whole list, sorted", testWholeLists},
		{"an empty list is a state, and the first object ends it", testEmptyList},
		{"a name and labels choose objects, and an object that no longer fits goes", testChosen},
		{"what a state held does not change with the next one", testImmutable},
		{"a missing right is an error that names it, and heals when the right is given", testForbidden},
		{"an unknown user is a missing right", testUnauthorized},
		{"changes that were made while the API server was out of reach arrive", testCut},
		{"a killed API server is news at once, the last list is kept, and the watch goes on with the next one", testKilled},
		{"a watch that never reached its server ends with its context", testNever},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(newWorld(t, server)) })
	}
}

func testWholeLists(w *world) {
	w.put("b", "1", nil)
	w.put("a", "1", nil)
	states, stop := w.watch(w.server.Admin, kubewatch.Query{})
	states.Await(w, 0, good("a=1 b=1"))
	w.put("c", "1", nil)
	states.Await(w, 0, good("a=1 b=1 c=1"))
	w.put("a", "2", nil)
	states.Await(w, 0, good("a=2 b=1 c=1"))
	w.remove("b")
	states.Await(w, 0, good("a=2 c=1"))
	stop()
	var got []string
	for _, s := range states.All() {
		got = append(got, text(s))
	}
	got = slices.Compact(got)
	if diff := cmp.Diff([]string{"a=1 b=1", "a=1 b=1 c=1", "a=2 b=1 c=1", "a=2 c=1"}, got); diff != "" {
		w.Errorf("states (-want +got):\n%s", diff)
	}
}

func testEmptyList(w *world) {
	states, _ := w.watch(w.server.Admin, kubewatch.Query{})
	states.Await(w, 0, good(""))
	w.put("a", "1", nil)
	states.Await(w, 0, good("a=1"))
}

func testChosen(w *world) {
	w.put("a", "1", map[string]string{"app": "x"})
	w.put("b", "1", nil)
	named, _ := w.watch(w.server.Admin, kubewatch.Query{Name: "b"})
	labelled, _ := w.watch(w.server.Admin, kubewatch.Query{Labels: "app in (x,y)"})
	named.Await(w, 0, good("b=1"))
	labelled.Await(w, 0, good("a=1"))
	w.put("c", "1", map[string]string{"app": "y"})
	labelled.Await(w, 0, good("a=1 c=1"))
	w.put("a", "1", nil)
	labelled.Await(w, 0, good("c=1"))
	w.put("b", "2", nil)
	named.Await(w, 0, good("b=2"))
	for _, s := range named.All() {
		if got := text(s); got != "b=1" && got != "b=2" {
			w.Errorf("the watch of b told of %q", got)
		}
	}
}

func testImmutable(w *world) {
	w.put("a", "1", nil)
	states, _ := w.watch(w.server.Admin, kubewatch.Query{})
	before := states.Await(w, 0, good("a=1"))
	w.put("a", "2", nil)
	w.put("b", "1", nil)
	states.Await(w, 0, good("a=2 b=1"))
	if got := text(before); got != "a=1" {
		w.Errorf("the first state became %q", got)
	}
}

func testForbidden(w *world) {
	w.put("a", "1", nil)
	states, _ := w.watch(w.server.Account(w.namespace, "orders"), kubewatch.Query{})
	s := states.Await(w, 0, func(s kubewatch.State) string {
		if s.Err == nil || !s.Synced.IsZero() || len(s.Objects) > 0 {
			return fmt.Sprintf("got %+v, want an error alone", s)
		}
		return ""
	})
	var denied *kubewatch.PermissionError
	if !errors.As(s.Err, &denied) {
		w.Fatalf("error %v is a %T", s.Err, s.Err)
	}
	if denied.Resource != "configmaps" || denied.Namespace != w.namespace || (denied.Verb != "list" && denied.Verb != "watch") {
		w.Errorf("got %+v", denied)
	}
	if want := "no permission to " + denied.Verb + " configmaps in namespace " + w.namespace; !strings.HasPrefix(s.Err.Error(), want) {
		w.Errorf("got %q, want it to begin %q", s.Err, want)
	}
	w.grant("list", "watch")
	states.Await(w, 0, good("a=1"))
	w.put("a", "2", nil)
	states.Await(w, 0, good("a=2"))
}

// grant lets the account orders do something with ConfigMaps.
func (w *world) grant(verbs ...string) {
	w.Helper()
	meta := metav1.ObjectMeta{Namespace: w.namespace, Name: "reader"}
	for _, o := range []client.Object{
		&rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: verbs}}},
		&rbacv1.RoleBinding{
			ObjectMeta: meta,
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "reader"},
			Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: w.namespace, Name: "orders"}},
		},
	} {
		if err := w.Create(w.Context(), o); err != nil {
			w.Fatal(err)
		}
	}
}

func testUnauthorized(w *world) {
	config := rest.AnonymousClientConfig(w.server.Admin)
	config.BearerToken = "of nobody"
	states, _ := w.watch(config, kubewatch.Query{})
	states.Await(w, 0, func(s kubewatch.State) string {
		if denied := new(kubewatch.PermissionError); !errors.As(s.Err, &denied) {
			return fmt.Sprintf("error %v", s.Err)
		}
		return ""
	})
}

func testCut(w *world) {
	w.put("a", "1", nil)
	w.put("b", "1", nil)
	link, config := apiservertest.NewLink(w, w.server.Admin)
	defer link.Close()
	states, stop := w.watch(config, kubewatch.Query{})
	defer stop()
	states.Await(w, 0, good("a=1 b=1"))
	for round := range 2 {
		seen := len(states.All())
		link.Cut()
		states.Await(w, seen, func(s kubewatch.State) string {
			if s.Err == nil {
				return "the cut is no news"
			}
			return ""
		})
		v := fmt.Sprint("after ", round)
		w.put("a", v, nil)
		w.put("c", v, nil)
		if round == 0 {
			w.remove("b")
		}
		link.Heal()
		states.Await(w, seen, good("a="+v+" c="+v))
	}
}

func testKilled(w *world) {
	w.put("a", "1", nil)
	states, _ := w.watch(w.server.Admin, kubewatch.Query{})
	before := states.Await(w, 0, good("a=1"))
	seen := len(states.All())
	w.server.Kill(w)
	killed := time.Now()
	after := states.Await(w, seen, lost("a=1"))
	if took := time.Since(killed); took > 2*time.Second {
		w.Errorf("the loss was known after %v", took)
	}
	if !after.Synced.Equal(before.Synced) {
		w.Errorf("synced became %v, was %v: nobody confirmed the list", after.Synced, before.Synced)
	}
	seen = len(states.All())
	w.server.Restart(w)
	states.Await(w, seen, good("a=1"))
	w.put("b", "1", nil)
	states.Await(w, seen, good("a=1 b=1"))
}

func testNever(w *world) {
	link, config := apiservertest.NewLink(w, w.server.Admin)
	link.Cut()
	states, stop := w.watch(config, kubewatch.Query{})
	states.Await(w, 0, func(s kubewatch.State) string {
		if s.Err == nil || !s.Synced.IsZero() {
			return fmt.Sprintf("got %+v, want an error alone", s)
		}
		return ""
	})
	stop()
	link.Close()
}
