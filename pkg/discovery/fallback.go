package discovery

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Fallback returns a source that asks all of the given ones and takes the
// endpoints of the first, in their order, that has synced and knows the
// service. It returns nil if there are none to ask.
func Fallback(sources ...*Discovery) *Discovery {
	if len(sources) == 0 {
		return nil
	}
	return New(&fallback{sources: sources}, Options{Logger: sources[0].logger})
}

type fallback struct{ sources []*Discovery }

func (f *fallback) Name() string {
	names := make([]string, len(f.sources))
	for i, s := range f.sources {
		names[i] = s.Name()
	}
	return strings.Join(names, ", then ")
}

func (f *fallback) Watch(ctx context.Context, service Service, set func(Snapshot)) error {
	var mu sync.Mutex
	known := make([]Snapshot, len(f.sources))
	for i, source := range f.sources {
		known[i].Source = source.Name()
	}
	var watches sync.WaitGroup
	defer watches.Wait()
	for i, source := range f.sources {
		watches.Go(func() {
			_ = source.Watch(ctx, service, func(s Snapshot) {
				mu.Lock()
				defer mu.Unlock()
				known[i] = s
				set(choose(service, known))
			})
		})
	}
	<-ctx.Done()
	return nil
}

// choose returns the snapshot of the first source that knows the service. If
// none does, it is one without endpoints that tells what each said; it is
// synced only if all are, since a slow source may yet know the service.
func choose(service Service, known []Snapshot) Snapshot {
	for _, s := range known {
		if s.Known && !s.Synced.IsZero() {
			return s
		}
	}
	none := Snapshot{Synced: time.Now()}
	var errs []error
	var names, details []string
	for _, s := range known {
		names = append(names, s.Source)
		if s.Synced.IsZero() {
			none.Synced = time.Time{}
		}
		if s.Err != nil {
			errs = append(errs, errors.New(s.Source+": "+s.Err.Error()))
		}
		if s.Detail != "" {
			details = append(details, s.Source+": "+s.Detail)
		}
	}
	none.Source = strings.Join(names, ", then ")
	none.Err = errors.Join(errs...)
	none.Detail = strings.Join(details, "; ")
	return none
}

func (f *fallback) List(ctx context.Context) ([]Service, error) {
	var all []Service
	var errs []error
	for _, s := range f.sources {
		services, err := s.List(ctx)
		if err != nil && !errors.Is(err, ErrUnsupported) {
			errs = append(errs, err)
		}
		all = append(all, services...)
	}
	if len(all) == 0 && len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	slices.SortFunc(all, compareServices)
	return slices.Compact(all), nil
}

func (f *fallback) Announce(ctx context.Context, i Instance, known func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(f.sources))
	var left atomic.Int64
	left.Store(int64(len(f.sources)))
	one := func() {
		if left.Add(-1) == 0 {
			known()
		}
	}
	var announcing sync.WaitGroup
	for n, s := range f.sources {
		announcing.Go(func() {
			if errs[n] = s.Announce(ctx, i, one); errs[n] != nil {
				cancel()
			}
		})
	}
	announcing.Wait()
	return errors.Join(errs...)
}
