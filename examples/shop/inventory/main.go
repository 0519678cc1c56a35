// Command inventory is the shop's service that knows what is in stock.
package main

import (
	"context"
	"errors"
	"log"
	"os"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/xinhari/xinhari/examples/shop"
	"github.com/xinhari/xinhari/pkg/identity"
	"github.com/xinhari/xinhari/pkg/rpc"
	xinhari "github.com/xinhari/xinhari/pkg/runtime"
)

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	svc, err := xinhari.New("inventory", xinhari.Options{})
	if err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	s := &stock{host: host, reserved: map[string]int{}}
	return errors.Join(
		rpc.Handle(svc, shop.ReserveMethod, s.Reserve),
		svc.Run(context.Background()),
	)
}

// stock counts what was reserved in this instance.
type stock struct {
	host string

	mu       sync.Mutex
	reserved map[string]int
}

// Reserve takes a quantity of an article.
func (s *stock) Reserve(ctx context.Context, r *shop.Reservation) (*shop.Reserved, error) {
	if r.Article == "" || r.Quantity <= 0 {
		return nil, status.Error(codes.InvalidArgument, "a reservation needs an article and a quantity above zero")
	}
	caller, _ := identity.PeerFromContext(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reserved[r.Article] += r.Quantity
	return &shop.Reserved{Article: r.Article, Quantity: r.Quantity, By: s.host, For: caller.String()}, nil
}
