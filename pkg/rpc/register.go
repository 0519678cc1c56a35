package rpc

import (
	"fmt"
	"strings"

	"google.golang.org/grpc"
)

// Registrar is where services are registered: a Server, or what embeds one.
type Registrar interface {
	grpc.ServiceRegistrar

	// RegisterMethod adds one method to the service of that name, beside
	// others that were added to it in this way.
	RegisterMethod(service string, method grpc.MethodDesc) error
}

// registry collects services until the server starts. grpc-go ends the
// process on a service registered twice; here it is an error at the start.
type registry struct {
	services map[string]*registered
	order    []string
	err      error // the first mistake of a RegisterService, which returns none
}

type registered struct {
	desc  grpc.ServiceDesc
	impl  any
	plain bool // of methods that were added one by one
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

func (r *registry) addMethod(service string, m grpc.MethodDesc) error {
	s, ok := r.services[service]
	if !ok {
		s = &registered{desc: grpc.ServiceDesc{ServiceName: service, HandlerType: (*any)(nil), Metadata: ""}, plain: true}
		r.add(s)
	}
	if !s.plain {
		return fmt.Errorf("rpc: service %s is a generated one: a plain handler needs a service of its own", service)
	}
	for _, old := range s.desc.Methods {
		if old.MethodName == m.MethodName {
			return fmt.Errorf("rpc: method %s/%s is registered twice", service, m.MethodName)
		}
	}
	s.desc.Methods = append(s.desc.Methods, m)
	return nil
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
