package runtime_test

import (
	"context"
	"slices"
	"testing"

	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionalphapb "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/protobuf/reflect/protodesc"

	"github.com/xinhari/xinhari/pkg/rpc"
	xinhari "github.com/xinhari/xinhari/pkg/runtime"
	"github.com/xinhari/xinhari/pkg/runtime/runtimetest"
	"github.com/xinhari/xinhari/pkg/runtime/runtimev1"
)

// TestPlainServicesAreDescribed holds that Describe and both versions of
// reflection tell of plain Go handlers what they tell of generated ones.
func TestPlainServicesAreDescribed(t *testing.T) {
	noLeaks(t)
	n := runtimetest.New(t)
	greeter, caller := n.Service("greeter", xinhari.Options{}), n.Service("caller", xinhari.Options{})
	if err := rpc.Handle(greeter, "Greeter/Hello", func(_ context.Context, h *hello) (*hello, error) { return h, nil }); err != nil {
		t.Fatal(err)
	}
	n.Start(greeter, caller)
	conn := caller.Conn("greeter")

	answer, err := runtimev1.NewRuntimeClient(conn).Describe(t.Context(), &runtimev1.DescribeRequest{Service: "Greeter"})
	if err != nil {
		t.Fatal(err)
	}
	files, err := protodesc.NewFiles(answer.GetFiles())
	if err != nil {
		t.Fatal(err)
	}
	m := answer.GetServices()[0].GetMethods()[0]
	if m.GetName() != "Hello" || m.GetInput() != "hello" || m.GetOutput() != "hello" {
		t.Errorf("described as %v", m)
	}
	if _, err := files.FindDescriptorByName("hello"); err != nil {
		t.Error(err)
	}

	v1, err := reflectionpb.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := v1.Send(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}}); err != nil {
		t.Fatal(err)
	}
	list, err := v1.Recv()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(list.GetListServicesResponse().GetService(), func(s *reflectionpb.ServiceResponse) bool { return s.GetName() == "Greeter" }) {
		t.Errorf("listed: %v", list)
	}
	old, err := reflectionalphapb.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	//nolint:staticcheck // deprecated, and what many clients know
	ask := &reflectionalphapb.ServerReflectionRequest{MessageRequest: &reflectionalphapb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: "Greeter"}}
	if err := old.Send(ask); err != nil {
		t.Fatal(err)
	}
	file, err := old.Recv()
	if err != nil {
		t.Fatal(err)
	}
	if file.GetFileDescriptorResponse() == nil { //nolint:staticcheck // as above
		t.Errorf("got %v", file)
	}
	if err := v1.CloseSend(); err != nil {
		t.Error(err)
	}
	if err := old.CloseSend(); err != nil {
		t.Error(err)
	}
}
