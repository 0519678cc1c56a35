package schema_test

import (
	"bytes"
	"encoding/json"
	"math"
	"net/netip"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/xinhari/xinhari/pkg/rpc/schema"
)

// field appends a field with a length.
func field(b []byte, n protowire.Number, body ...byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), body)
}

func varint(b []byte, n protowire.Number, x uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), x)
}

func TestDecode(t *testing.T) {
	group := protowire.AppendTag(varint(protowire.AppendTag(nil, 99, protowire.StartGroupType), 1, 7), 99, protowire.EndGroupType)
	// The fields of a google.protobuf.Timestamp, and an item's, in two parts.
	seconds, nanos := varint(nil, 1, 5), varint(nil, 2, 7)
	for _, tt := range []struct {
		name string
		data []byte
		want any
	}{
		{"numbers that are packed, and not, and both", append(varint(field(nil, 1, 1, 2), 1, 3), field(nil, 1, 4)...), &holder[[]int]{[]int{1, 2, 3, 4}}},
		{"an array's numbers, and one too many", varint(field(nil, 1, 1, 2), 1, 3), &holder[[2]uint8]{[2]uint8{1, 2}}},
		{"an array's numbers, in two parts", varint(varint(nil, 1, 3), 1, 4), &holder[[3]uint8]{[3]uint8{3, 4, 0}}},
		{"an array's messages", field(field(field(nil, 1, varint(nil, 1, 3)...), 1), 1, varint(nil, 1, 4)...), &holder[[2]item]{[2]item{{3}, {}}}},
		{"the last of several numbers", varint(varint(nil, 1, 3), 1, 4), &holder[int]{4}},
		{"the parts of a message", field(field(nil, 1, varint(nil, 1, 3)...), 1, varint(nil, 2, 4)...), &holder[*struct{ A, B int }]{&struct{ A, B int }{3, 4}}},
		{"the parts of a time", field(field(nil, 1, seconds...), 1, nanos...), &holder[time.Time]{time.Unix(5, 7).UTC()}},
		{"the parts of a map's message", field(nil, 1, slices.Concat(field(nil, 1, 'k'), field(nil, 2, seconds...), field(nil, 2, nanos...))...), &holder[map[string]time.Time]{map[string]time.Time{"k": time.Unix(5, 7).UTC()}}},
		{"the parts of a list of JSON", slices.Concat(field(nil, 1, field(nil, 6, field(nil, 1, field(nil, 3, 'a')...)...)...), field(nil, 1, field(nil, 6, field(nil, 1, field(nil, 3, 'b')...)...)...)), &holder[any]{[]any{"a", "b"}}},
		{"a map's entry without key and value", field(nil, 1), &holder[map[string]int]{map[string]int{"": 0}}},
		{"a map's message that is absent", field(nil, 1, field(nil, 1, 'k')...), &holder[map[string]*item]{map[string]*item{"k": {}}}},
		{"the last of a key's entries", field(field(nil, 1, varint(field(nil, 1, 'k'), 2, 1)...), 1, varint(field(nil, 1, 'k'), 2, 2)...), &holder[map[string]int]{map[string]int{"k": 2}}},
		{"fields that are not known", slices.Concat(varint(nil, 7, 1), field(nil, 1000, 1), group, varint(nil, 1, 5)), &holder[int]{5}},
		{"a field of another type", field(varint(nil, 1, 5), 1, 9), &holder[int]{5}},
		{"an int32 of more bits", varint(nil, 1, 1<<32|5), &holder[int32]{5}},
		{"a bool of more bits", varint(nil, 1, 2), &holder[bool]{true}},
		{"a Value without a kind", field(nil, 1), &holder[any]{nil}},
		{"nothing at all", nil, &holder[*item]{nil}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			types := schema.New()
			dynamic(t, message(t, types, tt.want), tt.data) // it is protobuf, too
			got := reflect.New(reflect.TypeOf(tt.want).Elem()).Interface()
			if err := types.Unmarshal(tt.data, got); err != nil {
				t.Fatal(err)
			}
			equal(t, tt.want, got)
		})
	}
	t.Run("nothing is kept of what was there, nor of the bytes", func(t *testing.T) {
		types := schema.New()
		data := field(nil, 1, 'a', 'b')
		v := &holder[[]byte]{[]byte("before")}
		if err := types.Unmarshal(data, v); err != nil {
			t.Fatal(err)
		}
		clear(data)
		if string(v.X) != "ab" {
			t.Errorf("got %q", v.X)
		}
		if err := types.Unmarshal(nil, v); err != nil || v.X != nil {
			t.Errorf("got %q, %v", v.X, err)
		}
	})
}

type chain struct {
	Next *chain
	List []chain
	Some int8
}

type fat struct {
	Room [1 << 10]int64
	N    int8
}

func TestErrorsNameTheField(t *testing.T) {
	types := schema.New()
	badUTF8 := string([]byte{0xff})
	deep := []byte{}
	for range 100 {
		deep = field(nil, 1, deep...)
	}
	wideValue := []byte{}
	for range 60 { // two levels of messages each
		wideValue = field(nil, 6, field(nil, 1, wideValue...)...)
	}
	for _, tt := range []struct {
		name string
		data []byte
		into any
		want string
	}{
		{"out of range", varint(nil, 3, 200), &chain{}, "Some: 200 is out of the range of int8"},
		{"out of range, unsigned", varint(nil, 1, 256), &holder[uint8]{}, "x: 256 is out of the range of uint8"},
		{"within others", field(field(nil, 2), 2, field(nil, 1, varint(nil, 3, 200)...)...), &chain{}, "List[1].Next.Some: 200 is out"},
		{"within a map", field(nil, 1, varint(field(nil, 1, 'k'), 2, 200)...), &holder[map[string]int8]{}, "x[k]: 200 is out"},
		{"in a packed list", field(nil, 1, 1, 0x80), &holder[[]int]{}, "x: unexpected EOF"},
		{"a length beyond the end", []byte{0x0a, 5, 1}, &holder[string]{}, "unexpected EOF"},
		{"text", field(nil, 1, 0xff), &holder[string]{}, "x: the string is no valid UTF-8"},
		{"a text that its type does not take", field(nil, 1, field(nil, 1, 'x')...), &holder[map[netip.Addr]bool]{}, "x[invalid IP]: "},
		{"a time", field(nil, 1, varint(nil, 2, 1e9)...), &holder[time.Time]{}, "x: the time is not within"},
		{"JSON that its type does not take", field(nil, 1, field(nil, 3, 'x')...), &holder[temperature]{}, "x: json: cannot unmarshal string"},
		{"a number that is too large", []byte{0x80, 0x80, 0x80, 0x80, 0x10, 0}, &chain{}, "number is too large"},
		{"too deep", deep, &chain{}, "messages lie within each other more than 100 deep"},
		{"too deep in JSON", field(nil, 1, wideValue...), &holder[any]{}, "x: "},
		{"more than a map's message", field(nil, 1, field(nil, 2, 0x0a)...), &holder[map[string]*item]{}, "x[]: "},
	} {
		t.Run("decoding "+tt.name, func(t *testing.T) {
			err := types.Unmarshal(tt.data, tt.into)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
	loop := &chain{}
	loop.Next = loop
	for _, tt := range []struct {
		name string
		v    any
		want string
	}{
		{"text", &holder[string]{badUTF8}, "x: the string is no valid UTF-8"},
		{"a key", &holder[map[string]int]{map[string]int{badUTF8: 1}}, "x[]: the string"},
		{"nil in a list", &holder[[]*item]{[]*item{{}, nil}}, "x[1]: nil: protobuf has no null"},
		{"nil in a map", &holder[map[string]*item]{map[string]*item{"k": nil}}, "x[k]: nil"},
		{"a time", &holder[time.Time]{time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}, "x: the time is not within"},
		{"digits that would be lost", &holder[any]{map[string]any{"a": []any{int64(1<<53 + 1)}}}, "x.a[0]: 9007199254740993 would lose digits as a float64"},
		{"a number beyond float64", &holder[json.Number]{"1e400"}, "out of the range of a float64"},
		{"what encoding/json refuses", &holder[any]{make(chan int)}, "unsupported type: chan int"},
		{"NaN in JSON", &holder[[][]float64]{[][]float64{{math.NaN()}}}, "NaN"},
		{"itself", loop, "messages lie within each other more than 100 deep"},
	} {
		t.Run("encoding "+tt.name, func(t *testing.T) {
			_, err := types.Marshal(tt.v)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
	t.Run("what is no pointer", func(t *testing.T) {
		for _, into := range []any{nil, item{}, (*item)(nil)} {
			if err := types.Unmarshal(nil, into); err == nil {
				t.Errorf("decoded into %#v", into)
			}
		}
		if _, err := types.Marshal(nil); err == nil {
			t.Error("encoded nil")
		}
	})
}

func TestValuesAndNilPointersAreEncoded(t *testing.T) {
	types := schema.New()
	for _, tt := range []struct {
		v    any
		want []byte
	}{
		{item{5}, varint(nil, 1, 5)},
		{(*item)(nil), nil},
		{"x", field(nil, 1, 'x')},
		{time.Time{}, varint(nil, 1, 1<<64-62135596800)},
		{map[string]any(nil), nil},
		{holder[item]{}, nil},
		{holder[[]item]{[]item{{}}}, field(nil, 1)},
		{holder[[1]int]{}, field(nil, 1, 0)},
		{holder[time.Time]{time.Unix(0, 0)}, field(nil, 1)},
	} {
		if got, err := types.Marshal(tt.v); err != nil || !bytes.Equal(got, tt.want) {
			t.Errorf("%#v: %x, %v, want %x", tt.v, got, err, tt.want)
		}
	}
}

// TestLengths has messages whose lengths take one byte, two and three, within
// each other.
func TestLengths(t *testing.T) {
	type inner struct {
		Text string
		N    []int
	}
	type outer struct {
		One   inner
		Many  []inner
		By    map[string]inner
		After string
	}
	types := schema.New()
	md := message(t, types, &outer{})
	for _, n := range []int{0, 1, 100, 123, 124, 125, 126, 127, 128, 200, 16381, 16382, 16383, 16384, 20000} {
		in := inner{Text: strings.Repeat("x", n), N: slices.Repeat([]int{300}, n/2)}
		want := &outer{One: in, Many: []inner{in, {}, in}, By: map[string]inner{"k": in}, After: "end"}
		data, err := types.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		if n/2 == 0 { // an empty list is none
			want.One.N, want.Many[0].N, want.Many[2].N, want.By["k"] = nil, nil, nil, inner{Text: in.Text}
		}
		if !bytes.Equal(data, canonicalBytes(t, md, data)) {
			t.Errorf("%d: these are not the bytes that protobuf has", n)
		}
		got := new(outer)
		if err := types.Unmarshal(data, got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%d: %s", n, diff)
		}
	}
}

// TestMemoryIsBounded has requests that would take more memory the more of
// nothing they have.
func TestMemoryIsBounded(t *testing.T) {
	types := schema.New()
	repeated := func(n int, part []byte) []byte { return bytes.Repeat(part, n) }
	entries := []byte{}
	for i := range uint64(100_000) {
		entries = field(entries, 1, protowire.AppendVarint([]byte{8}, i)...)
	}
	nested := []byte{}
	for range 90 { // each level has its child in two parts, which are put together
		nested = slices.Concat(field(nil, 1, nested...), field(nil, 1, 0x18, 0))
	}
	for _, tt := range []struct {
		name string
		data []byte
		into any
		ok   bool
	}{
		{"empty items of a list", repeated(1<<20, []byte{0x0a, 0}), &holder[[]fat]{}, false},
		{"empty items of a list of pointers", repeated(1<<20, []byte{0x0a, 0}), &holder[[]*fat]{}, false},
		{"empty entries of a map", entries, &holder[map[int]fat]{}, false},
		{"an honest list", repeated(1<<20, []byte{0x0a, 0}), &holder[[]item]{}, true},
		{"honest numbers", field(nil, 1, repeated(4<<20, []byte{1})...), &holder[[]int]{}, true},
		{"parts of parts", nested, &chain{}, true},
		{"parts without end", repeated(1<<20, []byte{0x0a, 2, 0x18, 0}), &chain{}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := types.Unmarshal(tt.data, tt.into)
			runtime.ReadMemStats(&after)
			if (err == nil) != tt.ok || err != nil && !strings.Contains(err.Error(), "far more memory than its bytes") {
				t.Errorf("got %v", err)
			}
			// What a list outgrew on its way counts here as well, and is garbage: it
			// grows by a quarter each time.
			if took, limit := after.TotalAlloc-before.TotalAlloc, uint64(32<<20+16*len(tt.data)); took > 6*limit {
				t.Errorf("%d MiB for %d bytes", took>>20, len(tt.data))
			}
		})
	}
}

// TestGeneratedMessagesAreThemselves holds that a message within a Go struct
// keeps what the Go struct does not know of it.
func TestGeneratedMessagesAreThemselves(t *testing.T) {
	types := schema.New()
	v := &holder[[]*testgrpc.Payload]{[]*testgrpc.Payload{{Body: []byte("a")}, {}}}
	data, err := types.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	data = field(data, 1, 0xf8, 0x7f, 1) // a field that nobody knows
	back := &holder[[]*testgrpc.Payload]{}
	if err := types.Unmarshal(data, back); err != nil {
		t.Fatal(err)
	}
	again, err := types.Marshal(back)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(data, again); diff != "" {
		t.Error(diff)
	}
}
