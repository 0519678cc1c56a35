package staticdiscovery_test

import (
	"net/netip"
	"testing"

	"github.com/xinhari/xinhari/pkg/discovery"
	"github.com/xinhari/xinhari/pkg/discovery/discoverytest"
	"github.com/xinhari/xinhari/pkg/discovery/staticdiscovery"
)

func address(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), uint16(1000+n))
}

func TestConformance(t *testing.T) {
	discoverytest.Run(t, discoverytest.Driver{Open: func(t testing.TB, service, other []int) *discoverytest.World {
		w := &discoverytest.World{
			Service: discovery.Service{Namespace: "shop", Name: "inventory"},
			Same:    discovery.Service{Namespace: "finance", Name: "inventory"},
			Other:   discovery.Service{Namespace: "shop", Name: "orders"},
			Address: address,
		}
		table := map[discovery.Service][]discovery.Endpoint{}
		for s, numbers := range map[discovery.Service][]int{w.Service: service, w.Other: other} {
			for _, n := range numbers {
				table[s] = append(table[s], discovery.Endpoint{Addresses: []netip.AddrPort{address(n)}})
			}
		}
		var err error
		if w.Discovery, err = staticdiscovery.New(table, discovery.Options{}); err != nil {
			t.Fatal(err)
		}
		return w
	}})
}

func TestAnEndpointWithoutAnAddressIsAnError(t *testing.T) {
	table := map[discovery.Service][]discovery.Endpoint{{Namespace: "shop", Name: "a"}: {{}}}
	if _, err := staticdiscovery.New(table, discovery.Options{}); err == nil {
		t.Error("no error")
	}
}
