package child

import (
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
)

// TestMain is also the child's main.
func TestMain(m *testing.M) {
	if len(os.Args) != 2 || os.Args[1] != "child" {
		os.Exit(m.Run())
	}
	err := Serve(context.Background(), os.Stdin, os.Stdout, map[string]Handler{
		"double": Handle(func(_ context.Context, n int) (int, error) { return 2 * n, nil }),
		"refuse": Handle(func(context.Context, any) (any, error) { return nil, errors.New("not today") }),
		"pid":    Handle(func(context.Context, any) (int, error) { return os.Getpid(), nil }),
		"die":    Handle(func(context.Context, any) (any, error) { os.Exit(3); return nil, nil }),
		"hang":   Handle(func(ctx context.Context, _ any) (any, error) { <-ctx.Done(); return nil, nil }),
	})
	if err != nil {
		os.Exit(1)
	}
}

func start(ctx context.Context, t *testing.T) *Process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p, err := Start(ctx, self, "child")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAsk(t *testing.T) {
	p := start(t.Context(), t)
	for _, n := range []int{1, 21} {
		var got int
		if err := p.Ask("double", n, &got); err != nil || got != 2*n {
			t.Errorf("double %d = %d, %v", n, got, err)
		}
	}
	for _, c := range []struct {
		name, ask string
		with      any
		want      string
	}{
		{"the child's error", "refuse", nil, "not today"},
		{"a question nobody knows", "sing", nil, `nobody here knows "sing"`},
		{"of another type", "double", "two", "cannot unmarshal"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := p.Ask(c.ask, c.with, nil); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Ask = %v, want %q", err, c.want)
			}
		})
	}
	var pid int
	if err := p.Ask("pid", nil, &pid); err != nil || pid == os.Getpid() {
		t.Errorf("the child's pid is %d, ours %d: %v", pid, os.Getpid(), err)
	}
	if err := p.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the child is still there: %v", err)
	}
}

func TestChildThatDies(t *testing.T) {
	p := start(t.Context(), t)
	if err := p.Ask("die", nil, nil); err == nil || !strings.Contains(err.Error(), "ended without an answer") {
		t.Errorf("Ask = %v", err)
	}
	if err := p.Close(); err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("Close = %v, want the exit status", err)
	}
}

func TestCancelKillsTheChild(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p := start(ctx, t)
	if err := p.Ask("double", 1, nil); err != nil {
		t.Fatal(err)
	}
	asked := make(chan error)
	go func() { asked <- p.Ask("hang", nil, nil) }()
	cancel()
	if err := <-asked; err == nil {
		t.Error("a child that hangs answered")
	}
	if err := p.Close(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("Close = %v, want that it was killed", err)
	}
}
