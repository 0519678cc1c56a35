package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// watcher watches inventory's pods and EndpointSlices for a history.
type watcher struct {
	client  client.WithWatch
	history *history
}

func newWatcher(h *history) (*watcher, error) {
	config, err := ctrl.GetConfig()
	if err != nil {
		return nil, err
	}
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme.Scheme})
	if err != nil {
		return nil, err
	}
	return &watcher{client: c, history: h}, nil
}

// pods watches the pods until ctx ends.
func (w *watcher) pods(ctx context.Context) {
	w.run(ctx, &corev1.PodList{}, client.MatchingLabels{"app": "inventory"}, func(now time.Time, e watch.Event) {
		if p, ok := e.Object.(*corev1.Pod); ok {
			w.history.sawPod(now, p)
		}
	})
}

// slices watches the EndpointSlices until ctx ends.
func (w *watcher) slices(ctx context.Context) {
	known := map[string]*discoveryv1.EndpointSlice{}
	w.run(ctx, &discoveryv1.EndpointSliceList{}, client.MatchingLabels{discoveryv1.LabelServiceName: "inventory"}, func(now time.Time, e watch.Event) {
		s, ok := e.Object.(*discoveryv1.EndpointSlice)
		if !ok {
			return
		}
		if e.Type == watch.Deleted {
			delete(known, s.Name)
		} else {
			known[s.Name] = s
		}
		w.history.sawSlices(now, known)
	})
}

// run watches until ctx ends; when the watch ends before, the history fails.
func (w *watcher) run(ctx context.Context, list client.ObjectList, labels client.MatchingLabels, saw func(time.Time, watch.Event)) {
	err := func() error {
		events, err := w.client.Watch(ctx, list, client.InNamespace(namespace), labels)
		if err != nil {
			return err
		}
		defer events.Stop()
		for e := range events.ResultChan() {
			if e.Type == watch.Error {
				return fmt.Errorf("%v", e.Object)
			}
			saw(time.Now(), e)
		}
		return errors.New("it ended")
	}()
	if ctx.Err() == nil {
		w.history.fail(fmt.Errorf("watching: %w", err))
	}
}
