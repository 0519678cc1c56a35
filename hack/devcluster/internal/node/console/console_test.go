package console

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
)

// buffer is written to and read by several.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func write(t *testing.T, w io.Writer, text string) {
	t.Helper()
	if n, err := io.WriteString(w, text); n != len(text) || err != nil {
		t.Fatal(n, err)
	}
}

func TestAttach(t *testing.T) {
	tests := []struct {
		name    string
		options Options
		before  string
		want    string
	}{
		{name: "from now on", before: "before\n", want: "now\n"},
		{name: "an interactive one from the start", options: Options{Stdin: true}, before: "prompt> ", want: "prompt> now\n"},
		{name: "not where that is much", options: Options{Stdin: true}, before: strings.Repeat("x", backlogLimit+1), want: "now\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log, out, errs, late buffer
				c, streams, err := New(test.options, &log, &log)
				if err != nil {
					t.Fatal(err)
				}
				write(t, streams.Stdout, test.before)
				done := make(chan error, 2)
				go func() { done <- c.Attach(t.Context(), Client{Out: &out, Errs: &errs}) }()
				synctest.Wait()
				go func() { done <- c.Attach(t.Context(), Client{Out: &late}) }()
				synctest.Wait()
				write(t, streams.Stdout, "now\n")
				write(t, streams.Stderr, "complaint\n")
				c.Close()
				for range 2 {
					if err := <-done; err != nil {
						t.Error(err)
					}
				}
				got := []string{out.String(), errs.String(), late.String(), log.String()}
				if diff := cmp.Diff([]string{test.want, "complaint\n", "now\n", test.before + "now\ncomplaint\n"}, got); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

// stuck is a client that reads nothing until it is closed.
type stuck chan struct{}

func (s stuck) Write([]byte) (int, error) {
	<-s
	return 0, errors.New("closed")
}

func TestStuckClientLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log buffer
		c, streams, err := New(Options{}, &log, &log)
		if err != nil {
			t.Fatal(err)
		}
		client, attached, written := make(stuck), make(chan error, 1), make(chan struct{})
		go func() { attached <- c.Attach(t.Context(), Client{Out: client}) }()
		synctest.Wait()
		go func() {
			defer close(written)
			for range 100 {
				write(t, streams.Stdout, "x")
			}
		}()
		synctest.Wait()
		select {
		case <-written:
			t.Error("what is not read has been written")
		default:
		}
		close(client)
		if err := <-attached; err == nil {
			t.Error("a client that fails stays")
		}
		<-written
		if got := len(log.String()); got != 100 {
			t.Errorf("%d bytes in the log", got)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() { attached <- c.Attach(ctx, Client{}) }()
		synctest.Wait()
		cancel()
		if err := <-attached; err != nil {
			t.Error(err)
		}
		c.Close()
	})
}
