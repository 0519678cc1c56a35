package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xinhari/xinhari/test/bench/internal/usage"
)

func TestMemory(t *testing.T) {
	bare := usage.Memory{Resident: 17_000_000, Anonymous: 7_000_000, File: 10_000_000}
	for _, c := range []struct {
		name string
		own  usage.Memory
		want string
	}{
		{"little more", usage.Memory{Resident: 28_960_000, Anonymous: 12_000_000, File: 16_960_000}, "≤ 12 MB more: 12.0 ok"},
		{"too much", usage.Memory{Resident: 29_200_000, Anonymous: 12_000_000, File: 17_200_000}, "≤ 12 MB more: 12.2 missed"},
		{"less", usage.Memory{Resident: 16_000_000}, "≤ 12 MB more: -1.0 ok"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := (memory{Bare: bare, Own: c.own}).more(); got != c.want {
				t.Errorf("more = %q, want %q", got, c.want)
			}
		})
	}
	got := memory{Calls: 5, Bare: bare, Own: bare}.rows()
	want := [][]string{
		{"pod, after 5 calls", "resident, MB", "its own", "of files", "target"},
		{"bare", "17.0", "7.0", "10.0", ""},
		{"own", "17.0", "7.0", "10.0", "≤ 12 MB more: 0.0 ok"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
