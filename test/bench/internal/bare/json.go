package bare

import (
	"context"
	"encoding/json"
	"strings"

	"google.golang.org/grpc"

	"github.com/xinhari/xinhari/test/bench/internal/load"
)

// jsonCodec is what everybody writes who wants JSON over grpc-go.
type jsonCodec struct{}

func (jsonCodec) Name() string                       { return "json" }
func (jsonCodec) Marshal(v any) ([]byte, error)      { return json.Marshal(v) }
func (jsonCodec) Unmarshal(data []byte, v any) error { return json.Unmarshal(data, v) }

// Plain implements load.Client.
func (c client) Plain(ctx context.Context, m *load.Message) (*load.Message, error) {
	answer := new(load.Message)
	if err := c.Invoke(ctx, "/"+load.PlainMethod, m, answer, grpc.CallContentSubtype(jsonCodec{}.Name())); err != nil {
		return nil, err
	}
	return answer, nil
}

// plainService is load.Service's method that has no protobuf messages.
func plainService() *grpc.ServiceDesc {
	service, method, _ := strings.Cut(load.PlainMethod, "/")
	return &grpc.ServiceDesc{
		ServiceName: service,
		HandlerType: (*load.Service)(nil),
		Methods: []grpc.MethodDesc{{
			MethodName: method,
			Handler: func(srv any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				request := new(load.Message)
				if err := decode(request); err != nil {
					return nil, err
				}
				return srv.(load.Service).Plain(ctx, request)
			},
		}},
	}
}
