package memorydiscovery_test

import (
	"context"
	"net/netip"
	"testing"

	"github.com/xinhari/xinhari/internal/watchtest"
	"github.com/xinhari/xinhari/pkg/discovery"
	"github.com/xinhari/xinhari/pkg/discovery/discoverytest"
	"github.com/xinhari/xinhari/pkg/discovery/memorydiscovery"
)

func TestConformance(t *testing.T) {
	announce := func(t testing.TB, w *discoverytest.World, s discovery.Service, a netip.AddrPort) (remove func()) {
		known := make(chan struct{})
		remove = watchtest.Run(t, func(ctx context.Context) error {
			return w.Discovery.Announce(ctx, discovery.Instance{Service: s, Address: a}, func() { close(known) })
		})
		select {
		case <-known:
		case <-t.Context().Done():
		}
		return remove
	}
	discoverytest.Run(t, discoverytest.Driver{
		Open: func(t testing.TB, service, other []int) *discoverytest.World {
			w := &discoverytest.World{
				Discovery: memorydiscovery.New(discovery.Options{}),
				Service:   discovery.Service{Namespace: "shop", Name: "inventory"},
				Same:      discovery.Service{Namespace: "finance", Name: "inventory"},
				Other:     discovery.Service{Namespace: "shop", Name: "orders"},
				Address: func(n int) netip.AddrPort {
					return netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), uint16(1000+n))
				},
			}
			for s, numbers := range map[discovery.Service][]int{w.Service: service, w.Other: other} {
				for _, n := range numbers {
					announce(t, w, s, w.Address(n))
				}
			}
			return w
		},
		Add: announce,
	})
}
