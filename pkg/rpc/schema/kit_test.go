package schema_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/xinhari/xinhari/pkg/rpc/schema"
)

// describe returns the messages that a service of these types has.
func describe(t testing.TB, types *schema.Types, request, response reflect.Type) (in, out protoreflect.MessageDescriptor) {
	t.Helper()
	files, err := types.Describe([]schema.Service{{Name: "test.Service", Methods: []schema.Method{{Name: "Do", Request: request, Response: response}}}})
	if err != nil {
		t.Fatal(err)
	}
	d, err := files.FindDescriptorByName("test.Service.Do")
	if err != nil {
		t.Fatal(err)
	}
	m := d.(protoreflect.MethodDescriptor)
	return m.Input(), m.Output()
}

func message(t testing.TB, types *schema.Types, v any) protoreflect.MessageDescriptor {
	t.Helper()
	in, _ := describe(t, types, reflect.TypeOf(v).Elem(), reflect.TypeFor[string]())
	return in
}

// dynamic decodes data with the descriptor alone.
func dynamic(t testing.TB, md protoreflect.MessageDescriptor, data []byte) *dynamicpb.Message {
	t.Helper()
	m := dynamicpb.NewMessage(md)
	if err := proto.Unmarshal(data, m); err != nil {
		t.Fatalf("dynamicpb: %v", err)
	}
	return m
}

// canonical is the JSON of a message, or of a Go value, without what the two
// print in their own ways: 64-bit integers, which are strings in protobuf's
// JSON, and what is empty.
func canonical(t testing.TB, text []byte) string {
	t.Helper()
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return fmt.Sprintf("%#v", plain(v))
}

func plain(v any) any {
	switch v := v.(type) {
	case string:
		if f, err := strconv.ParseFloat(v, 64); err == nil {
			return plain(f)
		}
		if v == "" {
			return nil
		}
	case float64:
		if v == 0 {
			return nil
		}
	case bool:
		if !v {
			return nil
		}
	case []any:
		if len(v) == 0 {
			return nil
		}
		for i := range v {
			v[i] = plain(v[i])
		}
	case map[string]any:
		for name, x := range v {
			if v[name] = plain(x); v[name] == nil {
				delete(v, name)
			}
		}
		if len(v) == 0 {
			return nil
		}
	}
	return v
}

// protoJSON is what protobuf's JSON is of data.
func protoJSON(t testing.TB, md protoreflect.MessageDescriptor, data []byte) []byte {
	t.Helper()
	text, err := protojson.Marshal(dynamic(t, md, data))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// canonicalBytes is data with the entries of maps in order.
func canonicalBytes(t testing.TB, md protoreflect.MessageDescriptor, data []byte) []byte {
	t.Helper()
	sorted, err := proto.MarshalOptions{Deterministic: true}.Marshal(dynamic(t, md, data))
	if err != nil {
		t.Fatal(err)
	}
	return sorted
}
