package node

import (
	"context"
	"errors"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
)

type (
	listed  = runtime.Object
	watcher = watch.Interface
)

// source is a list of objects of the API, and what to do with it.
type source[T runtime.Object] struct {
	list  func(context.Context, metav1.ListOptions) (listed, error)
	watch func(context.Context, metav1.ListOptions) (watcher, error)

	replace func([]T)   // all objects that there are
	set     func(T)     // one that is new or changed
	remove  func(T)     // one that is no more
	failed  func(error) // why the API could not be read; it is tried again
}

// Delays between tries while the API server does not answer or does not allow
// it yet: its authorizer learns of a pod a moment after the node does. An
// informer's are too long for a cluster that is used to be broken on purpose.
const (
	firstRetry = 20 * time.Millisecond
	lastRetry  = time.Second
)

// follow keeps telling of a source until ctx ends.
func follow[T runtime.Object](ctx context.Context, s source[T]) {
	delay := firstRetry
	for ctx.Err() == nil {
		version, err := s.readAll(ctx)
		if err == nil {
			delay = firstRetry
			err = s.readChanges(ctx, version)
		}
		if err != nil && ctx.Err() == nil {
			s.failed(err)
		}
		sleep(ctx, delay)
		delay = min(2*delay, lastRetry)
	}
}

func (s source[T]) readAll(ctx context.Context) (version string, err error) {
	list, err := s.list(ctx, metav1.ListOptions{})
	if err != nil {
		return "", err
	}
	objects, err := meta.ExtractList(list)
	if err != nil {
		return "", err
	}
	items := make([]T, 0, len(objects))
	for _, object := range objects {
		if item, ok := object.(T); ok {
			items = append(items, item)
		}
	}
	s.replace(items)
	access, err := meta.ListAccessor(list)
	if err != nil {
		return "", err
	}
	return access.GetResourceVersion(), nil
}

// readChanges returns when the list must be read anew.
func (s source[T]) readChanges(ctx context.Context, version string) error {
	for {
		seconds := int64(300)
		w, err := s.watch(ctx, metav1.ListOptions{
			ResourceVersion: version, AllowWatchBookmarks: true, TimeoutSeconds: &seconds,
		})
		if err != nil {
			return err
		}
		started := time.Now()
		version, err = s.readEvents(w, version)
		w.Stop()
		if err != nil || ctx.Err() != nil {
			return err
		}
		if time.Since(started) < time.Second {
			return errors.New("watch ended at once")
		}
	}
}

func (s source[T]) readEvents(w watcher, version string) (string, error) {
	for event := range w.ResultChan() {
		if event.Type == watch.Error {
			return version, apierrors.FromObject(event.Object)
		}
		access, err := meta.Accessor(event.Object)
		if err != nil {
			return version, err
		}
		version = access.GetResourceVersion()
		item, ok := event.Object.(T)
		if !ok {
			continue
		}
		switch event.Type {
		case watch.Added, watch.Modified:
			s.set(item)
		case watch.Deleted:
			s.remove(item)
		}
	}
	return version, nil
}

// sleep waits; it is false if ctx ended meanwhile.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
