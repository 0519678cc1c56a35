package schema_test

import (
	"encoding/json"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/xinhari/xinhari/pkg/rpc/schema"
)

type smallMessage struct {
	Article  string `json:"article"`
	Quantity int    `json:"quantity"`
	By       string `json:"by"`
	Ready    bool   `json:"ready"`
}

type largeMessage struct {
	ID     int64           `json:"id"`
	Placed time.Time       `json:"placed"`
	Lines  []*smallMessage `json:"lines"`
	Counts map[string]int  `json:"counts"`
	Prices []float64       `json:"prices"`
	Note   *string         `json:"note,omitempty"`
	Nested struct{ A, B int }
}

// BenchmarkMessage has encoding/json, and protobuf's implementation for those
// who have a descriptor only, beside the plan of this package.
func BenchmarkMessage(b *testing.B) {
	note := "by the door"
	large := &largeMessage{ID: 1 << 40, Placed: time.Unix(1e9, 5).UTC(), Counts: map[string]int{"a": 1, "b": 2, "c": 3}, Prices: []float64{1.5, 2.25, 3}, Note: &note}
	for range 10 {
		large.Lines = append(large.Lines, &smallMessage{Article: "teapot", Quantity: 3, By: "inventory-7"})
	}
	for _, m := range []struct {
		name string
		v    any
		make func() any
	}{
		{"small", &smallMessage{Article: "teapot", Quantity: 3, By: "inventory-7", Ready: true}, func() any { return new(smallMessage) }},
		{"large", large, func() any { return new(largeMessage) }},
	} {
		types := schema.New()
		data, err := types.Marshal(m.v)
		if err != nil {
			b.Fatal(err)
		}
		text, err := json.Marshal(m.v)
		if err != nil {
			b.Fatal(err)
		}
		dyn := dynamic(b, message(b, types, m.v), data)
		for _, way := range []struct {
			name           string
			encode, decode func() error
		}{
			{"schema", func() error { _, err := types.Marshal(m.v); return err }, func() error { return types.Unmarshal(data, m.make()) }},
			{"json", func() error { _, err := json.Marshal(m.v); return err }, func() error { return json.Unmarshal(text, m.make()) }},
			{"dynamicpb", func() error { _, err := proto.Marshal(dyn); return err }, func() error { return proto.Unmarshal(data, dynamicpb.NewMessage(dyn.Descriptor())) }},
		} {
			for what, do := range map[string]func() error{"encode": way.encode, "decode": way.decode} {
				b.Run(m.name+"/"+what+"/"+way.name, func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						if err := do(); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		}
	}
}
