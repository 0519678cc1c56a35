package schema

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// Service is a service of methods that take and return Go types.
type Service struct {
	Name    string // Greeter or shop.v1.Inventory
	Methods []Method
}

// Method is a method of a Service.
type Method struct {
	Name              string
	Request, Response reflect.Type // of the messages, and not of pointers to them

	ClientStreams, ServerStreams bool
}

// Files are the files of protobuf that describe services, and all that those
// import. It is a protodesc.Resolver, and finds what the program has linked
// besides.
type Files struct {
	files  map[string]protoreflect.FileDescriptor // by path
	lookup []*protoregistry.Files                 // one for each of files
}

// FindFileByPath implements protodesc.Resolver.
func (f *Files) FindFileByPath(path string) (protoreflect.FileDescriptor, error) {
	if fd, ok := f.files[path]; ok {
		return fd, nil
	}
	return protoregistry.GlobalFiles.FindFileByPath(path)
}

// FindDescriptorByName implements protodesc.Resolver.
func (f *Files) FindDescriptorByName(name protoreflect.FullName) (protoreflect.Descriptor, error) {
	for _, r := range f.lookup {
		if d, err := r.FindDescriptorByName(name); err == nil {
			return d, nil
		}
	}
	return protoregistry.GlobalFiles.FindDescriptorByName(name)
}

// Path returns the path of the file that describes the services of a package.
func Path(pkg protoreflect.FullName) string {
	if pkg == "" {
		return "plain.proto"
	}
	return strings.ReplaceAll(string(pkg), ".", "/") + "/plain.proto"
}

// Describe returns the files of the services: one for each of their packages,
// with the messages of the Go types beside the services. A service that a
// generated package describes in the same way keeps that description.
func (t *Types) Describe(services []Service) (*Files, error) {
	files := &Files{files: map[string]protoreflect.FileDescriptor{}}
	packages := map[protoreflect.FullName]*describer{}
	var order []*describer
	for _, s := range services {
		name := protoreflect.FullName(s.Name)
		if !name.IsValid() {
			return nil, fmt.Errorf("schema: a service cannot be called %q: want names such as Greeter or shop.v1.Inventory", s.Name)
		}
		if linked, err := t.linked(s); err != nil {
			return nil, err
		} else if linked {
			continue
		}
		d, ok := packages[name.Parent()]
		if !ok {
			d = newDescriber(name.Parent(), t)
			packages[name.Parent()] = d
			order = append(order, d)
		}
		d.services = append(d.services, s)
		d.names.names[string(name.Name())] = true
	}
	for pkg := range packages { // no message may have the name of a package
		for p := pkg; p != ""; p = p.Parent() {
			if d, ok := packages[p.Parent()]; ok {
				d.names.names[string(p.Name())] = true
			}
		}
	}
	for _, d := range order {
		fd, err := d.file(files)
		if err != nil {
			return nil, err
		}
		if err := files.add(fd); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// add adds a file and what it imports.
func (f *Files) add(fd protoreflect.FileDescriptor) error {
	if known, err := f.FindFileByPath(fd.Path()); err == nil && known == fd {
		return nil
	}
	r := new(protoregistry.Files)
	if err := r.RegisterFile(fd); err != nil {
		return fmt.Errorf("schema: %w", err)
	}
	f.files[fd.Path()] = fd
	f.lookup = append(f.lookup, r)
	for i := range fd.Imports().Len() {
		if err := f.add(fd.Imports().Get(i).FileDescriptor); err != nil {
			return err
		}
	}
	return nil
}

// linked reports whether a generated package describes the service, with the
// same messages. It is then what clients go by.
func (t *Types) linked(s Service) (bool, error) {
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(s.Name))
	sd, ok := found.(protoreflect.ServiceDescriptor)
	if err != nil || !ok {
		return false, nil //nolint:nilerr // not found is no error here
	}
	for _, m := range s.Methods {
		md := sd.Methods().ByName(protoreflect.Name(m.Name))
		if md == nil || md.IsStreamingClient() != m.ClientStreams || md.IsStreamingServer() != m.ServerStreams {
			return false, nil
		}
		for typ, want := range map[reflect.Type]protoreflect.MessageDescriptor{m.Request: md.Input(), m.Response: md.Output()} {
			e, err := t.message(typ)
			if err != nil {
				return false, err
			}
			if e.known == nil || e.known.FullName() != want.FullName() {
				return false, nil
			}
		}
	}
	return true, nil
}

// describer makes the file of one package.
type describer struct {
	types    *Types
	pkg      protoreflect.FullName
	services []Service
	names    *messageNames
	proto    *descriptorpb.FileDescriptorProto
	imports  map[string]protoreflect.FileDescriptor
	done     map[reflect.Type]bool
}

func newDescriber(pkg protoreflect.FullName, types *Types) *describer {
	d := &describer{types: types, pkg: pkg, imports: map[string]protoreflect.FileDescriptor{}, done: map[reflect.Type]bool{}}
	d.names = &messageNames{types: map[reflect.Type]string{}, names: map[string]bool{}, taken: func(name string) bool {
		_, err := protoregistry.GlobalFiles.FindDescriptorByName(d.full(name))
		return err == nil
	}}
	return d
}

func (d *describer) full(name string) protoreflect.FullName {
	return d.pkg.Append(protoreflect.Name(name))
}

func (d *describer) file(files *Files) (protoreflect.FileDescriptor, error) {
	d.proto = &descriptorpb.FileDescriptorProto{Name: proto.String(Path(d.pkg)), Syntax: proto.String("proto3")}
	if d.pkg != "" {
		d.proto.Package = proto.String(string(d.pkg))
	}
	for _, s := range d.services {
		name := protoreflect.FullName(s.Name).Name()
		sp := &descriptorpb.ServiceDescriptorProto{Name: proto.String(string(name))}
		for _, m := range s.Methods {
			request, err := d.message(m.Request, string(name)+"_"+m.Name+"Request")
			if err != nil {
				return nil, err
			}
			response, err := d.message(m.Response, string(name)+"_"+m.Name+"Response")
			if err != nil {
				return nil, err
			}
			mp := &descriptorpb.MethodDescriptorProto{Name: proto.String(m.Name), InputType: &request, OutputType: &response}
			if m.ClientStreams {
				mp.ClientStreaming = proto.Bool(true)
			}
			if m.ServerStreams {
				mp.ServerStreaming = proto.Bool(true)
			}
			sp.Method = append(sp.Method, mp)
		}
		d.proto.Service = append(d.proto.Service, sp)
	}
	for _, fd := range d.imports {
		if err := files.add(fd); err != nil { // what is not generated is in no registry
			return nil, err
		}
	}
	d.proto.Dependency = slices.Sorted(maps.Keys(d.imports))
	fd, err := protodesc.NewFile(d.proto, files)
	if err != nil {
		return nil, fmt.Errorf("schema: describe the services of package %q: %w", d.pkg, err)
	}
	return fd, nil
}

// message returns the name of a whole message, as descriptors have it.
func (d *describer) message(t reflect.Type, hint string) (string, error) {
	e, err := d.types.message(t)
	if err != nil {
		return "", err
	}
	return d.typeName(e, hint), nil
}

// typeName returns the name of a message, which it describes if that was not
// done yet.
func (d *describer) typeName(e *element, hint string) string {
	if e.known != nil {
		file := e.known.ParentFile()
		d.imports[file.Path()] = file
		return "." + string(e.known.FullName())
	}
	s := e.structure
	name := d.names.of(s.typ, hint)
	if !d.done[s.typ] {
		d.done[s.typ] = true
		mp := &descriptorpb.DescriptorProto{Name: &name}
		d.proto.MessageType = append(d.proto.MessageType, mp)
		for _, f := range s.fields {
			d.addField(mp, f)
		}
	}
	return "." + string(d.full(name))
}

func (d *describer) addField(mp *descriptorpb.DescriptorProto, f *field) {
	fp := &descriptorpb.FieldDescriptorProto{
		Name:     proto.String(f.protoName),
		JsonName: proto.String(f.name),
		Number:   proto.Int32(int32(f.number)),
		Label:    descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
	}
	mp.Field = append(mp.Field, fp)
	hint := mp.GetName() + "_" + f.goName
	switch {
	case f.shape == mapping:
		entry := &descriptorpb.DescriptorProto{
			Name:    proto.String(entryName(f.protoName)),
			Options: &descriptorpb.MessageOptions{MapEntry: proto.Bool(true)},
		}
		mp.NestedType = append(mp.NestedType, entry)
		entry.Field = []*descriptorpb.FieldDescriptorProto{
			d.entryField("key", keyNumber, f.key, hint),
			d.entryField("value", valueNumber, f.element, hint),
		}
		fp.Label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()
		fp.Type = descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum()
		fp.TypeName = proto.String("." + string(d.full(mp.GetName())) + "." + entry.GetName())
		return
	case f.shape != single:
		fp.Label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()
	case f.pointer && !f.element.isMessage():
		oneof := "_" + f.protoName // as protoc calls it; names of fields differ by more than underscores
		fp.Proto3Optional = proto.Bool(true)
		fp.OneofIndex = proto.Int32(int32(len(mp.OneofDecl)))
		mp.OneofDecl = append(mp.OneofDecl, &descriptorpb.OneofDescriptorProto{Name: &oneof})
	}
	d.setType(fp, f.element, hint)
}

func (d *describer) entryField(name string, number int32, e *element, hint string) *descriptorpb.FieldDescriptorProto {
	fp := &descriptorpb.FieldDescriptorProto{
		Name: &name, JsonName: &name, Number: &number,
		Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
	}
	d.setType(fp, e, hint)
	return fp
}

func (d *describer) setType(fp *descriptorpb.FieldDescriptorProto, e *element, hint string) {
	fp.Type = descriptorpb.FieldDescriptorProto_Type(e.kind).Enum()
	if e.isMessage() {
		fp.TypeName = proto.String(d.typeName(e, hint))
	}
}
