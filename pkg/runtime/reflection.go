package runtime

import (
	"google.golang.org/grpc/reflection"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionalphapb "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"

	"github.com/xinhari/xinhari/pkg/rpc"
)

// registerReflection has the server describe its services, plain Go ones as
// well, by both versions of gRPC reflection: many clients know the old one only.
func registerReflection(server *rpc.Server) {
	o := reflection.ServerOptions{Services: server, DescriptorResolver: server.Descriptors()}
	reflectionpb.RegisterServerReflectionServer(server, reflection.NewServerV1(o))
	reflectionalphapb.RegisterServerReflectionServer(server, reflection.NewServer(o))
}
