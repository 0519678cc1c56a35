package process

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

// program writes a shell script as a program.
func program(t *testing.T, name, script string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func supervised(name, bin, logs string, ended func(string, error)) *Supervised {
	return New(Options{Name: name, Path: filepath.Join(bin, name), Log: filepath.Join(logs, name+".log"), Ended: ended})
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

// supervise runs a program until the test ends.
func supervise(t *testing.T, c *Supervised) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); c.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
}

func alive(pid string) bool {
	_, err := os.Stat("/proc/" + pid)
	return err == nil
}

func TestStartsAgainAfterAnEndUnasked(t *testing.T) {
	started := fifo(t)
	ended := make(chan string, 8)
	bin := program(t, "short", "echo last words; echo $$ >"+started+"; exit 3")
	c := supervised("short", bin, t.TempDir(), func(name string, err error) { ended <- name + ": " + err.Error() })
	supervise(t, c)
	for range 2 {
		read(t, started)
		if got, want := <-ended, "short: exit status 3"; got != want {
			t.Errorf("told %q, want %q", got, want)
		}
	}
	if got, want := c.LastLines(1), "last words"; got != want {
		t.Errorf("last line of the log = %q, want %q", got, want)
	}
}

func TestStopsAndStarts(t *testing.T) {
	started := fifo(t)
	bin := program(t, "long", "echo $$ >"+started+"; exec sleep 1000")
	c := supervised("long", bin, t.TempDir(), func(name string, err error) { t.Errorf("%s: %v", name, err) })
	supervise(t, c)
	first := read(t, started)
	if err := c.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if alive(first) {
		t.Error("still there after stop")
	}
	if err := c.Pause(t.Context()); err == nil {
		t.Error("a stopped program was paused")
	}
	if err := c.Stop(t.Context()); err != nil {
		t.Errorf("second stop: %v", err)
	}
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := read(t, started)
	if first == second || !alive(second) {
		t.Errorf("process %s after start, %s before", second, first)
	}
}

func TestPauses(t *testing.T) {
	started := fifo(t)
	bin := program(t, "long", "echo $$ >"+started+"; exec sleep 1000")
	c := supervised("long", bin, t.TempDir(), func(name string, err error) { t.Errorf("%s: %v", name, err) })
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
	if err := c.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	become(true)
	if err := c.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !alive(pid) {
		t.Fatal("a restart, which is for those that run, ended a paused program")
	}
	become(true)
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	become(false)
	if err := c.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if alive(pid) {
		t.Error("a paused program outlived stop")
	}
}

func TestInputAndKill(t *testing.T) {
	said := fifo(t)
	bin := program(t, "reader", "trap 'echo asked' TERM; { cat <&3; echo $$; } >"+said+"; while :; do sleep 0.01; done")
	logs := t.TempDir()
	c := New(Options{
		Name: "reader", Path: filepath.Join(bin, "reader"), Log: filepath.Join(logs, "log"), Input: []byte("secret\n"),
		Ended: func(name string, err error) { t.Errorf("%s: %v", name, err) },
	})
	supervise(t, c)
	for range 2 { // The input is there for each start.
		secret, pid, _ := strings.Cut(read(t, said), "\n")
		if secret != "secret" {
			t.Errorf("read %q from descriptor 3", secret)
		}
		if err := c.Kill(t.Context()); err != nil {
			t.Fatal(err)
		}
		if alive(pid) {
			t.Error("still there after kill")
		}
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	read(t, said)
	if text := read(t, filepath.Join(logs, "log")); text != "" {
		t.Errorf("log = %q: it was asked to end", text)
	}
}
