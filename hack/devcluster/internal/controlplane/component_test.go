package controlplane

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// program writes a shell script as the program of a component.
func program(t *testing.T, name, script string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// fifo makes a named pipe: reading a line from it waits for a writer.
func fifo(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// supervise runs a component until the test ends.
func supervise(t *testing.T, c *component) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); c.run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
}

func alive(pid string) bool {
	_, err := os.Stat("/proc/" + pid)
	return err == nil
}

func TestComponentStartsAgainAfterAnEndUnasked(t *testing.T) {
	started := fifo(t)
	ended := make(chan string, 8)
	bin := program(t, "short", "echo last words; echo $$ >"+started+"; exit 3")
	c := newComponent("short", bin, t.TempDir(), nil, func(name string, err error) { ended <- name + ": " + err.Error() })
	supervise(t, c)
	for range 2 {
		read(t, started)
		if got, want := <-ended, "short: exit status 3"; got != want {
			t.Errorf("told %q, want %q", got, want)
		}
	}
	if got, want := c.lastLines(1), "last words"; got != want {
		t.Errorf("last line of the log = %q, want %q", got, want)
	}
}

func TestComponentStopsAndStarts(t *testing.T) {
	started := fifo(t)
	bin := program(t, "long", "echo $$ >"+started+"; exec sleep 1000")
	c := newComponent("long", bin, t.TempDir(), nil, func(name string, err error) { t.Errorf("%s: %v", name, err) })
	supervise(t, c)
	first := read(t, started)
	if err := c.ask(t.Context(), stop); err != nil {
		t.Fatal(err)
	}
	if alive(first) {
		t.Error("still there after stop")
	}
	if err := c.ask(t.Context(), pause); err == nil {
		t.Error("a stopped component was paused")
	}
	if err := c.ask(t.Context(), stop); err != nil {
		t.Errorf("second stop: %v", err)
	}
	if err := c.ask(t.Context(), start); err != nil {
		t.Fatal(err)
	}
	second := read(t, started)
	if first == second || !alive(second) {
		t.Errorf("process %s after start, %s before", second, first)
	}
}

func TestComponentPauses(t *testing.T) {
	started := fifo(t)
	bin := program(t, "long", "echo $$ >"+started+"; exec sleep 1000")
	c := newComponent("long", bin, t.TempDir(), nil, func(name string, err error) { t.Errorf("%s: %v", name, err) })
	supervise(t, c)
	pid := read(t, started)
	// A signal takes effect some time after it was sent, and nobody is told when.
	become := func(stopped bool) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); ; runtime.Gosched() {
			_, rest, _ := strings.Cut(read(t, "/proc/"+pid+"/stat"), ") ")
			if strings.HasPrefix(rest, "T") == stopped {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("state = %.1s, want stopped = %v", rest, stopped)
			}
		}
	}
	if err := c.ask(t.Context(), pause); err != nil {
		t.Fatal(err)
	}
	become(true)
	if err := c.ask(t.Context(), start); err != nil {
		t.Fatal(err)
	}
	become(false)
	if err := c.ask(t.Context(), pause); err != nil {
		t.Fatal(err)
	}
	if err := c.ask(t.Context(), stop); err != nil {
		t.Fatal(err)
	}
	if alive(pid) {
		t.Error("a paused component outlived stop")
	}
}
