package runtime

import (
	"context"
	"log/slog"
	"sync"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
	"github.com/xinhari/xinhari/pkg/balancer"
	"github.com/xinhari/xinhari/pkg/catalog"
	"github.com/xinhari/xinhari/pkg/discovery"
	"github.com/xinhari/xinhari/pkg/rpc"
)

// callees watch the Service objects of the services that are called: one
// watch for each, for all who want to know of it.
type callees struct {
	catalog *catalog.Catalog
	logger  *slog.Logger

	mu      sync.Mutex
	watched map[discovery.Service]*callee
}

type callee struct {
	cancel context.CancelFunc
	done   chan struct{}
	known  bool // last is set
	last   *xinhariv1alpha1.Service
	next   int
	tell   map[int]func(*xinhariv1alpha1.Service)
}

// watch calls set with the object of the service, nil if there is none or it
// cannot be read, until ctx ends.
func (c *callees) watch(ctx context.Context, service discovery.Service, set func(*xinhariv1alpha1.Service)) {
	leave := c.join(service, set)
	<-ctx.Done()
	leave()
}

// join adds set to those who are told, and returns how to take it away again.
func (c *callees) join(service discovery.Service, set func(*xinhariv1alpha1.Service)) (leave func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w, ok := c.watched[service]
	if !ok {
		ctx, cancel := context.WithCancel(context.Background())
		w = &callee{cancel: cancel, done: make(chan struct{}), tell: map[int]func(*xinhariv1alpha1.Service){}}
		if c.watched == nil {
			c.watched = map[discovery.Service]*callee{}
		}
		c.watched[service] = w
		go c.run(ctx, service, w)
	}
	id := w.next
	w.next++
	w.tell[id] = set
	if w.known {
		set(w.last)
	}
	return func() {
		c.mu.Lock()
		delete(w.tell, id)
		last := len(w.tell) == 0
		if last {
			delete(c.watched, service)
		}
		c.mu.Unlock()
		if last {
			w.cancel()
			<-w.done
		}
	}
}

func (c *callees) run(ctx context.Context, service discovery.Service, w *callee) {
	defer close(w.done)
	err := c.catalog.WatchServices(ctx, service.Namespace, service.Name, func(s catalog.Snapshot[xinhariv1alpha1.Service]) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if s.Err != nil {
			c.logger.Warn("reading the Service object; what was last known of it holds", "service", service.String(), "source", c.catalog.Name(), "error", s.Err)
			if w.known {
				return
			}
		}
		w.known, w.last = true, nil
		if len(s.Objects) > 0 {
			w.last = s.Objects[0]
		}
		for _, set := range w.tell {
			set(w.last)
		}
	})
	if err != nil {
		c.logger.Error("watching the Service object", "service", service.String(), "error", err)
	}
}

// versions tells Kubernetes discovery of the service's versions.
func (c *callees) versions(ctx context.Context, service discovery.Service, set func([]string)) {
	c.watch(ctx, service, func(s *xinhariv1alpha1.Service) {
		var names []string
		if s != nil {
			for _, v := range s.Spec.Versions {
				names = append(names, v.Name)
			}
		}
		set(names)
	})
}

// trafficOf reads how a service wants to be called. Policies that the
// balancer does not have yet are RoundRobin.
func trafficOf(s *xinhariv1alpha1.Service) (rpc.Traffic, error) {
	var t rpc.Traffic
	if s == nil || s.Spec.Traffic == nil {
		return t, nil
	}
	if s.Spec.Traffic.Policy == xinhariv1alpha1.Random {
		t.Policy = balancer.Random
	}
	timeout, err := s.Spec.Traffic.Timeout.ValueOr(0)
	t.Timeout = timeout
	return t, err
}
