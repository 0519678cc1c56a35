package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/xinhari/xinhari/pkg/runtime/runtimev1"
)

// warnOfUnknown tells of fields of a request that its message does not have:
// services ignore them, so that they may be older than their callers, and a
// slip of the pen would go unnoticed. Where the service does not say what its
// messages are, there is nothing to tell.
func (o *options) warnOfUnknown(ctx context.Context, conn grpc.ClientConnInterface, method string, request json.RawMessage) {
	service, name, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	answer, err := runtimev1.NewRuntimeClient(conn).Describe(ctx, &runtimev1.DescribeRequest{Service: service})
	if err != nil || len(answer.GetServices()) != 1 {
		return
	}
	files, err := protodesc.NewFiles(answer.GetFiles())
	if err != nil {
		return
	}
	for _, m := range answer.GetServices()[0].GetMethods() {
		if m.GetName() != name {
			continue
		}
		var value any
		if d := findMessage(files, m.GetInput()); d != nil && json.Unmarshal(request, &value) == nil {
			for _, u := range unknown(d, value, "") {
				fmt.Fprintln(o.err, "xinhari: warning:", u)
			}
		}
	}
}

// unknown describes the fields of a JSON value that the message does not have.
func unknown(d protoreflect.MessageDescriptor, value any, path string) []string {
	object, ok := value.(map[string]any)
	if !ok || strings.HasPrefix(string(d.FullName()), "google.protobuf.") {
		return nil
	}
	var found []string
	for name, v := range object {
		f := fieldOf(d, name)
		if f == nil {
			found = append(found, fmt.Sprintf("the request has %q, which %s has not: it has %s", path+name, d.Name(), fieldNames(d)))
			continue
		}
		var within protoreflect.MessageDescriptor
		var values []any
		switch {
		case f.IsMap():
			within = f.MapValue().Message()
			entries, _ := v.(map[string]any)
			for _, entry := range entries {
				values = append(values, entry)
			}
		case f.IsList():
			within = f.Message()
			values, _ = v.([]any)
		default:
			within, values = f.Message(), []any{v}
		}
		if within == nil {
			continue
		}
		for _, one := range values {
			found = append(found, unknown(within, one, path+name+".")...)
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// fieldOf returns the field that JSON calls name. Plain Go handlers do not
// tell capitals from small letters.
func fieldOf(d protoreflect.MessageDescriptor, name string) protoreflect.FieldDescriptor {
	for i := range d.Fields().Len() {
		if f := d.Fields().Get(i); strings.EqualFold(f.JSONName(), name) || string(f.Name()) == name {
			return f
		}
	}
	return nil
}

func fieldNames(d protoreflect.MessageDescriptor) string {
	names := make([]string, d.Fields().Len())
	for i := range names {
		names[i] = d.Fields().Get(i).JSONName()
	}
	if len(names) == 0 {
		return "no fields"
	}
	return strings.Join(names, ", ")
}
