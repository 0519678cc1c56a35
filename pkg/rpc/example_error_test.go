package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/netip"

	"google.golang.org/grpc/codes"

	"github.com/xinhari/xinhari/pkg/discovery"
	"github.com/xinhari/xinhari/pkg/discovery/staticdiscovery"
	"github.com/xinhari/xinhari/pkg/rpc"
)

type reserveRequest struct {
	SKU string `json:"sku"`
}

type reserveResponse struct{}

// ErrOutOfStock is declared where both sides import it.
var ErrOutOfStock = &rpc.Error{
	Code:    codes.FailedPrecondition,
	Reason:  "OUT_OF_STOCK",
	Domain:  "inventory.shop",
	Message: "out of stock",
}

// A sentinel that a handler wraps is found by the caller, in another process.
func ExampleError() {
	addr, stop := serve(rpc.ServerOptions{}, func(s *rpc.Server) error {
		return rpc.Handle(s, "Inventory/Reserve", func(_ context.Context, r *reserveRequest) (*reserveResponse, error) {
			return nil, fmt.Errorf("reserve %s: %w", r.SKU, ErrOutOfStock.With(map[string]string{"sku": r.SKU}))
		})
	})
	defer stop()
	conn, disconnect := connect(addr, rpc.ConnOptions{})
	defer disconnect()

	_, err := rpc.Call[reserveResponse](context.Background(), conn, "Inventory/Reserve", &reserveRequest{SKU: "teapot"})
	fmt.Println(err)
	fmt.Println(errors.Is(err, ErrOutOfStock))
	if e := new(rpc.Error); errors.As(err, &e) {
		fmt.Println(e.Code, e.Reason, e.Domain, e.Metadata)
	}
	// Output:
	// FailedPrecondition: reserve teapot: out of stock
	// true
	// FailedPrecondition OUT_OF_STOCK inventory.shop map[sku:teapot]
}

// serve serves what register registers on this machine, until stop.
func serve(o rpc.ServerOptions, register func(*rpc.Server) error) (addr netip.AddrPort, stop func()) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	o.LoopbackOnly = true
	server, err := rpc.NewServer(o)
	if err == nil {
		err = register(server)
	}
	if err != nil {
		log.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(lis) }()
	return netip.MustParseAddrPort(lis.Addr().String()), func() {
		if err := errors.Join(server.Shutdown(context.Background()), <-served); err != nil {
			log.Fatal(err)
		}
	}
}

// connect connects to the one instance at addr, until disconnect.
func connect(addr netip.AddrPort, o rpc.ConnOptions) (conn *rpc.Conn, disconnect func()) {
	service := discovery.Service{Namespace: "shop", Name: "inventory"}
	endpoints, err := staticdiscovery.New(map[discovery.Service][]discovery.Endpoint{
		service: {{Addresses: []netip.AddrPort{addr}}},
	}, discovery.Options{})
	if err != nil {
		log.Fatal(err)
	}
	conn, err = rpc.NewConn(service, endpoints, o)
	if err != nil {
		log.Fatal(err)
	}
	return conn, func() {
		if err := conn.Close(); err != nil {
			log.Fatal(err)
		}
	}
}
