package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	xinhari "github.com/xinhari/xinhari/pkg/runtime"
	"github.com/xinhari/xinhari/pkg/runtime/runtimev1"
)

func newDescribe(o *options) *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:   "describe SERVICE [GRPC-SERVICE[/METHOD]]",
		Short: "Tell what a service serves: methods and the fields of their messages",
		Long: `Tell what a service serves: its gRPC services and plain Go handlers, their
methods, and the fields of their messages as the JSON of a call has them.

It is asked of one instance, under the tool's own identity.`,
		Example: `  xinhari describe hello
  xinhari describe inventory.shop shop.v1.Inventory
  xinhari describe hello Greeter/Hello -o yaml
  xinhari describe hello --all`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			var service, method string
			if len(args) == 2 {
				service, method, _ = strings.Cut(args[1], "/")
			}
			return o.withService(c, args[0], false, func(ctx context.Context, svc *xinhari.Service) error {
				answer, err := runtimev1.NewRuntimeClient(svc.Conn(args[0])).Describe(ctx, &runtimev1.DescribeRequest{Service: service})
				if err != nil {
					return o.callError(ctx, err)
				}
				if service == "" && !all {
					answer.Services = slices.DeleteFunc(answer.Services, func(s *runtimev1.Service) bool { return builtIn(s.GetName()) })
				}
				methods, err := describe(answer, method)
				if err != nil {
					return err
				}
				if len(methods) == 0 && method != "" {
					return &exitError{exitFailed, fmt.Errorf("%s has no method %q", service, method)}
				}
				rows := make([][]string, len(methods))
				for i, m := range methods {
					rows[i] = []string{m.Method, m.Kind, m.Request.summary(), m.Response.summary()}
				}
				return o.print(methods, []string{"METHOD", "KIND", "REQUEST", "RESPONSE"}, rows)
			})
		},
	}
	c.Flags().BoolVar(&all, "all", false, "also what every service serves: health, reflection and Runtime")
	return c
}

// builtIn reports whether every service serves a gRPC service of that name.
func builtIn(service string) bool {
	return strings.HasPrefix(service, "grpc.health.") || strings.HasPrefix(service, "grpc.reflection.") || service == runtimev1.Runtime_ServiceDesc.ServiceName
}

// described is a method as the command prints it.
type described struct {
	Method   string  `json:"method"`
	Kind     string  `json:"kind"`
	Request  message `json:"request"`
	Response message `json:"response"`
}

// message is a message's name and its fields.
type message struct {
	Name   string  `json:"name,omitempty"`
	Fields []field `json:"fields,omitempty"`
}

// field is a field as the JSON of a call has it.
type field struct {
	Name   string  `json:"name"`
	Type   string  `json:"type"`
	Fields []field `json:"fields,omitempty"`
}

// summary is a message in one line.
func (m message) summary() string {
	if len(m.Fields) == 0 {
		return m.Name
	}
	fields := make([]string, len(m.Fields))
	for i, f := range m.Fields {
		fields[i] = f.Name + ": " + f.Type
	}
	return "{" + strings.Join(fields, ", ") + "}"
}

// describe returns the methods of an answer, or the one of that name.
func describe(answer *runtimev1.DescribeResponse, method string) ([]described, error) {
	files, err := protodesc.NewFiles(answer.GetFiles())
	if err != nil {
		return nil, fmt.Errorf("the service's description of itself: %w", err)
	}
	var methods []described
	for _, s := range answer.GetServices() {
		for _, m := range s.GetMethods() {
			if method != "" && m.GetName() != method {
				continue
			}
			methods = append(methods, described{
				Method: s.GetName() + "/" + m.GetName(), Kind: kind(m),
				Request: messageOf(files, m.GetInput()), Response: messageOf(files, m.GetOutput()),
			})
		}
	}
	return methods, nil
}

func kind(m *runtimev1.Method) string {
	switch {
	case m.GetClientStreaming() && m.GetServerStreaming():
		return "bidirectional stream"
	case m.GetClientStreaming():
		return "client stream"
	case m.GetServerStreaming():
		return "server stream"
	}
	return "unary"
}

func messageOf(files *protoregistry.Files, name string) message {
	m := message{Name: name}
	if d := findMessage(files, name); d != nil {
		m.Fields = fieldsOf(d, map[protoreflect.FullName]bool{})
	}
	return m
}

// findMessage returns what describes a message, or nil.
func findMessage(files *protoregistry.Files, name string) protoreflect.MessageDescriptor {
	d, err := files.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		return nil
	}
	m, _ := d.(protoreflect.MessageDescriptor)
	return m
}

// fieldsOf lists the fields of a message and of those in it; one that is in
// itself is listed once. Well-known types are what JSON has for them.
func fieldsOf(d protoreflect.MessageDescriptor, within map[protoreflect.FullName]bool) []field {
	if within[d.FullName()] || strings.HasPrefix(string(d.FullName()), "google.protobuf.") {
		return nil
	}
	within[d.FullName()] = true
	defer delete(within, d.FullName())
	fields := make([]field, 0, d.Fields().Len())
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		one := field{Name: f.JSONName(), Type: typeOf(f)}
		switch {
		case f.IsMap() && f.MapValue().Message() != nil:
			one.Fields = fieldsOf(f.MapValue().Message(), within)
		case !f.IsMap() && f.Message() != nil:
			one.Fields = fieldsOf(f.Message(), within)
		}
		fields = append(fields, one)
	}
	return fields
}

func typeOf(f protoreflect.FieldDescriptor) string {
	if f.IsMap() {
		return "map of " + typeOf(f.MapKey()) + " to " + typeOf(f.MapValue())
	}
	name := f.Kind().String()
	switch {
	case f.Enum() != nil:
		name = string(f.Enum().Name())
	case f.Message() != nil:
		name = string(f.Message().Name())
	}
	if f.IsList() {
		return "list of " + name
	}
	return name
}
