// Package kubewatch watches objects of one kind in the Kubernetes API and
// delivers whole lists of them.
//
// It is client-go's Reflector (list, resumed watches, bookmarks, back-off)
// without informers, typed clients or a scheme of all kinds, which would
// weigh on every program that links the runtime.
package kubewatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// Object is a Kubernetes object.
type Object interface {
	runtime.Object
	metav1.Object
}

// Client reads objects of one API group version.
type Client struct {
	rest      rest.Interface
	parameter runtime.ParameterCodec
	gv        schema.GroupVersion
	logger    logr.Logger
}

// NewClient returns a client for gv, whose types add puts into a scheme.
func NewClient(config *rest.Config, gv schema.GroupVersion, add func(*runtime.Scheme) error, logger *slog.Logger) (*Client, error) {
	client, parameter, err := NewREST(config, gv, add)
	if err != nil {
		return nil, err
	}
	l := logr.Discard()
	if logger != nil {
		l = logr.FromSlogHandler(logger.Handler())
	}
	return &Client{rest: client, parameter: parameter, gv: gv, logger: l}, nil
}

// NewREST returns what a Client asks with, and the codec of its parameters,
// for who does other things than watch.
func NewREST(config *rest.Config, gv schema.GroupVersion, add func(*runtime.Scheme) error) (rest.Interface, runtime.ParameterCodec, error) {
	scheme := runtime.NewScheme()
	if err := add(scheme); err != nil {
		return nil, nil, err
	}
	metav1.AddToGroupVersion(scheme, gv)
	c := rest.CopyConfig(config)
	c.GroupVersion = &gv
	c.APIPath = "/apis"
	if gv.Group == "" {
		c.APIPath = "/api"
	}
	c.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	c.ContentType = runtime.ContentTypeJSON
	if c.UserAgent == "" {
		c.UserAgent = "xinhari-runtime"
	}
	// client-go's own limit, 5 requests a second, would have a program that
	// uses many services wait for its watches; the API server limits fairly.
	c.QPS = -1
	c.Wrap(func(next http.RoundTripper) http.RoundTripper { return outspoken{next} })
	client, err := rest.RESTClientFor(c)
	if err != nil {
		return nil, nil, err
	}
	return client, runtime.NewParameterCodec(scheme), nil
}

// Query says which objects to watch.
type Query struct {
	Resource  string // the plural, such as "services"
	Namespace string
	Name      string // "" = all of the namespace
	Labels    string // a label selector, "" = all
	List      runtime.Object
	Example   Object
}

// State is what is known of the objects of a query.
type State struct {
	Objects []Object  // sorted by namespace and name; not to be changed
	Synced  time.Time // when the API server last confirmed them; zero = never
	Err     error     // why the API server cannot be asked now
}

// Watch calls set with the objects, at first when they are known, then at
// each change, and when the API server is lost (at once) and found. It goes on
// through failures and returns when ctx ends.
func (c *Client) Watch(ctx context.Context, q Query, set func(State)) {
	s := &store{objects: map[string]Object{}, set: set}
	options := func(o *metav1.ListOptions) {
		o.LabelSelector = q.Labels
		if q.Name != "" {
			o.FieldSelector = "metadata.name=" + q.Name
		}
	}
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			options(&o)
			list := q.List.DeepCopyObject()
			err := c.rest.Get().Namespace(q.Namespace).Resource(q.Resource).VersionedParams(&o, c.parameter).Do(ctx).Into(list)
			s.asked(ctx, c.explain("list", q, err))
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			options(&o)
			o.Watch = true
			w, err := c.rest.Get().Namespace(q.Namespace).Resource(q.Resource).VersionedParams(&o, c.parameter).Watch(ctx)
			s.asked(ctx, c.explain("watch", q, err))
			return w, err
		},
	}
	r := cache.NewReflectorWithOptions(lw, q.Example, s, cache.ReflectorOptions{
		Logger:          &c.logger,
		Name:            q.Resource,
		TypeDescription: q.Resource,
		Backoff:         &wait.Backoff{Duration: 250 * time.Millisecond, Factor: 2, Jitter: 0.2, Steps: 6, Cap: 5 * time.Second},
	})
	r.RunWithContext(klog.NewContext(ctx, c.logger))
}

// PermissionError says which right is missing, and how it is given.
type PermissionError struct {
	Verb, Resource, Namespace string
	Err                       error
}

// Error implements error.
func (e *PermissionError) Error() string {
	return fmt.Sprintf("no permission to %s %s in namespace %s: %v", e.Verb, e.Resource, e.Namespace, e.Err)
}

// Unwrap returns the API server's answer.
func (e *PermissionError) Unwrap() error { return e.Err }

func (c *Client) explain(verb string, q Query, err error) error {
	switch {
	case err == nil:
		return nil
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		resource := q.Resource
		if c.gv.Group != "" {
			resource += "." + c.gv.Group
		}
		return &PermissionError{Verb: verb, Resource: resource, Namespace: q.Namespace, Err: err}
	}
	// The URL changes with each attempt, and with it the text: who tells people
	// only what is new would tell them each time.
	if request := (*url.Error)(nil); errors.As(err, &request) {
		return fmt.Errorf("%s %s: %w", verb, q.Resource, request.Err)
	}
	return err
}

// store takes what a Reflector finds.
type store struct {
	set func(State)

	mu      sync.Mutex
	objects map[string]Object
	synced  time.Time
	err     error
}

// asked notes the outcome of a request. A failed one before its context ended
// is news; a successful one ends an error.
func (s *store) asked(ctx context.Context, err error) {
	if ctx.Err() != nil || apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && s.err == nil {
		return
	}
	s.err = err
	if err == nil && s.synced.IsZero() {
		return // the objects come next
	}
	s.deliver()
}

// deliver hands on a copy of the list. The caller holds mu.
func (s *store) deliver() {
	list := make([]Object, 0, len(s.objects))
	for _, o := range s.objects {
		list = append(list, o)
	}
	slices.SortFunc(list, func(a, b Object) int { return strings.Compare(key(a), key(b)) })
	s.set(State{Objects: list, Synced: s.synced, Err: s.err})
}

func key(o Object) string { return o.GetNamespace() + "/" + o.GetName() }

func (s *store) put(obj any) error {
	o, ok := obj.(Object)
	if !ok {
		return fmt.Errorf("kubewatch: a %T is no object", obj)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects[key(o)] = o
	s.synced = time.Now()
	s.deliver()
	return nil
}

// Add implements cache.ReflectorStore.
func (s *store) Add(obj any) error { return s.put(obj) }

// Update implements cache.ReflectorStore.
func (s *store) Update(obj any) error { return s.put(obj) }

// Delete implements cache.ReflectorStore.
func (s *store) Delete(obj any) error {
	o, ok := obj.(Object)
	if !ok {
		return fmt.Errorf("kubewatch: a %T is no object", obj)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects, key(o))
	s.synced = time.Now()
	s.deliver()
	return nil
}

// Replace implements cache.ReflectorStore.
func (s *store) Replace(list []any, _ string) error {
	objects := make(map[string]Object, len(list))
	for _, obj := range list {
		o, ok := obj.(Object)
		if !ok {
			return fmt.Errorf("kubewatch: a %T is no object", obj)
		}
		objects[key(o)] = o
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects, s.synced, s.err = objects, time.Now(), nil
	s.deliver()
	return nil
}

// Resync implements cache.ReflectorStore; there is nothing to do.
func (s *store) Resync() error { return nil }
