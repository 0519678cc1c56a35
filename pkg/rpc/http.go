package rpc

import (
	"log/slog"
	"mime"
	"net/http"
	"strings"

	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/xinhari/xinhari/pkg/rpc/internal/connect"
)

func (s *Server) newHTTPServer() *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	var handler http.Handler = http.HandlerFunc(s.serveHTTP)
	if s.options.LoopbackOnly {
		handler = anonymousLoopback(handler)
	}
	limits := &s.options.ServerLimits
	server := &http.Server{
		Handler:     s.admission.replacing(limits.boundBodies(handler)),
		ConnContext: connContext,
		Protocols:   protocols,
		ErrorLog:    slog.NewLogLogger(s.logger.Handler(), slog.LevelDebug),
	}
	limits.http(server)
	return server
}

// newBridge returns what answers clients that do not speak gRPC.
func (s *Server) newBridge() *connect.Bridge {
	return &connect.Bridge{
		GRPC:        http.HandlerFunc(s.serveGRPC),
		Codecs:      s.dispatch.codecs.names(),
		Methods:     map[string]connect.Method{},
		MaxMessage:  s.options.MaxMessage,
		BodyTimeout: s.options.BodyTimeout,
		// A page needs nobody's permission to send a GET.
		GET: func(r *http.Request) bool {
			return (!s.options.LoopbackOnly || identified(r)) && changesNothing(r.URL.Path)
		},
	}
}

// serveHTTP answers a client that is not one of ours. gRPC's calls are
// admitted by their handlers, all others here, before anything is read or told.
func (s *Server) serveHTTP(w http.ResponseWriter, r *http.Request) {
	if speaksGRPC(r) {
		if !refuseCompression(w, r) {
			s.serveGRPC(w, r)
		}
		return
	}
	if err := s.admission.admitRequest(r); err != nil {
		s.bridge.Refuse(w, r, status.Convert(err))
		return
	}
	s.bridge.ServeHTTP(w, r)
}

// serveGRPC makes a call of a gRPC request, whose messages are read as its
// handler takes them.
func (s *Server) serveGRPC(w http.ResponseWriter, r *http.Request) {
	s.foreign.ServeHTTP(w, holdBody(r, s.options.MaxMessage))
}

func speaksGRPC(r *http.Request) bool {
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && (mediaType == "application/grpc" || strings.HasPrefix(mediaType, "application/grpc+"))
}

// httpMethods are the methods of a service by their paths.
func (r *registered) httpMethods() map[string]connect.Method {
	service := "/" + r.desc.ServiceName + "/"
	methods := map[string]connect.Method{}
	for _, m := range r.desc.Methods {
		methods[service+m.MethodName] = connect.Method{}
	}
	for _, m := range r.desc.Streams {
		methods[service+m.StreamName] = connect.Method{ClientStreams: m.ClientStreams, ServerStreams: m.ServerStreams}
	}
	return methods
}

// changesNothing reports whether a method, by its path, is one of a generated
// service that says so of it. It looks only when it is asked: descriptors that
// nobody reads stay the few bytes that they are in the program.
func changesNothing(path string) bool {
	service, method, ok := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if !ok {
		return false
	}
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service + "." + method))
	if err != nil {
		return false
	}
	m, ok := d.(protoreflect.MethodDescriptor)
	if !ok {
		return false
	}
	o, ok := m.Options().(*descriptorpb.MethodOptions)
	return ok && o.GetIdempotencyLevel() == descriptorpb.MethodOptions_NO_SIDE_EFFECTS
}
