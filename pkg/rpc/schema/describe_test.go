package schema_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/xinhari/xinhari/pkg/rpc/schema"
)

type page[T any] struct {
	Items []T
	Next  string
}

type tree struct {
	Left, Right *tree
	Note        struct{ Text string }
	Took        *durationpb.Duration
}

// Shop has the name of one of the services, other that of a package, Empty and Payload those of messages of grpc.testing.
type (
	Shop    struct{ Name string }
	other   struct{ O bool }
	Empty   struct{ A int }
	Payload struct{ B int }
)

func method[Req, Rsp any](name string) schema.Method {
	return schema.Method{Name: name, Request: reflect.TypeFor[Req](), Response: reflect.TypeFor[Rsp]()}
}

func TestDescribe(t *testing.T) {
	type item struct{ Local bool }
	stream := method[page[item], page[map[string]*page[tree]]]("Watch")
	stream.ServerStreams = true
	for _, tt := range []struct {
		name     string
		services []schema.Service
		want     map[string]string // files by path
	}{
		{"a service without a package", []schema.Service{
			{Name: "Shop", Methods: []schema.Method{method[Shop, tree]("Get"), method[struct{ N int }, string]("Find"), method[other, string]("Ask")}},
			{Name: "other.v1.Shop", Methods: []schema.Method{method[Shop, struct{}]("Put")}},
		}, map[string]string{
			"plain.proto": `syntax = "proto3";
import "google/protobuf/duration.proto";
import "google/protobuf/wrappers.proto";

service Shop {
  rpc Get(schema_test_Shop) returns (tree);
  rpc Find(Shop_FindRequest) returns (google.protobuf.StringValue);
  rpc Ask(schema_test_other) returns (google.protobuf.StringValue);
}

message schema_test_Shop {
  string Name = 1;
}

message tree {
  tree Left = 1;
  tree Right = 2;
  tree_Note Note = 3;
  google.protobuf.Duration Took = 4;
}

message tree_Note {
  string Text = 1;
}

message Shop_FindRequest {
  int64 N = 1;
}

message schema_test_other {
  bool O = 1;
}
`,
			"other/v1/plain.proto": `syntax = "proto3";
package other.v1;
import "google/protobuf/empty.proto";

service Shop {
  rpc Put(other.v1.schema_test_Shop) returns (google.protobuf.Empty);
}

message schema_test_Shop {
  string Name = 1;
}
`,
		}},
		{"types of one name, and what is linked already", []schema.Service{
			{Name: "grpc.testing.Extra", Methods: []schema.Method{
				method[Empty, Payload]("A"), method[testgrpc.Empty, testgrpc.Payload]("B"),
				method[json.Number, durationpb.Duration]("C"), method[durationOf, item]("D"), method[page[item], itemOf]("E"),
			}},
		}, map[string]string{"grpc/testing/plain.proto": `syntax = "proto3";
package grpc.testing;
import "google/protobuf/duration.proto";
import "google/protobuf/struct.proto";
import "grpc/testing/empty.proto";
import "grpc/testing/messages.proto";

service Extra {
  rpc A(grpc.testing.schema_test_Empty) returns (grpc.testing.schema_test_Payload);
  rpc B(grpc.testing.Empty) returns (grpc.testing.Payload);
  rpc C(google.protobuf.Value) returns (google.protobuf.Duration);
  rpc D(grpc.testing.durationOf) returns (grpc.testing.item);
  rpc E(grpc.testing.page_item) returns (grpc.testing.itemOf);
}

message schema_test_Empty {
  int64 A = 1;
}

message schema_test_Payload {
  int64 B = 1;
}

message durationOf {
  int64 Seconds = 1;
}

message item {
  bool Local = 1;
}

message page_item {
  repeated grpc.testing.item Items = 1;
  string Next = 2;
}

message itemOf {
  grpc.testing.schema_test_item Item = 1;
}

message schema_test_item {
  int32 n = 1;
}
`}},
		{"generic types", []schema.Service{{Name: "pages.Pages", Methods: []schema.Method{stream}}}, map[string]string{"pages/plain.proto": `syntax = "proto3";
package pages;
import "google/protobuf/struct.proto";

service Pages {
  rpc Watch(pages.page_item) returns (stream pages.page_map_string_page_tree);
}

message page_item {
  repeated pages.item Items = 1;
  string Next = 2;
}

message item {
  bool Local = 1;
}

message page_map_string_page_tree {
  repeated google.protobuf.Struct Items = 1;
  string Next = 2;
}
`}},
		{"a service that is described by generated code", []schema.Service{
			{Name: "grpc.testing.TestService", Methods: []schema.Method{method[testgrpc.SimpleRequest, testgrpc.SimpleResponse]("UnaryCall")}},
		}, nil},
		{"a method that is described as a stream", []schema.Service{
			{Name: "grpc.testing.TestService", Methods: []schema.Method{method[testgrpc.StreamingOutputCallRequest, testgrpc.StreamingOutputCallResponse]("StreamingOutputCall")}},
		}, map[string]string{"grpc/testing/plain.proto": `syntax = "proto3";
package grpc.testing;
import "grpc/testing/messages.proto";

service TestService {
  rpc StreamingOutputCall(grpc.testing.StreamingOutputCallRequest) returns (grpc.testing.StreamingOutputCallResponse);
}
`}},
		{"a service that is described otherwise", []schema.Service{
			{Name: "grpc.testing.TestService", Methods: []schema.Method{method[testgrpc.SimpleRequest, testgrpc.Empty]("UnaryCall")}},
		}, map[string]string{"grpc/testing/plain.proto": `syntax = "proto3";
package grpc.testing;
import "grpc/testing/empty.proto";
import "grpc/testing/messages.proto";

service TestService {
  rpc UnaryCall(grpc.testing.SimpleRequest) returns (grpc.testing.Empty);
}
`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files, err := schema.New().Describe(tt.services)
			if err != nil {
				t.Fatal(err)
			}
			for path, want := range tt.want {
				fd, err := files.FindFileByPath(path)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, printFile(fd)); diff != "" {
					t.Error(diff)
				}
				// What a client is told makes the same file again.
				if _, err := protodesc.NewFile(protodesc.ToFileDescriptorProto(fd), files); err != nil {
					t.Error(err)
				}
			}
			for _, s := range tt.services {
				d, err := files.FindDescriptorByName(protoreflect.FullName(s.Name))
				if err != nil {
					t.Fatal(err)
				}
				linked, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(s.Name))
				if (err == nil && linked == d) != (tt.want == nil) {
					t.Errorf("%s is described by %s", s.Name, d.ParentFile().Path())
				}
			}
		})
	}
}

type durationOf struct{ Seconds int }

type itemOf struct{ Item item }

func TestNamesThatNobodyHas(t *testing.T) {
	files, err := schema.New().Describe([]schema.Service{{Name: "Greeter", Methods: []schema.Method{method[item, item]("Do")}}})
	if err != nil {
		t.Fatal(err)
	}
	if d, err := files.FindDescriptorByName("Greeter.Nope"); err == nil {
		t.Errorf("found %v", d)
	}
	if fd, err := files.FindFileByPath("nope.proto"); err == nil {
		t.Errorf("found %v", fd)
	}
	for _, name := range []string{"", "a-b", "a..b", ".a", "1a"} {
		if _, err := schema.New().Describe([]schema.Service{{Name: name}}); err == nil || !strings.Contains(err.Error(), "cannot be called") {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := schema.New().Describe([]schema.Service{{Name: "A", Methods: []schema.Method{method[chan int, item]("Do")}}}); err == nil {
		t.Error("a channel is a message")
	}
}
