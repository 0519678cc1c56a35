package runtime_test

import (
	"slices"
	"testing"

	"google.golang.org/grpc/codes"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protodesc"

	xinhari "github.com/xinhari/xinhari/pkg/runtime"
	"github.com/xinhari/xinhari/pkg/runtime/runtimetest"
	"github.com/xinhari/xinhari/pkg/runtime/runtimev1"
)

func TestDescribe(t *testing.T) {
	noLeaks(t)
	n := runtimetest.New(t)
	orders, inventory := n.Service("orders", xinhari.Options{}), n.Service("inventory", xinhari.Options{})
	testgrpc.RegisterTestServiceServer(orders, testgrpc.UnimplementedTestServiceServer{})
	n.Start(orders, inventory)
	client := runtimev1.NewRuntimeClient(inventory.Conn("orders"))

	all, err := client.Describe(t.Context(), &runtimev1.DescribeRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range all.GetServices() {
		names = append(names, s.GetName())
	}
	if !slices.IsSorted(names) || !slices.Contains(names, "grpc.testing.TestService") || !slices.Contains(names, "xinhari.runtime.v1.Runtime") {
		t.Errorf("services %q", names)
	}
	if !slices.Contains(all.GetEncodings(), "json") {
		t.Errorf("encodings %q", all.GetEncodings())
	}

	one, err := client.Describe(t.Context(), &runtimev1.DescribeRequest{Service: "grpc.testing.TestService"})
	if err != nil {
		t.Fatal(err)
	}
	files, err := protodesc.NewFiles(one.GetFiles())
	if err != nil {
		t.Fatalf("the files: %v", err)
	}
	if len(one.GetServices()) != 1 {
		t.Fatalf("%d services, want the one that was asked for", len(one.GetServices()))
	}
	for _, m := range one.GetServices()[0].GetMethods() {
		if m.GetName() == "StreamingOutputCall" {
			if m.GetClientStreaming() || !m.GetServerStreaming() || m.GetInput() != "grpc.testing.StreamingOutputCallRequest" {
				t.Errorf("got %v", m)
			}
			if _, err := files.FindDescriptorByName("grpc.testing.StreamingOutputCallRequest"); err != nil {
				t.Errorf("its message: %v", err)
			}
			if _, err := client.Describe(t.Context(), &runtimev1.DescribeRequest{Service: "shop.v1.Absent"}); status.Code(err) != codes.NotFound {
				t.Errorf("a service that there is not: %v", err)
			}
			return
		}
	}
	t.Error("the method StreamingOutputCall is missing")
}
