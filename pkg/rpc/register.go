package rpc

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/xinhari/xinhari/pkg/rpc/schema"
)

// Registrar is where services are registered: a Server, or what embeds one.
type Registrar interface {
	grpc.ServiceRegistrar

	// RegisterMethod adds one method to its service, beside others that were
	// added to it in this way.
	RegisterMethod(Method) error
}

// Method is a method of a plain Go service, as Handle and its like make it.
type Method struct {
	Service, Name string

	// Request and Response are the Go types of the messages, and not of
	// pointers to them.
	Request, Response reflect.Type

	// ClientStreams and ServerStreams say who sends more than one message.
	ClientStreams, ServerStreams bool

	// One of the two serves the method: Unary where nobody streams.
	Unary  grpc.MethodHandler
	Stream grpc.StreamHandler
}

// registry collects services until the server starts. grpc-go ends the
// process on a service registered twice; here it is an error at the start.
type registry struct {
	types    *schema.Types
	services map[string]*registered
	order    []string
	err      error // the first mistake of a RegisterService, which returns none
}

type registered struct {
	desc    grpc.ServiceDesc
	impl    any
	plain   bool // of methods that were added one by one
	methods []schema.Method
}

func (r *registry) addService(desc *grpc.ServiceDesc, impl any) {
	if _, dup := r.services[desc.ServiceName]; dup {
		if r.err == nil {
			r.err = fmt.Errorf("rpc: service %s is registered twice", desc.ServiceName)
		}
		return
	}
	r.add(&registered{desc: *desc, impl: impl})
}

func (r *registry) addMethod(m Method) error {
	if !protoreflect.FullName(m.Service).IsValid() || !protoreflect.Name(m.Name).IsValid() {
		return fmt.Errorf("rpc: method %s/%s: names of letters, digits and _ only, such as Greeter/Hello or shop.v1.Inventory/Get", m.Service, m.Name)
	}
	for _, t := range []reflect.Type{m.Request, m.Response} {
		if err := r.types.Check(t); err != nil {
			return fmt.Errorf("rpc: method %s/%s: %w", m.Service, m.Name, err)
		}
	}
	s, ok := r.services[m.Service]
	if !ok {
		file := schema.Path(protoreflect.FullName(m.Service).Parent())
		s = &registered{desc: grpc.ServiceDesc{ServiceName: m.Service, HandlerType: (*any)(nil), Metadata: file}, plain: true}
		r.add(s)
	}
	if !s.plain {
		return fmt.Errorf("rpc: service %s is a generated one: a plain handler needs a service of its own", m.Service)
	}
	if slices.ContainsFunc(s.methods, func(old schema.Method) bool { return old.Name == m.Name }) {
		return fmt.Errorf("rpc: method %s/%s is registered twice", m.Service, m.Name)
	}
	s.methods = append(s.methods, schema.Method{
		Name: m.Name, Request: m.Request, Response: m.Response,
		ClientStreams: m.ClientStreams, ServerStreams: m.ServerStreams,
	})
	if m.Stream == nil {
		s.desc.Methods = append(s.desc.Methods, grpc.MethodDesc{MethodName: m.Name, Handler: m.Unary})
		return nil
	}
	s.desc.Streams = append(s.desc.Streams, grpc.StreamDesc{
		StreamName: m.Name, Handler: m.Stream, ClientStreams: m.ClientStreams, ServerStreams: m.ServerStreams,
	})
	return nil
}

// describe returns the files that describe the plain services.
func (r *registry) describe() (*schema.Files, error) {
	var plain []schema.Service
	for _, name := range r.order {
		if s := r.services[name]; s.plain {
			plain = append(plain, schema.Service{Name: name, Methods: s.methods})
		}
	}
	return r.types.Describe(plain)
}

func (r *registry) add(s *registered) {
	if r.services == nil {
		r.services = map[string]*registered{}
	}
	r.services[s.desc.ServiceName] = s
	r.order = append(r.order, s.desc.ServiceName)
}

// splitMethod parses "Service/Method", with or without a leading slash.
func splitMethod(name string) (service, method string, err error) {
	service, method, ok := strings.Cut(strings.TrimPrefix(name, "/"), "/")
	if !ok || service == "" || method == "" || strings.Contains(method, "/") {
		return "", "", fmt.Errorf("rpc: method %q: want %q", name, "Service/Method")
	}
	return service, method, nil
}
