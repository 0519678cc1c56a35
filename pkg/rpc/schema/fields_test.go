package schema_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/protobuf/proto"

	"github.com/xinhari/xinhari/pkg/rpc/schema"
)

type (
	Base struct {
		ID      int
		Name    string `json:"name"`
		Twice   int
		Deep    string
		Far     int `json:"Near"`
		private int
	}
	Common struct{ Diamond int }
	Left   struct{ Common }
	Right  struct{ Common }
	Other  struct {
		Twice int
		Other string
	}
	hidden struct {
		Shown string
	}
	named struct {
		N int
	}
	Outer struct {
		Base
		*Other
		hidden
		named `json:"named"`
		Left
		Right
		Rival       int
		Tagged      int `json:"Rival"`
		Near        int
		Deep        int    `json:"deep"`
		Dash        int    `json:"-,"` //nolint:staticcheck // encoding/json takes it
		Never       int    `json:"-"`
		Empty       int    `json:",omitempty"`
		Zero        int    `json:"zero,omitzero"`
		Quoted      int64  `json:"quoted,string"`
		BadTag      int    `json:"a\"b"` //nolint:staticcheck // encoding/json ignores it
		Odd         string `json:"a-b.c"`
		Odder       string `json:"a_b_c"`
		Digit       string `json:"1st"`
		Umlaut      string `json:"größe"`
		CamelCase   bool
		unexported  int
		Map         map[string]int `json:"mapOf"`
		MapOfEntry  int            `json:"mapOfEntry"`
		Optional    *int           `json:"opt"`
		OptionalTwo *int           `json:"_opt"`
	}
)

const wantOuter = `message Outer {
  int64 ID = 1;
  string name = 2;
  string Deep = 3;
  string Other = 4;
  string Shown = 5;
  test.named named = 6;
  int64 Rival = 7;
  int64 Near = 8;
  int64 deep_2 = 9 [json_name = "deep"];
  int64 _ = 10 [json_name = "-"];
  int64 Empty = 11;
  int64 zero = 12;
  int64 quoted = 13;
  int64 BadTag = 14;
  string a_b_c = 15 [json_name = "a-b.c"];
  string a_b_c_2 = 16 [json_name = "a_b_c"];
  string _1st = 17 [json_name = "1st"];
  string gr__e = 18 [json_name = "größe"];
  bool CamelCase = 19;
  map<string, int64> mapOf = 20;
  int64 mapOfEntry_2 = 21 [json_name = "mapOfEntry"];
  optional int64 opt = 22;
  optional int64 _opt_2 = 23 [json_name = "_opt"];
}
`

// TestFieldsAreThoseOfEncodingJSON has every rule of encoding/json in one
// struct, and encoding/json itself as the judge.
func TestFieldsAreThoseOfEncodingJSON(t *testing.T) {
	types := schema.New()
	one, two := 1, 2
	v := &Outer{
		Base: Base{ID: 1, Name: "b", Twice: 2, Deep: "base", Far: 26, private: 1}, Other: &Other{Twice: 3, Other: "o"}, hidden: hidden{"h"}, named: named{4},
		Left: Left{Common{21}}, Right: Right{Common{22}}, Rival: 23, Tagged: 24, Near: 25,
		Deep: 5, Dash: 6, Never: 7, Empty: 8, Zero: 9, Quoted: 1 << 60, BadTag: 10, Odd: "x", Odder: "y", Digit: "z", Umlaut: "ü",
		CamelCase: true, unexported: 1, Map: map[string]int{"k": 1}, MapOfEntry: 11, Optional: &one, OptionalTwo: &two,
	}
	md := message(t, types, v)
	if diff := cmp.Diff(wantOuter, printMessage(md)); diff != "" {
		t.Error(diff)
	}
	data, err := types.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(canonical(t, text), canonical(t, protoJSON(t, md, data))); diff != "" {
		t.Error(diff)
	}
	var fromText, fromData Outer
	if err := json.Unmarshal(text, &fromText); err != nil {
		t.Fatal(err)
	}
	if err := types.Unmarshal(data, &fromData); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(fromText, fromData, cmp.AllowUnexported(Outer{}, Base{}, hidden{}, named{})); diff != "" {
		t.Error(diff)
	}
}

func TestNumbers(t *testing.T) {
	type between struct {
		A int
		B int `rpc:"4"`
		C int `rpc:"2"`
		D int
	}
	type large struct {
		A int `rpc:"536870911"`
	}
	for _, tt := range []struct {
		name string
		v    any
		want string // a part of the message, or of the error
	}{
		{"a tag fixes one, and those after it count on", &between{}, "  int64 A = 1;\n  int64 C = 2;\n  int64 D = 3;\n  int64 B = 4;\n"},
		{"the largest", &large{}, "A = 536870911"},
		{"one twice", &struct {
			A int
			B int `rpc:"1"`
		}{}, "B: number 1 is that of A: give one of them another"},
		{"one that counting meets", &struct {
			A int `rpc:"2"`
			B int `rpc:"1"`
			C int
		}{}, "C: number 2 is that of A"},
		{"none", &struct {
			A int `rpc:"x"`
		}{}, `A: the tag rpc:"x" is no number`},
		{"zero", &struct {
			A int `rpc:"0"`
		}{}, "A: number 0 is not one that a field can have"},
		{"a reserved one", &struct {
			A int `rpc:"19000"`
		}{}, "number 19000 is not one"},
		{"one that is too large", &struct {
			A int `rpc:"536870912"`
		}{}, "number 536870912 is not one"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			types := schema.New()
			got := ""
			if err := types.Check(reflect.TypeOf(tt.v).Elem()); err != nil {
				got = err.Error()
			} else {
				got = printMessage(message(t, types, tt.v))
			}
			if !strings.Contains(got, tt.want) {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
	t.Run("out of their order", func(t *testing.T) {
		types := schema.New()
		v := &between{1, 2, 3, 4}
		data, err := types.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if got := dynamic(t, message(t, types, v), data); got.Get(got.Descriptor().Fields().ByName("B")).Int() != 2 {
			t.Errorf("got %v", got)
		}
	})
}

type (
	pointsAtItself *pointsAtItself
	badKey         struct{ M map[float64]int }
	bad[T any]     struct{ X T }
	embedsMessage  struct{ *testgrpc.Payload }
	embedsIface    struct{ proto.Message }
	pointerInside  struct{ *hidden }
	recursiveBad   struct {
		Next  *recursiveBad
		Items []map[string][]struct{ Done chan int }
	}
	hiddenText struct {
		secretText `json:"s"`
		secretTwo  // takes from the struct the methods of the first
	}
	secretTwo  struct{ netip.AddrPort }
	secretText struct{ netip.Addr }
)

// Both are used by reflection.
var _ = hiddenText{secretText{}, secretTwo{}}

func TestWhatCannotBeSent(t *testing.T) {
	for _, tt := range []struct {
		typ  reflect.Type
		want string
	}{
		{reflect.TypeFor[recursiveBad](), "recursiveBad.Items[][][].Done: chan cannot be sent"},
		{reflect.TypeFor[bad[chan int]](), "].X: chan cannot be sent"},
		{reflect.TypeFor[bad[func()]](), ".X: func cannot be sent"},
		{reflect.TypeFor[bad[complex128]](), ".X: complex128 cannot be sent"},
		{reflect.TypeFor[bad[complex64]](), ".X: complex64 cannot be sent"},
		{reflect.TypeFor[bad[uintptr]](), ".X: uintptr cannot be sent"},
		{reflect.TypeFor[bad[unsafe.Pointer]](), ".X: unsafe.Pointer cannot be sent"},
		{reflect.TypeFor[bad[error]](), ".X: error cannot be sent: which type it would have"},
		{reflect.TypeFor[bad[fmt.Stringer]](), ".X: fmt.Stringer cannot be sent"},
		{reflect.TypeFor[bad[context.Context]](), ".X: context.Context cannot be sent"},
		{reflect.TypeFor[bad[**int]](), ".X: *int cannot be sent: a pointer to a pointer"},
		{reflect.TypeFor[bad[pointsAtItself]](), "a pointer to a pointer"},
		{reflect.TypeFor[bad[[]**int]](), ".X[]: *int cannot be sent: a pointer to a pointer"},
		{reflect.TypeFor[badKey](), "badKey.M: float64 cannot be sent: it cannot be the key of a map"},
		{reflect.TypeFor[bad[map[string]chan int]](), ".X[]: chan cannot be sent"},
		{reflect.TypeFor[bad[map[struct{ A int }]int]](), ".X: struct cannot be sent: it cannot be the key"},
		{reflect.TypeFor[bad[testgrpc.Payload]](), ".X: grpc_testing.Payload cannot be sent: a protobuf message is held by pointer"},
		{reflect.TypeFor[embedsMessage](), "embedsMessage: schema_test.embedsMessage cannot be sent: it embeds the message *grpc_testing.Payload"},
		{reflect.TypeFor[embedsIface](), "which message it is cannot be told by its type"},
		{reflect.TypeFor[pointerInside](), "pointerInside.Shown: *schema_test.hidden cannot be sent: an embedded pointer to an unexported struct"},
		{reflect.TypeFor[hiddenText](), "an embedded type that is unexported"},
		{reflect.TypeFor[*item](), "a pointer is no message: use schema_test.item"},
		{reflect.TypeFor[chan int](), "chan int: chan cannot be sent"},
		{reflect.TypeFor[[]chan int](), "[]: chan cannot be sent"},
	} {
		t.Run(tt.typ.String(), func(t *testing.T) {
			err := schema.New().Check(tt.typ)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

// TestAllEncodableTypesAreJSONs holds that what Check lets pass, encoding/json
// encodes: plain handlers are called with JSON first of all.
func TestAllEncodableTypesAreJSONs(t *testing.T) {
	types := schema.New()
	for _, r := range corpus() {
		if _, err := json.Marshal(r.value); err != nil {
			t.Errorf("%s: %v", r.goType, err)
		}
		if err := types.Check(reflect.TypeOf(r.value).Elem()); err != nil {
			t.Errorf("%s: %v", r.goType, err)
		}
	}
}
