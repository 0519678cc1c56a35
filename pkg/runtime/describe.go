package runtime

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/xinhari/xinhari/pkg/runtime/runtimev1"
)

// Describe implements the Runtime service. It tells what reflection tells, and
// to the same callers, in one answer.
func (r *runtimeServer) Describe(_ context.Context, asked *runtimev1.DescribeRequest) (*runtimev1.DescribeResponse, error) {
	served := r.service.server.GetServiceInfo()
	names := slices.Sorted(maps.Keys(served))
	if asked.GetService() != "" {
		if _, ok := served[asked.GetService()]; !ok {
			return nil, status.Errorf(codes.NotFound, "there is no service %q here", asked.GetService())
		}
		names = []string{asked.GetService()}
	}
	answer := &runtimev1.DescribeResponse{Files: &descriptorpb.FileDescriptorSet{}, Encodings: r.service.server.Encodings()}
	told := map[string]bool{}
	for _, name := range names {
		s := &runtimev1.Service{Name: name}
		described := r.descriptor(name)
		if described != nil {
			addFile(answer.Files, described.ParentFile(), told)
		}
		for _, m := range served[name].Methods {
			method := &runtimev1.Method{Name: m.Name, ClientStreaming: m.IsClientStream, ServerStreaming: m.IsServerStream}
			if described != nil {
				if d := described.Methods().ByName(protoreflect.Name(m.Name)); d != nil {
					method.Input, method.Output = string(d.Input().FullName()), string(d.Output().FullName())
				}
			}
			s.Methods = append(s.Methods, method)
		}
		slices.SortFunc(s.Methods, func(a, b *runtimev1.Method) int { return cmp.Compare(a.GetName(), b.GetName()) })
		answer.Services = append(answer.Services, s)
	}
	return answer, nil
}

// descriptor returns what describes a service, or nil.
func (r *runtimeServer) descriptor(service string) protoreflect.ServiceDescriptor {
	d, err := r.service.server.Descriptors().FindDescriptorByName(protoreflect.FullName(service))
	if err != nil {
		return nil
	}
	s, _ := d.(protoreflect.ServiceDescriptor)
	return s
}

// addFile adds a file to set, after those that it imports.
func addFile(set *descriptorpb.FileDescriptorSet, file protoreflect.FileDescriptor, told map[string]bool) {
	if told[file.Path()] || file.IsPlaceholder() {
		return
	}
	told[file.Path()] = true
	imports := file.Imports()
	for i := range imports.Len() {
		addFile(set, imports.Get(i).FileDescriptor, told)
	}
	set.File = append(set.File, protodesc.ToFileDescriptorProto(file))
}
