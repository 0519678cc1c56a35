package usage

import (
	"testing"
	"time"
)

func TestReadSeesWork(t *testing.T) {
	before, err := Read()
	if err != nil {
		t.Fatal(err)
	}
	const n, size = 1000, 4096
	kept := make([][]byte, 0, n)
	began := time.Now()
	for time.Since(began) < 30*time.Millisecond || len(kept) < n {
		if len(kept) < n {
			kept = append(kept, make([]byte, size))
		}
	}
	after, err := Read()
	if err != nil {
		t.Fatal(err)
	}
	u := after.Since(before)
	if u.CPU < 5*time.Millisecond || u.CPU > time.Minute {
		t.Errorf("CPU = %v after 30 ms of work", u.CPU)
	}
	if u.Mallocs < n || u.Bytes < n*size {
		t.Errorf("%d allocations of %d bytes, want at least %d of %d", u.Mallocs, u.Bytes, n, n*size)
	}
	if u.Resident < n*size {
		t.Errorf("resident: %d bytes, want more than the %d in use", u.Resident, n*size)
	}
	if len(kept) != n {
		t.Fatal("unreachable: kept keeps the memory in use")
	}
}

func TestParseStat(t *testing.T) {
	for _, c := range []struct {
		name, data string
		want       time.Duration
		bad        bool
	}{
		{"idle and iowait are not busy", "cpu  1 2 4 1000 2000 8 16 32 64 128\ncpu0 9 9 9", 630 * time.Millisecond, false},
		{"not a number", "cpu  1 2 x 1000 2000 8 16 32 64 128\n", 0, true},
		{"too short", "cpu  1 2 3\n", 0, true},
		{"something else", "intr 1 2 3 4 5 6 7 8 9\n", 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parseStat([]byte(c.data))
			if got != c.want || (err != nil) != c.bad {
				t.Errorf("parseStat = %v, %v", got, err)
			}
		})
	}
	if _, err := Machine(); err != nil {
		t.Error(err)
	}
}
