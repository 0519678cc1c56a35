package runtimetest_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	xinhari "github.com/xinhari/xinhari/pkg/runtime"
	"github.com/xinhari/xinhari/pkg/runtime/runtimetest"
)

// Days of calls: certificates are renewed, connections are replaced, and no
// call notices.
func TestRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := runtimetest.New(t)
		doubler, caller := double(t, n, "doubler"), n.Service("caller", xinhari.Options{})
		n.Start(doubler, caller)
		first := map[*xinhari.Service]time.Time{doubler: doubler.Identity().Current().NotAfter(), caller: caller.Identity().Current().NotAfter()}
		for range 3 * 24 {
			if _, err := ask(t.Context(), caller, "doubler"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
		}
		for s, before := range first {
			if after := s.Identity().Current().NotAfter(); after.Sub(before) < 2*24*time.Hour || time.Until(after) < 6*time.Hour {
				t.Errorf("%s: the certificate ended at %v, and now ends at %v", s.Name(), before, after)
			}
		}
	})
}

// A stream outlives the replacement of its connection, and ends with its
// peer's certificate at the latest.
func TestAStreamInFakeTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := runtimetest.New(t)
		doubler, caller := double(t, n, "doubler"), n.Service("caller", xinhari.Options{})
		n.Start(doubler, caller)
		stream, err := healthpb.NewHealthClient(caller.Conn("doubler")).Watch(t.Context(), &healthpb.HealthCheckRequest{Service: "Doubler"})
		if err != nil {
			t.Fatal(err)
		}
		opened := time.Now()
		want := func(serving bool) {
			t.Helper()
			got, err := stream.Recv()
			if err != nil || (got.GetStatus() == healthpb.HealthCheckResponse_SERVING) != serving {
				t.Fatalf("after %v: %v, %v; want %v", time.Since(opened), got, err, serving)
			}
		}
		want(true)
		for hour := range 4 {
			time.Sleep(time.Hour)
			if err := doubler.SetHealth("Doubler", hour%2 == 1); err != nil {
				t.Fatal(err)
			}
			want(hour%2 == 1)
		}
		if _, err := stream.Recv(); err == nil || time.Since(opened) > 25*time.Hour || time.Since(opened) < 12*time.Hour {
			t.Errorf("it ended after %v: %v", time.Since(opened), err)
		}
	})
}

// keepalive pings find a lost peer although nothing else is sent, and the
// pauses between attempts to connect pass as well.
func TestKeepaliveAndBackoffInFakeTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := runtimetest.New(t)
		doubler, caller := double(t, n, "doubler"), n.Service("caller", xinhari.Options{DialOptions: []grpc.DialOption{
			grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Minute, Timeout: time.Minute}),
		}})
		n.Start(doubler, caller)
		stream, err := healthpb.NewHealthClient(caller.Conn("doubler")).Watch(t.Context(), &healthpb.HealthCheckRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // until everything that was sent has arrived
		began := time.Now()
		n.Around("doubler").Partition()
		if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
			t.Errorf("the stream: %v", err)
		}
		if took := time.Since(began); took < 9*time.Minute || took > 12*time.Minute {
			t.Errorf("the loss was noticed after %v", took)
		}
		time.Sleep(time.Hour)
		n.Around("doubler").Heal()
		healed := time.Now()
		if err := recovers(t, caller, "doubler"); err != nil || time.Since(healed) == 0 {
			t.Errorf("after %v: %v", time.Since(healed), err)
		}
	})
}

// Networks in fake and in real time do not disturb each other.
func TestNetworksBesideEachOther(t *testing.T) {
	try := func(t *testing.T) {
		n := runtimetest.New(t)
		doubler, caller := double(t, n, "doubler"), n.Service("caller", xinhari.Options{})
		n.Start(doubler, caller)
		n.Everywhere().Delay(time.Millisecond)
		for range 100 {
			if _, err := ask(t.Context(), caller, "doubler"); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := ask(ctx, caller, "doubler"); status.Code(err) != codes.Canceled {
			t.Errorf("cancelled: %v", err)
		}
	}
	for i := range 6 {
		t.Run(fmt.Sprintf("real %d", i), func(t *testing.T) {
			t.Parallel()
			try(t)
		})
		t.Run(fmt.Sprintf("fake %d", i), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, try)
		})
	}
}
