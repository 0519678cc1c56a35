package rpc_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/reflection"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionalphapb "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/xinhari/xinhari/pkg/rpc"
)

type order struct {
	ID      int64             `json:"id"`
	Placed  time.Time         `json:"placed"`
	Lines   []orderLine       `json:"lines"`
	Labels  map[string]string `json:"labels"`
	Note    *string           `json:"note,omitempty"`
	Extra   any               `json:"extra"`
	Payload *testgrpc.Payload `json:"payload,omitempty"`
}

type orderLine struct {
	Article string `json:"article"`
	Count   int    `json:"count"`
}

// reflectionOf asks a server by v1alpha or v1, which have the same messages, as
// grpcurl does: it knows nothing but what the server tells.
type reflectionOf struct {
	t     *testing.T
	ask   func(*reflectionpb.ServerReflectionRequest) *reflectionpb.ServerReflectionResponse
	files map[string]*descriptorpb.FileDescriptorProto
}

func reflectionV1(t *testing.T, conn grpc.ClientConnInterface) *reflectionOf {
	stream, err := reflectionpb.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return &reflectionOf{t: t, files: map[string]*descriptorpb.FileDescriptorProto{}, ask: func(r *reflectionpb.ServerReflectionRequest) *reflectionpb.ServerReflectionResponse {
		if err := stream.Send(r); err != nil {
			t.Fatal(err)
		}
		answer, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}}
}

func reflectionV1Alpha(t *testing.T, conn grpc.ClientConnInterface) *reflectionOf {
	stream, err := reflectionalphapb.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return &reflectionOf{t: t, files: map[string]*descriptorpb.FileDescriptorProto{}, ask: func(r *reflectionpb.ServerReflectionRequest) *reflectionpb.ServerReflectionResponse {
		old, answer := new(reflectionalphapb.ServerReflectionRequest), new(reflectionpb.ServerReflectionResponse) //nolint:staticcheck // deprecated, and what many clients know
		convert(t, r, old)
		if err := stream.Send(old); err != nil {
			t.Fatal(err)
		}
		got, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		convert(t, got, answer)
		return answer
	}}
}

func convert(t *testing.T, from, to proto.Message) {
	data, err := proto.Marshal(from)
	if err == nil {
		err = proto.Unmarshal(data, to)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (r *reflectionOf) services() []string {
	var names []string
	for _, s := range r.ask(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}}).GetListServicesResponse().GetService() {
		names = append(names, s.GetName())
	}
	return names
}

// find returns what the server says of a symbol.
func (r *reflectionOf) find(symbol string) protoreflect.Descriptor {
	r.t.Helper()
	answer := r.ask(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: symbol}})
	r.add(answer)
	set := new(descriptorpb.FileDescriptorSet)
	for _, f := range r.files {
		set.File = append(set.File, f)
	}
	files, err := protodesc.NewFiles(set)
	if err != nil {
		r.t.Fatalf("%s: %v", symbol, err)
	}
	d, err := files.FindDescriptorByName(protoreflect.FullName(symbol))
	if err != nil {
		r.t.Fatalf("%s: %v in %v", symbol, err, answer)
	}
	return d
}

func (r *reflectionOf) add(answer *reflectionpb.ServerReflectionResponse) {
	r.t.Helper()
	for _, raw := range answer.GetFileDescriptorResponse().GetFileDescriptorProto() {
		f := new(descriptorpb.FileDescriptorProto)
		if err := proto.Unmarshal(raw, f); err != nil {
			r.t.Fatal(err)
		}
		if _, ok := r.files[f.GetName()]; ok {
			continue
		}
		r.files[f.GetName()] = f
		for _, path := range f.GetDependency() {
			if _, ok := r.files[path]; !ok {
				r.add(r.ask(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_FileByFilename{FileByFilename: path}}))
			}
		}
	}
	if e := answer.GetErrorResponse(); e != nil {
		r.t.Fatalf("%v", e)
	}
}

// call calls a unary method with JSON, as grpcurl does.
func (r *reflectionOf) call(conn grpc.ClientConnInterface, service, method, request string) (string, error) {
	r.t.Helper()
	m := r.find(service).(protoreflect.ServiceDescriptor).Methods().ByName(protoreflect.Name(method))
	in, out := dynamicpb.NewMessage(m.Input()), dynamicpb.NewMessage(m.Output())
	if err := protojson.Unmarshal([]byte(request), in); err != nil {
		r.t.Fatal(err)
	}
	if err := conn.Invoke(r.t.Context(), "/"+service+"/"+method, in, out); err != nil {
		return "", err
	}
	data, err := protojson.Marshal(out)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(data), nil
}

// TestAProtobufClientCallsPlainHandlers holds that what the server tells by
// reflection is all that a protobuf client needs.
func TestAProtobufClientCallsPlainHandlers(t *testing.T) {
	s := newServer(t, rpc.ServerOptions{}, func(s *testServer) {
		for _, err := range []error{
			rpc.Handle(s, "shop.v1.Orders/Place", func(_ context.Context, o *order) (*order, error) {
				o.ID++
				return o, nil
			}),
			rpc.Handle(s, "Greeter/Hello", func(_ context.Context, name *string) (*string, error) {
				answer := "Hello " + *name
				return &answer, nil
			}),
			rpc.HandleServerStream(s, "Greeter/Count", func(_ context.Context, n *number, out *rpc.Sender[number]) error {
				return out.Send(n)
			}),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		o := reflection.ServerOptions{Services: s, DescriptorResolver: s.Descriptors()}
		reflectionpb.RegisterServerReflectionServer(s, reflection.NewServerV1(o))
		reflectionalphapb.RegisterServerReflectionServer(s, reflection.NewServer(o))
	})
	for name, conn := range map[string]grpc.ClientConnInterface{"ours": ownConn(t, rpc.ConnOptions{}, s.addr), "any other": foreignConn(t, s.addr)} {
		for version, r := range map[string]*reflectionOf{"v1": reflectionV1(t, conn), "v1alpha": reflectionV1Alpha(t, conn)} {
			t.Run(fmt.Sprintf("%s, %s", name, version), func(t *testing.T) {
				r.t = t
				for _, want := range []string{"Echo", "Greeter", "shop.v1.Orders", "grpc.testing.TestService"} {
					if got := r.services(); !slices.Contains(got, want) {
						t.Errorf("%s is not listed in %v", want, got)
					}
				}
				request := `{"id":"9007199254740993","placed":"2026-01-02T03:04:05.678Z","lines":[{"article":"teapot","count":"2"}],` +
					`"labels":{"a":"b"},"note":"","extra":{"x":[1,null]},"payload":{"body":"eA=="}}`
				got, err := r.call(conn, "shop.v1.Orders", "Place", request)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(parse(t, strings.Replace(request, "40993", "40994", 1)), parse(t, got)); diff != "" {
					t.Error(diff)
				}
				if got, err := r.call(conn, "Greeter", "Hello", `"Joe"`); err != nil || got != `"Hello Joe"` {
					t.Errorf("Hello: %s, %v", got, err)
				}
				if m := r.find("shop.v1.orderLine").(protoreflect.MessageDescriptor); m.Fields().ByJSONName("article") == nil {
					t.Errorf("shop.v1.orderLine has no article: %v", m.Fields())
				}
				if count := r.find("Greeter").(protoreflect.ServiceDescriptor).Methods().ByName("Count"); !count.IsStreamingServer() || count.IsStreamingClient() {
					t.Errorf("Count streams to the server: %v, to the client: %v", count.IsStreamingClient(), count.IsStreamingServer())
				}
				if d := r.find("grpc.testing.TestService"); d.ParentFile().Path() != testgrpc.File_grpc_testing_test_proto.Path() {
					t.Errorf("the generated service is described by %s", d.ParentFile().Path())
				}
			})
		}
	}
}

func parse(t *testing.T, text string) (v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}
