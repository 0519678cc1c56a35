package runtime_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	xinhari "github.com/xinhari/xinhari/pkg/runtime"
	"github.com/xinhari/xinhari/pkg/runtime/runtimetest"
	"github.com/xinhari/xinhari/pkg/runtime/runtimev1"
)

func TestStatus(t *testing.T) {
	noLeaks(t)
	n := runtimetest.New(t)
	orders, inventory := n.Service("orders", xinhari.Options{Version: "1.2.3"}), n.Service("inventory", xinhari.Options{})
	greet(t, orders, echo)
	greet(t, inventory, echo)
	n.Start(orders, inventory)
	if _, err := call(t.Context(), orders, "inventory"); err != nil {
		t.Fatal(err)
	}

	got, err := runtimev1.NewRuntimeClient(inventory.Conn("orders")).Status(t.Context(), &runtimev1.StatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	own := orders.Identity().Current()
	i := got.GetIdentity()
	switch {
	case got.GetService() != "orders", got.GetNamespace() != "default", got.GetVersion() != "1.2.3", got.GetProfile() != "test", got.GetPermissive():
		t.Errorf("got %v", got)
	case i.GetSpiffeId() != "spiffe://local/ns/default/sa/orders", i.GetBundleHash() != own.BundleHash(), i.GetError() != "",
		!i.GetNotAfter().AsTime().Equal(own.NotAfter()), time.Since(i.GetIssued().AsTime()) > time.Minute,
		strings.Join(i.GetDnsNames(), " ") != "orders.default.svc", i.GetSerialNumber() != own.Certificate().Leaf.SerialNumber.Text(16):
		t.Errorf("got identity %v", i)
	case len(got.GetCallees()) != 1, got.GetCallees()[0].GetService() != "inventory", got.GetCallees()[0].GetReady() != 1, got.GetCallees()[0].GetSynced() == nil:
		t.Errorf("got callees %v", got.GetCallees())
	}

	elsewhere := n.Service("spy", xinhari.Options{Namespace: "other"})
	n.Start(elsewhere)
	if _, err := runtimev1.NewRuntimeClient(elsewhere.Conn("orders.default")).Status(t.Context(), &runtimev1.StatusRequest{}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("from another namespace: %v", err)
	}
}
