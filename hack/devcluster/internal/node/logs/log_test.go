package logs

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// clock gives one second more with each look.
func clock() func() time.Time {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	return func() time.Time { now = now.Add(time.Second); return now }
}

func newLog(t *testing.T) *Log {
	l, err := Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	l.now = clock()
	t.Cleanup(func() { l.Close() })
	return l
}

func TestRead(t *testing.T) {
	l := newLog(t)
	stdout, stderr := l.Stream("stdout"), l.Stream("stderr")
	fmt.Fprint(stdout, "one\ntw")
	fmt.Fprint(stderr, "bad\n")
	fmt.Fprint(stdout, "o\n"+strings.Repeat("x", maxLine+1)+"\nend")
	stdout.Flush()
	long := strings.Repeat("x", maxLine+1) + "\n"
	tests := []struct {
		name string
		o    Options
		want string
	}{
		{"all", Options{Tail: -1}, "one\nbad\ntwo\n" + long + "end"},
		{"one stream", Options{Tail: -1, Stream: "stderr"}, "bad\n"},
		{"the last two", Options{Tail: 2, Stream: "stdout"}, "two\n" + long + "end"},
		{"none", Options{Tail: 0, Stream: "stderr"}, ""},
		{"more than there are", Options{Tail: 9, Stream: "stderr"}, "bad\n"},
		{"since", Options{Tail: -1, Since: time.Date(2026, 1, 1, 0, 0, 3, 0, time.UTC)}, "two\n" + long + "end"},
		{"limited", Options{Tail: -1, LimitBytes: 6}, "one\nba"},
		{"stamped", Options{Tail: -1, Timestamps: true, Stream: "stderr"}, "2026-01-01T00:00:02Z bad\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var got bytes.Buffer
			if err := l.Read(t.Context(), &got, test.o); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFollowAcrossFiles(t *testing.T) {
	l := newLog(t)
	l.limit = 100
	read, write := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- l.Read(context.Background(), write, Options{Follow: true, Tail: -1})
		write.Close()
	}()
	stdout := l.Stream("stdout")
	// Each line is read before the next is written: none may be lost.
	for i := range 50 {
		want := fmt.Sprintf("line %d\n", i)
		fmt.Fprint(stdout, want)
		got := make([]byte, len(want))
		if _, err := io.ReadFull(read, got); err != nil || string(got) != want {
			t.Fatalf("%q, %v, want %q", got, err, want)
		}
	}
	l.Close()
	if rest, err := io.ReadAll(read); err != nil || len(rest) > 0 {
		t.Errorf("%q, %v", rest, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	files, err := os.ReadDir(filepath.Dir(l.path))
	if err != nil || len(files) != 2 {
		t.Errorf("%d files, %v; want the last two", len(files), err)
	}
	l.Remove()
	if files, _ := os.ReadDir(filepath.Dir(l.path)); len(files) != 0 {
		t.Errorf("%d files are left", len(files))
	}
}

func TestFollowEndsWithItsContext(t *testing.T) {
	l := newLog(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Read(ctx, io.Discard, Options{Follow: true, Tail: -1}) }()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
