package schema_test

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/xinhari/xinhari/pkg/rpc/schema"
)

// exact has what protobuf has as well, so that nothing gets lost between the
// two: not the difference between an empty struct and none, for one.
type exact struct {
	Bool     bool
	I32      int32
	I64      int64
	U32      uint32
	U64      uint64
	F32      float32
	F64      float64
	S        string
	B        []byte
	Next     *exact
	OI       *int64
	OS       *string
	RI       []int64
	RF       []float32
	RS       []string
	RB       [][]byte
	RN       []*exact
	MS       map[string]int64
	MI       map[int32]*exact
	MB       map[uint64][]byte
	Far      bool `rpc:"100"`
	embedded      // numbered after Far
}

type embedded struct {
	E1 *uint32
	E2 []bool
}

func FuzzSameAsProtobuf(f *testing.F) {
	types := schema.New()
	md := message(f, types, &exact{})
	one, s := int64(1), "x"
	for _, v := range []*exact{
		{},
		{Bool: true, I32: -1, I64: 1 << 60, U32: 7, U64: 1 << 63, F32: 1.5, F64: -2, S: "ü", B: []byte{0}, OI: &one, OS: &s},
		{Next: &exact{Next: &exact{}}, RN: []*exact{{}, {S: "y"}}, MS: map[string]int64{"a": 1}, MI: map[int32]*exact{-1: {S: "z"}}},
		{RI: []int64{1, -1}, RF: []float32{1}, RS: []string{"", "a"}, RB: [][]byte{{}, {1}}, MB: map[uint64][]byte{1: {2}}, Far: true, embedded: embedded{E2: []bool{true, false}}},
	} {
		data, err := types.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		f.Add(append(bytes.Clone(data), data...))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		want := dynamicpb.NewMessage(md)
		panicked, wantErr := unmarshalDynamic(data, want)
		if panicked {
			return
		}
		var v exact
		err := types.Unmarshal(data, &v)
		if (err != nil) != (wantErr != nil) {
			t.Fatalf("%v, and for protobuf %v", err, wantErr)
		}
		if err != nil {
			return
		}
		again, err := types.Marshal(&v)
		if err != nil {
			t.Fatal(err)
		}
		got := dynamicpb.NewMessage(md)
		if err := proto.Unmarshal(again, got); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(want, got) {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}

// unmarshalDynamic is proto.Unmarshal, which panics in dynamicpb when the key
// of a map's entry has another wire type than the schema says.
func unmarshalDynamic(data []byte, m *dynamicpb.Message) (panicked bool, err error) {
	defer func() { panicked = recover() != nil }()
	return false, proto.UnmarshalOptions{DiscardUnknown: true, RecursionLimit: 100}.Unmarshal(data, m)
}

// everything has a field of each kind there is.
type everything struct {
	Exact  exact
	Any    any
	Anys   []any
	Raw    json.RawMessage
	Struct map[string]any
	Lists  [][]int
	At     time.Time
	Ats    []*time.Time
	Addr   netip.Addr
	Addrs  map[netip.Addr]item
	Array  [3]int8
	Arrays [2]item
	Took   time.Duration
	Temp   temperature
	Temps  *temperature
	Empty  *struct{}
	PList  *[]string
	Inner  struct{ A, B int }
	Self   *everything
	Selves []everything
}

// FuzzDecode holds that nothing that is received makes for a panic, or for
// memory without end, and that what was decoded once stays what it is.
func FuzzDecode(f *testing.F) {
	types := schema.New()
	now := time.Unix(1, 2).UTC()
	for _, v := range []*everything{
		{},
		{Any: "x", Anys: []any{nil, 1.5}, Raw: json.RawMessage(`{"a":[]}`), Struct: map[string]any{"a": true}, Lists: [][]int{{1}, nil}},
		{At: now, Ats: []*time.Time{&now}, Addr: netip.MustParseAddr("::1"), Addrs: map[netip.Addr]item{netip.MustParseAddr("::2"): {1}}},
		{Array: [3]int8{1, 2, 3}, Arrays: [2]item{{1}}, Took: 5, Temp: temperature{1}, Temps: &temperature{2}, Empty: &struct{}{}, PList: &[]string{"a"}},
		{Self: &everything{Selves: []everything{{}}}},
	} {
		data, err := types.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		f.Add(append(bytes.Clone(data), data...))
	}
	md := message(f, types, &everything{})
	f.Fuzz(func(t *testing.T, data []byte) {
		var v everything
		if err := types.Unmarshal(data, &v); err != nil {
			return
		}
		again, err := types.Marshal(&v)
		if err != nil {
			return // a time zone, or NaN, which a Value can have and JSON not
		}
		if err := proto.Unmarshal(again, dynamicpb.NewMessage(md)); err != nil {
			t.Fatalf("protobuf does not take what was encoded: %v", err)
		}
		var back everything
		if err := types.Unmarshal(again, &back); err != nil {
			t.Fatalf("%v, of %x", err, again)
		}
		third, err := types.Marshal(&back)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(canonicalBytes(t, md, again), canonicalBytes(t, md, third)) {
			t.Fatalf("%x, and again %x", again, third)
		}
	})
}
