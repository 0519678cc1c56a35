package node

import (
	"context"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"

	"github.com/xinhari/xinhari/hack/devcluster/internal/node/pod"
)

// objects watches the ConfigMaps and Secrets that pods of the node use, each
// by its name, since a node may not see others.
type objects struct {
	ctx    context.Context // ends all watches; kept here since they outlive the calls that start them
	client kubernetes.Interface

	mu       sync.Mutex
	watches  map[objectKey]*objectWatch
	watching sync.WaitGroup
}

type objectKey struct{ kind, namespace, name string }

type objectWatch struct {
	users  map[*objectUser]bool
	stop   context.CancelFunc
	known  bool
	object any // *corev1.ConfigMap or *corev1.Secret; nil while there is none
	err    error
}

// objectUser is a pod's share in objects; a pod.Objects.
type objectUser struct {
	objects   *objects
	namespace string
	keys      []objectKey
	changed   chan struct{} // gets a word when an object changes
}

var _ pod.Objects = (*objectUser)(nil)

func newObjects(ctx context.Context, client kubernetes.Interface) *objects {
	return &objects{ctx: ctx, client: client, watches: map[objectKey]*objectWatch{}}
}

// wait returns when all watches have ended after the context's end.
func (o *objects) wait() { o.watching.Wait() }

// use begins to watch what the pod refers to, until release.
func (o *objects) use(p *corev1.Pod) *objectUser {
	user := &objectUser{objects: o, namespace: p.Namespace, changed: make(chan struct{}, 1)}
	user.extend(p)
	return user
}

// extend begins to watch what the pod refers to by now.
func (u *objectUser) extend(p *corev1.Pod) {
	configMaps, secrets := pod.References(p)
	var keys []objectKey
	for _, name := range configMaps {
		keys = append(keys, objectKey{"configmap", p.Namespace, name})
	}
	for _, name := range secrets {
		keys = append(keys, objectKey{"secret", p.Namespace, name})
	}
	o := u.objects
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, key := range keys {
		w := o.watches[key]
		if w == nil {
			w = o.start(key)
			o.watches[key] = w
		}
		if !w.users[u] {
			w.users[u] = true
			u.keys = append(u.keys, key)
		}
	}
}

func (u *objectUser) release() {
	u.objects.mu.Lock()
	defer u.objects.mu.Unlock()
	for _, key := range u.keys {
		w := u.objects.watches[key]
		delete(w.users, u)
		if len(w.users) == 0 {
			w.stop()
			delete(u.objects.watches, key)
		}
	}
}

// ConfigMap returns a ConfigMap that the pod refers to; nil if there is none.
func (u *objectUser) ConfigMap(name string) (*corev1.ConfigMap, error) {
	return get[corev1.ConfigMap](u, objectKey{"configmap", u.namespace, name})
}

// Secret returns a Secret that the pod refers to; nil if there is none.
func (u *objectUser) Secret(name string) (*corev1.Secret, error) {
	return get[corev1.Secret](u, objectKey{"secret", u.namespace, name})
}

func get[T any](u *objectUser, key objectKey) (*T, error) {
	u.objects.mu.Lock()
	defer u.objects.mu.Unlock()
	w := u.objects.watches[key]
	switch {
	case w == nil:
		return nil, fmt.Errorf("%s %q: the pod does not refer to it", key.kind, key.name)
	case w.known:
		object, _ := w.object.(*T)
		return object, nil
	case w.err != nil:
		return nil, fmt.Errorf("%s %q: %w", key.kind, key.name, w.err)
	default:
		return nil, fmt.Errorf("%s %q: not read yet", key.kind, key.name)
	}
}

// start is called with the lock held.
func (o *objects) start(key objectKey) *objectWatch {
	ctx, stop := context.WithCancel(o.ctx)
	w := &objectWatch{users: map[*objectUser]bool{}, stop: stop}
	name := fields.OneTermEqualSelector("metadata.name", key.name).String()
	set := func(object any, err error) {
		o.mu.Lock()
		defer o.mu.Unlock()
		w.err = err
		if err == nil {
			w.known, w.object = true, object
		}
		for user := range w.users {
			select {
			case user.changed <- struct{}{}:
			default: // A word is waiting already.
			}
		}
	}
	o.watching.Go(func() {
		defer stop()
		if key.kind == "secret" {
			api := o.client.CoreV1().Secrets(key.namespace)
			follow(ctx, single[*corev1.Secret](name, set, func(ctx context.Context, opts metav1.ListOptions) (listed, error) {
				return api.List(ctx, opts)
			}, api.Watch))
			return
		}
		api := o.client.CoreV1().ConfigMaps(key.namespace)
		follow(ctx, single[*corev1.ConfigMap](name, set, func(ctx context.Context, opts metav1.ListOptions) (listed, error) {
			return api.List(ctx, opts)
		}, api.Watch))
	})
	return w
}

// single is the source of the one object that the field selector names.
func single[T listed](
	selector string, set func(any, error),
	list func(context.Context, metav1.ListOptions) (listed, error),
	watch func(context.Context, metav1.ListOptions) (watcher, error),
) source[T] {
	return source[T]{
		list: func(ctx context.Context, o metav1.ListOptions) (listed, error) {
			o.FieldSelector = selector
			return list(ctx, o)
		},
		watch: func(ctx context.Context, o metav1.ListOptions) (watcher, error) {
			o.FieldSelector = selector
			return watch(ctx, o)
		},
		replace: func(items []T) {
			if len(items) == 0 {
				set(nil, nil)
				return
			}
			set(items[0], nil)
		},
		set:    func(item T) { set(item, nil) },
		remove: func(T) { set(nil, nil) },
		failed: func(err error) { set(nil, err) },
	}
}
