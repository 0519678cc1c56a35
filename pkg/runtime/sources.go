package runtime

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"google.golang.org/grpc"
	"k8s.io/client-go/rest"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
	"github.com/xinhari/xinhari/pkg/catalog/foldercatalog"
	"github.com/xinhari/xinhari/pkg/catalog/kubecatalog"
	"github.com/xinhari/xinhari/pkg/discovery"
	"github.com/xinhari/xinhari/pkg/discovery/kubediscovery"
	"github.com/xinhari/xinhari/pkg/discovery/mdnsdiscovery"
	"github.com/xinhari/xinhari/pkg/rpc"
)

// sources are where a service learns of others.
type sources struct {
	cluster   *rest.Config // how to reach the API server; nil outside of a cluster
	discovery *discovery.Discovery
	callees   *callees // nil: there are no objects to read
}

// openSources returns what the options give, and the profile's for the rest.
func openSources(s settings, trust func(context.Context) string) (*sources, error) {
	src := &sources{discovery: s.Discovery}
	objects := s.Catalog
	if s.Profile == Kubernetes && (objects == nil || s.Discovery == nil || s.Identity == nil && s.Transport == nil) {
		config, err := clusterConfig()
		if err != nil {
			return nil, err
		}
		src.cluster = config
		if objects == nil {
			if objects, err = kubecatalog.New(config, s.Logger); err != nil {
				return nil, fmt.Errorf("xinhari: %w", err)
			}
		}
		src.callees = &callees{catalog: objects, logger: s.Logger}
		if s.Discovery == nil {
			src.discovery, err = kubediscovery.New(config, kubediscovery.Options{Versions: src.callees.versions, Logger: s.Logger})
			if err != nil {
				return nil, fmt.Errorf("xinhari: %w", err)
			}
		}
		return src, nil
	}
	if objects == nil && s.Manifests != "" {
		var err error
		if objects, err = foldercatalog.New(s.Manifests, s.Namespace); err != nil {
			return nil, fmt.Errorf("xinhari: %w", err)
		}
	}
	if objects != nil {
		src.callees = &callees{catalog: objects, logger: s.Logger}
	}
	if src.discovery == nil {
		src.discovery = mdnsdiscovery.New(mdnsdiscovery.Options{Trust: trust, Logger: s.Logger})
	}
	return src, nil
}

func (s *sources) catalogName() string {
	if s.callees == nil {
		return "none"
	}
	return s.callees.catalog.Name()
}

// conn is a connection to a service together with the watch of its object.
type conn struct {
	grpc.ClientConnInterface
	rpc     *rpc.Conn
	cancel  context.CancelFunc
	watches sync.WaitGroup
}

func (s *sources) connect(callee discovery.Service, p *proof, o settings) (*conn, error) {
	rc, err := rpc.NewConn(callee, s.discovery, rpc.ConnOptions{
		Transport:  p.transport,
		Codecs:     o.Codecs,
		Compressor: o.Compressor,
		Middleware: o.Middleware,
		Dial:       p.dial(o.Network.Dial),
		GRPC:       o.DialOptions,
		ConnLimits: o.ConnLimits,
		Logger:     o.Logger,

		DynamicWindows: o.DynamicWindows,
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &conn{ClientConnInterface: rc, rpc: rc, cancel: cancel}
	if s.callees != nil {
		c.watches.Go(func() {
			s.callees.watch(ctx, callee, func(object *xinhariv1alpha1.Service) {
				traffic, err := trafficOf(object)
				if err == nil {
					err = rc.SetTraffic(traffic)
				}
				if err != nil {
					o.Logger.Warn("spec.traffic of the Service object is not followed", "service", callee.String(), "error", err)
				}
			})
		})
	}
	return c, nil
}

func (c *conn) close() {
	c.cancel()
	c.watches.Wait()
	_ = c.rpc.Close() // it has no more to say to anybody
}

// ownAddresses are those by which others may know this process.
func ownAddresses() ([]netip.Addr, error) {
	all, err := net.InterfaceAddrs()
	var own []netip.Addr
	for _, a := range all {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil {
			own = append(own, prefix.Addr().Unmap())
		}
	}
	return own, err
}
