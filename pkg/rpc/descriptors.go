package rpc

import (
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/xinhari/xinhari/pkg/rpc/schema"
)

// Descriptors returns what describes the server's services, those of plain Go
// types as well, for gRPC reflection: it is a reflection.ServerOptions'
// DescriptorResolver. It may be asked for before services are registered, and
// finds those that are registered when it is used.
func (s *Server) Descriptors() protodesc.Resolver { return descriptors{s} }

type descriptors struct{ server *Server }

func (d descriptors) FindFileByPath(path string) (protoreflect.FileDescriptor, error) {
	files, err := d.server.describe()
	if err != nil {
		return nil, err
	}
	return files.FindFileByPath(path)
}

func (d descriptors) FindDescriptorByName(name protoreflect.FullName) (protoreflect.Descriptor, error) {
	files, err := d.server.describe()
	if err != nil {
		return nil, err
	}
	return files.FindDescriptorByName(name)
}

func (s *Server) describe() (*schema.Files, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.files != nil {
		return s.files, nil
	}
	return s.registry.describe()
}
