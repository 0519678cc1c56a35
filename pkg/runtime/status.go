package runtime

import (
	"context"
	"maps"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/xinhari/xinhari/internal/version"
	"github.com/xinhari/xinhari/pkg/discovery"
	"github.com/xinhari/xinhari/pkg/identity"
	"github.com/xinhari/xinhari/pkg/runtime/runtimev1"
)

// runtimeServer tells people and tools about the service.
type runtimeServer struct {
	runtimev1.UnimplementedRuntimeServer
	service *Service
	started time.Time
}

// Status implements the Runtime service. Until AccessRules are enforced, who
// has an identity of the service's own namespace may ask.
func (r *runtimeServer) Status(ctx context.Context, _ *runtimev1.StatusRequest) (*runtimev1.StatusResponse, error) {
	s := r.service
	if p, ok := identity.PeerFromContext(ctx); s.proof.source != nil && (!ok || p.Anonymous || p.ID.Namespace != s.settings.service.Namespace) {
		return nil, status.Error(codes.PermissionDenied, "only callers of the service's own namespace may ask for its status")
	}
	answer := &runtimev1.StatusResponse{
		Service:        s.settings.service.Name,
		Namespace:      s.settings.service.Namespace,
		Version:        s.settings.Version,
		RuntimeVersion: version.Module(),
		Profile:        string(s.settings.Profile),
		Started:        timestamppb.New(r.started),
		Identity:       s.proof.status(),
		Permissive:     s.proof.permissive.Load(),
	}
	s.mu.Lock()
	conns := slices.Collect(maps.Values(s.conns))
	s.mu.Unlock()
	for _, c := range conns {
		answer.Callees = append(answer.Callees, calleeStatus(c.rpc.Service(), c.rpc.Snapshot()))
	}
	slices.SortFunc(answer.Callees, func(a, b *runtimev1.Callee) int {
		return slices.Compare([]string{a.Namespace, a.Service}, []string{b.Namespace, b.Service})
	})
	return answer, nil
}

func calleeStatus(service discovery.Service, known discovery.Snapshot) *runtimev1.Callee {
	c := &runtimev1.Callee{Service: service.Name, Namespace: service.Namespace, Endpoints: int32(len(known.Endpoints))}
	for _, e := range known.Endpoints {
		if e.State == discovery.Ready {
			c.Ready++
		}
	}
	if !known.Synced.IsZero() {
		c.Synced = timestamppb.New(known.Synced)
	}
	return c
}

// status tells of the certificate; nil if there is no source of one.
func (p *proof) status() *runtimev1.Identity {
	if p.source == nil {
		return nil
	}
	i := &runtimev1.Identity{Source: p.source.Name()}
	if err := p.source.Err(); err != nil {
		i.Error = err.Error()
	}
	own := p.source.Current()
	if own.IsZero() {
		return i
	}
	leaf := own.Certificate().Leaf
	i.SpiffeId = own.ID().String()
	i.DnsNames = leaf.DNSNames
	i.SerialNumber = leaf.SerialNumber.Text(16)
	i.Issued = timestamppb.New(own.IssuedAt())
	i.NotAfter = timestamppb.New(own.NotAfter())
	i.BundleHash = own.BundleHash()
	return i
}
