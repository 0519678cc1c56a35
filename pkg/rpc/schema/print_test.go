package schema_test

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// printFile writes a file as it would be written by hand.
func printFile(fd protoreflect.FileDescriptor) string {
	var b strings.Builder
	fmt.Fprintf(&b, "syntax = %q;\n", fd.Syntax())
	if fd.Package() != "" {
		fmt.Fprintf(&b, "package %s;\n", fd.Package())
	}
	for i := range fd.Imports().Len() {
		fmt.Fprintf(&b, "import %q;\n", fd.Imports().Get(i).Path())
	}
	for i := range fd.Services().Len() {
		s := fd.Services().Get(i)
		fmt.Fprintf(&b, "\nservice %s {\n", s.Name())
		for j := range s.Methods().Len() {
			m := s.Methods().Get(j)
			fmt.Fprintf(&b, "  rpc %s(%s%s) returns (%s%s);\n", m.Name(), streams(m.IsStreamingClient()), m.Input().FullName(), streams(m.IsStreamingServer()), m.Output().FullName())
		}
		b.WriteString("}\n")
	}
	for i := range fd.Messages().Len() {
		b.WriteString("\n" + printMessage(fd.Messages().Get(i)))
	}
	return b.String()
}

func streams(yes bool) string {
	if yes {
		return "stream "
	}
	return ""
}

func printMessage(m protoreflect.MessageDescriptor) string {
	var b strings.Builder
	fmt.Fprintf(&b, "message %s {\n", m.Name())
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		fmt.Fprintf(&b, "  %s %s = %d", fieldType(f), f.Name(), f.Number())
		if string(f.Name()) != f.JSONName() {
			fmt.Fprintf(&b, " [json_name = %q]", f.JSONName())
		}
		b.WriteString(";\n")
	}
	b.WriteString("}\n")
	return b.String()
}

func fieldType(f protoreflect.FieldDescriptor) string {
	switch {
	case f.IsMap():
		return fmt.Sprintf("map<%s, %s>", valueType(f.MapKey()), valueType(f.MapValue()))
	case f.IsList():
		return "repeated " + valueType(f)
	case f.HasOptionalKeyword():
		return "optional " + valueType(f)
	}
	return valueType(f)
}

func valueType(f protoreflect.FieldDescriptor) string {
	if f.Message() != nil {
		return string(f.Message().FullName())
	}
	return f.Kind().String()
}
