package schema_test

import (
	"encoding/json"
	"math"
	"math/big"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/xinhari/xinhari/pkg/rpc/schema"
)

// holder is a message with one field.
type holder[T any] struct {
	X T `json:"x"`
}

type item struct {
	N int32 `json:"n"`
}

type colour int

type temperature struct{ celsius float64 }

func (t temperature) MarshalJSON() ([]byte, error) { return json.Marshal([]any{t.celsius, "C"}) }
func (t *temperature) UnmarshalJSON(data []byte) error {
	return json.Unmarshal(data, &[]any{&t.celsius, new(string)})
}

// corpusRow is a row of the table in docs/plain-go-messages.md.
type corpusRow struct {
	goType, proto, json string
	value               any
}

func row[T any](goType, proto, json string, v T) corpusRow {
	return corpusRow{goType, proto, json, &holder[T]{v}}
}

func corpus() []corpusRow {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678000000, time.UTC)
	return []corpusRow{
		row("`bool`", "`bool`", "`true`", true),
		row("`int8`, `int16`, `int32`", "`int32`", "`-5`", int8(-5)),
		row("`int`, `int64`", "`int64`", "`9007199254740993`", int64(1<<53+1)),
		row("`uint8`, `uint16`, `uint32`", "`uint32`", "`5`", uint16(5)),
		row("`uint`, `uint64`", "`uint64`", "`18446744073709551615`", uint64(math.MaxUint64)),
		row("`float32`", "`float`", "`0.5`", float32(0.5)),
		row("`float64`", "`double`", "`1e+100`", 1e100),
		row("`string`", "`string`", "`\"ü\"`", "ü"),
		row("`[]byte`", "`bytes`", "`\"aGVsbG8=\"`", []byte("hello")),
		row("`type Colour int`", "`int64`", "`2`", colour(2)),
		row("`time.Time`", "`google.protobuf.Timestamp`", "`\"2026-01-02T03:04:05.678Z\"`", at),
		row("`time.Duration`", "`int64`", "`1500000000`", 1500*time.Millisecond),
		row("`Item`, a struct", "`test.item`", "`{\"n\":1}`", item{1}),
		row("`*Item`", "`test.item`", "`{\"n\":0}`", &item{}),
		row("`*int32`", "`optional int32`", "`0`", new(int32)),
		row("`*string`", "`optional string`", "`\"\"`", new(string)),
		row("`struct{}`", "`google.protobuf.Empty`", "`{}`", struct{}{}),
		row("`[]int`", "`repeated int64`", "`[1,2]`", []int{1, 2}),
		row("`[2]byte`", "`repeated uint32`", "`[1,2]`", [2]byte{1, 2}),
		row("`[]Item`, `[]*Item`", "`repeated test.item`", "`[{\"n\":1},{\"n\":0}]`", []*item{{1}, {}}),
		row("`[][]byte`", "`repeated bytes`", "`[\"aGVsbG8=\"]`", [][]byte{[]byte("hello")}),
		row("`[][]float64`", "`repeated google.protobuf.ListValue`", "`[[1,2.5],[]]`", [][]float64{{1, 2.5}, {}}),
		row("`[]map[string]int`", "`repeated google.protobuf.Struct`", "`[{\"a\":1}]`", []map[string]int{{"a": 1}}),
		row("`map[string]int`", "`map<string, int64>`", "`{\"a\":1}`", map[string]int{"a": 1}),
		row("`map[uint8]Item`", "`map<uint32, test.item>`", "`{\"7\":{\"n\":1}}`", map[uint8]item{7: {1}}),
		row("`map[string][]int`", "`map<string, google.protobuf.ListValue>`", "`{\"a\":[1]}`", map[string][]int{"a": {1}}),
		row("`map[netip.Addr]bool`", "`map<string, bool>`", "`{\"192.0.2.1\":true}`", map[netip.Addr]bool{netip.MustParseAddr("192.0.2.1"): true}),
		row("`map[string]any`", "`google.protobuf.Struct`", "`{\"a\":[null,1.5,\"x\"]}`", map[string]any{"a": []any{nil, 1.5, "x"}}),
		row("`*[]int`", "`google.protobuf.ListValue`", "`[]`", &[]int{}),
		row("`any`", "`google.protobuf.Value`", "`{\"a\":1}`", any(map[string]any{"a": 1.0})),
		row("`[]any`", "`repeated google.protobuf.Value`", "`[1,null,\"x\"]`", []any{1.0, nil, "x"}),
		row("`json.RawMessage`", "`google.protobuf.Value`", "`[1,{\"a\":null}]`", json.RawMessage(`[1,{"a":null}]`)),
		row("`json.Number`", "`google.protobuf.Value`", "`1.5`", json.Number("1.5")),
		row("`encoding.TextMarshaler`: `netip.Addr`", "`string`", "`\"192.0.2.1\"`", netip.MustParseAddr("192.0.2.1")),
		row("`json.Marshaler`: `big.Int`, …", "`google.protobuf.Value`", "`[20.5,\"C\"]`", temperature{20.5}),
		row("`*durationpb.Duration`", "`google.protobuf.Duration`", "`{\"seconds\":3}`", durationpb.New(3*time.Second)),
	}
}

func equal(t *testing.T, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got, protocmp.Transform(), cmp.AllowUnexported(temperature{}),
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b *big.Int) bool { return a.Cmp(b) == 0 })); diff != "" {
		t.Error(diff)
	}
}

// TestCorpus holds, for each type of the table: that its schema is as the
// table says; that encoding/json and protobuf's JSON agree; that a client that
// has the schema alone sends the bytes that we send, and reads ours.
func TestCorpus(t *testing.T) {
	types := schema.New()
	for _, r := range corpus() {
		t.Run(r.goType, func(t *testing.T) {
			md := message(t, types, r.value)
			if got := "`" + fieldType(md.Fields().ByName("x")) + "`"; got != r.proto {
				t.Errorf("protobuf %s, want %s", got, r.proto)
			}
			text, err := json.Marshal(r.value)
			if err != nil {
				t.Fatal(err)
			}
			if got := "`" + strings.TrimSuffix(strings.TrimPrefix(string(text), `{"x":`), "}") + "`"; got != r.json {
				t.Errorf("JSON %s, want %s", got, r.json)
			}
			data, err := types.Marshal(r.value)
			if err != nil {
				t.Fatal(err)
			}
			back := reflect.New(reflect.TypeOf(r.value).Elem()).Interface()
			if err := types.Unmarshal(data, back); err != nil {
				t.Fatal(err)
			}
			equal(t, r.value, back)

			if r.goType == "`*durationpb.Duration`" { // encoding/json does not know protobuf's JSON
				return
			}
			if got, want := canonical(t, protoJSON(t, md, data)), canonical(t, text); got != want {
				t.Errorf("protobuf's JSON is %s, want %s", got, want)
			}
			// A client sends what it has parsed.
			sent := dynamicpb.NewMessage(md)
			if err := protojson.Unmarshal(text, sent); err != nil {
				t.Fatal(err)
			}
			want, err := proto.MarshalOptions{Deterministic: true}.Marshal(sent)
			if err != nil {
				t.Fatal(err)
			}
			if r.goType != "`struct{}`" { // which is absent here and present, and empty, there
				if diff := cmp.Diff(want, data); diff != "" {
					t.Errorf("bytes: %s", diff)
				}
			}
			received := reflect.New(reflect.TypeOf(r.value).Elem()).Interface()
			if err := types.Unmarshal(want, received); err != nil {
				t.Fatal(err)
			}
			equal(t, r.value, received)
		})
	}
}

// TestTheTableIsTheCorpus holds that the document has the corpus' rows, in
// order, and no others.
func TestTheTableIsTheCorpus(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/plain-go-messages.md")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, r := range corpus() {
		want = append(want, "| "+r.goType+" | "+r.proto+" | "+r.json+" |")
	}
	var got []string
	inTable := false
	for line := range strings.Lines(string(doc)) {
		switch {
		case strings.HasPrefix(line, "| Go |"):
			inTable = true
		case !strings.HasPrefix(line, "|"):
			inTable = false
		case inTable && !strings.HasPrefix(line, "|---"):
			cells := strings.SplitN(strings.ReplaceAll(line, "test.item", "test.item"), "|", 6)
			got = append(got, "|"+strings.Join(cells[1:4], "|")+"|")
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestWhole has the types that are messages by themselves.
func TestWhole(t *testing.T) {
	types := schema.New()
	str, n, b, at := "Joe", int64(-7), []byte("x"), time.Unix(1, 5).UTC()
	small, dur, addr := uint8(3), time.Second, netip.MustParseAddr("::1")
	m, list, anything, raw := map[string]any{"a": 1.0}, []item{{1}, {}}, any("x"), json.RawMessage(`{"a":[1]}`)
	counts := map[int]string{1: "a"}
	for _, tt := range []struct {
		want string
		v    any
	}{
		{"google.protobuf.StringValue", &str},
		{"google.protobuf.Int64Value", &n},
		{"google.protobuf.UInt32Value", &small},
		{"google.protobuf.Int64Value", &dur},
		{"google.protobuf.BoolValue", new(bool)},
		{"google.protobuf.DoubleValue", new(float64)},
		{"google.protobuf.FloatValue", new(float32)},
		{"google.protobuf.BytesValue", &b},
		{"google.protobuf.StringValue", &addr},
		{"google.protobuf.Timestamp", &at},
		{"google.protobuf.Struct", &m},
		{"google.protobuf.Struct", &counts},
		{"google.protobuf.ListValue", &list},
		{"google.protobuf.Value", &anything},
		{"google.protobuf.Value", &raw},
		{"google.protobuf.Value", big.NewInt(1 << 50)}, // a TextMarshaler, too
		{"google.protobuf.Empty", &struct{}{}},
		{"google.protobuf.Duration", durationpb.New(time.Second)},
		{"test.item", &item{3}},
		{"test.Service_DoRequest", &struct{ A int }{5}},
	} {
		t.Run(reflect.TypeOf(tt.v).String(), func(t *testing.T) {
			md := message(t, types, tt.v)
			if string(md.FullName()) != tt.want {
				t.Errorf("%s, want %s", md.FullName(), tt.want)
			}
			data, err := types.Marshal(tt.v)
			if err != nil {
				t.Fatal(err)
			}
			dynamic(t, md, data)
			back := reflect.New(reflect.TypeOf(tt.v).Elem()).Interface()
			if err := types.Unmarshal(data, back); err != nil {
				t.Fatal(err)
			}
			equal(t, tt.v, back)
		})
	}
}
