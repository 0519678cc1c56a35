// Package catalog is the watched, typed view of the four kinds of objects:
// Service, AccessRule, ConfigSource and Topic.
//
// A driver reads them from the Kubernetes API or from a folder of manifests;
// what reads the catalog cannot tell. Each watch delivers all the objects that
// it asked for; the last good ones are kept while the source is out of reach.
package catalog

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/runtime"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
)

// Kind is one of the four kinds.
type Kind string

// The four kinds.
const (
	Service      Kind = "Service"
	AccessRule   Kind = "AccessRule"
	ConfigSource Kind = "ConfigSource"
	Topic        Kind = "Topic"
)

// Object is an object of one of the four kinds.
type Object interface {
	runtime.Object
	metav1.Object
}

// Selection says which objects to watch.
type Selection struct {
	Kind      Kind
	Namespace string
	Name      string // "" = all of the namespace
}

// State is what a driver knows of the objects of a selection.
type State struct {
	Objects []Object  // sorted by name; never changed once delivered
	Synced  time.Time // when the source last confirmed them; zero = never
	Err     error     // why the source cannot be asked now
}

// Driver is a source of objects. Its methods may be called concurrently.
type Driver interface {
	// Name is the field's term for the source, for messages.
	Name() string

	// Watch calls set with the objects of the selection, first when they are
	// known, then at each change, and when the source is lost or found, from
	// one goroutine at a time. It goes on through failures, keeps the last
	// good objects, and returns nil when ctx ends.
	Watch(ctx context.Context, s Selection, set func(State)) error
}

// Catalog is a source of objects. It is safe for concurrent use.
type Catalog struct{ driver Driver }

// New returns a Catalog that reads from driver. Opener functions of the driver
// packages call it.
func New(driver Driver) *Catalog { return &Catalog{driver: driver} }

// Name returns the driver's name.
func (c *Catalog) Name() string { return c.driver.Name() }

// Snapshot is what is known of the objects of one kind.
type Snapshot[T any] struct {
	Objects []*T      // sorted by name; not to be changed
	Synced  time.Time // when the source last confirmed them; zero = never
	Err     error     // why the source cannot be asked now
}

// WatchServices watches the Service called name, or all of the namespace.
func (c *Catalog) WatchServices(ctx context.Context, namespace, name string, set func(Snapshot[xinhariv1alpha1.Service])) error {
	return watch(ctx, c, Selection{Service, namespace, name}, set)
}

// WatchAccessRules watches the AccessRules of the namespace.
func (c *Catalog) WatchAccessRules(ctx context.Context, namespace string, set func(Snapshot[xinhariv1alpha1.AccessRule])) error {
	return watch(ctx, c, Selection{AccessRule, namespace, ""}, set)
}

// WatchConfigSources watches the ConfigSource called name, or all of the namespace.
func (c *Catalog) WatchConfigSources(ctx context.Context, namespace, name string, set func(Snapshot[xinhariv1alpha1.ConfigSource])) error {
	return watch(ctx, c, Selection{ConfigSource, namespace, name}, set)
}

// WatchTopics watches the Topic called name, or all of the namespace.
func (c *Catalog) WatchTopics(ctx context.Context, namespace, name string, set func(Snapshot[xinhariv1alpha1.Topic])) error {
	return watch(ctx, c, Selection{Topic, namespace, name}, set)
}

func watch[T any](ctx context.Context, c *Catalog, s Selection, set func(Snapshot[T])) error {
	return c.driver.Watch(ctx, s, func(state State) {
		typed := Snapshot[T]{Objects: make([]*T, 0, len(state.Objects)), Synced: state.Synced, Err: state.Err}
		for _, o := range state.Objects {
			if t, ok := any(o).(*T); ok {
				typed.Objects = append(typed.Objects, t)
			}
		}
		set(typed)
	})
}
