package runtime

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// SetHealth says whether one of the registered gRPC services, such as
// "shop.v1.Inventory", can do its work, for those who ask gRPC health for it
// by name. Until it is called each can. While the whole service is not ready
// none can, whatever was set.
func (s *Service) SetHealth(service string, serving bool) error {
	info := s.server.GetServiceInfo()
	if _, ok := info[service]; !ok {
		return fmt.Errorf("xinhari: health of %q: registered are %s", service, strings.Join(slices.Sorted(maps.Keys(info)), ", "))
	}
	s.health.set(service, serving)
	return nil
}

// healthOf is what gRPC health says: of each service by its name, and of all
// by "".
type healthOf struct {
	server *health.Server

	mu    sync.Mutex
	names []string // of the services, once they are all known
	ready bool
	down  map[string]bool // by SetHealth
}

func newHealth() *healthOf {
	h := &healthOf{server: health.NewServer(), down: map[string]bool{}}
	h.tell()
	return h
}

// serves says which services there are.
func (h *healthOf) serves(names []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.names = names
	h.tell()
}

func (h *healthOf) setReady(ready bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ready = ready
	h.tell()
}

func (h *healthOf) set(service string, serving bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.down[service] = !serving
	h.tell()
}

// tell passes everything on. The caller holds mu.
func (h *healthOf) tell() {
	status := func(serving bool) healthpb.HealthCheckResponse_ServingStatus {
		if serving {
			return healthpb.HealthCheckResponse_SERVING
		}
		return healthpb.HealthCheckResponse_NOT_SERVING
	}
	h.server.SetServingStatus("", status(h.ready))
	for _, name := range h.names {
		h.server.SetServingStatus(name, status(h.ready && !h.down[name]))
	}
}
