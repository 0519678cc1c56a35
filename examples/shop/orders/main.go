// Command orders is the shop's service that takes orders, and calls inventory
// for each. With SHOP_RATE set it also places that many orders a second by
// itself, each within SHOP_TIMEOUT, and reports what became of them.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/xinhari/xinhari/examples/shop"
	"github.com/xinhari/xinhari/pkg/rpc"
	xinhari "github.com/xinhari/xinhari/pkg/runtime"
)

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	rate := 0
	if s := os.Getenv("SHOP_RATE"); s != "" {
		var err error
		if rate, err = strconv.Atoi(s); err != nil || rate < 0 || rate > 10000 {
			return fmt.Errorf("SHOP_RATE=%q: want calls a second, 0 to 10000", s)
		}
	}
	timeout := defaultTimeout
	if s := os.Getenv("SHOP_TIMEOUT"); s != "" {
		var err error
		if timeout, err = time.ParseDuration(s); err != nil || timeout <= 0 {
			return fmt.Errorf("SHOP_TIMEOUT=%q: want how long such a call may take, such as 1s", s)
		}
	}
	svc, err := xinhari.New("orders", xinhari.Options{})
	if err != nil {
		return err
	}
	o := orders{inventory: svc.Conn("inventory")}
	l := newLoad(o.inventory, timeout)
	if err := errors.Join(
		rpc.Handle(svc, shop.PlaceMethod, o.Place),
		rpc.Handle(svc, shop.ReportMethod, l.Report),
	); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { l.run(ctx, rate) })
	err = svc.Run(ctx)
	cancel()
	running.Wait()
	return err
}

type orders struct{ inventory grpc.ClientConnInterface }

// Place takes an order: it reserves the article.
func (o orders) Place(ctx context.Context, r *shop.Reservation) (*shop.Reserved, error) {
	return rpc.Call[shop.Reserved](ctx, o.inventory, shop.ReserveMethod, r)
}
