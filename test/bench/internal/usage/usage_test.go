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

func TestParseStatus(t *testing.T) {
	const status = "Name:\tbare\nVmRSS:\t   16984 kB\nRssAnon:\t    7000 kB\nRssFile:\t    9984 kB\nThreads:\t7\n"
	got, err := parseStatus([]byte(status))
	want := Memory{Resident: 16984 << 10, Anonymous: 7000 << 10, File: 9984 << 10}
	if err != nil || got != want {
		t.Errorf("parseStatus = %+v, %v, want %+v", got, err, want)
	}
	for _, bad := range []string{"", "VmRSS:\t1 kB\nRssAnon:\t1 kB\n", "VmRSS:\tone kB\n"} {
		if got, err := parseStatus([]byte(bad)); err == nil {
			t.Errorf("parseStatus(%q) = %+v, want an error", bad, got)
		}
	}
}

func TestReadMemory(t *testing.T) {
	m, err := ReadMemory()
	if err != nil || m.Anonymous == 0 || m.File == 0 || m.Resident < m.Anonymous+m.File {
		t.Errorf("ReadMemory = %+v, %v", m, err)
	}
}
