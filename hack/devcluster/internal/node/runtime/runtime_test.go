package runtime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if main, ok := Lookup(filepath.Base(os.Args[0])); ok {
		main()
	}
	if filepath.Base(os.Args[0]) == "starter" {
		starter()
	}
	os.Exit(m.Run())
}

// starter starts a container, tells its process, and waits to be killed.
func starter() {
	s, err := NewSandbox("box", func(int) error { return nil })
	if err != nil {
		panic(err)
	}
	c, err := Start(s, &Spec{
		Root: os.Args[1], Args: []string{"/bin/sleep", "1000"}, UID: 65532, GID: 65532, Capabilities: DefaultCapabilities(),
	}, discard(), nil)
	if err != nil {
		panic(err)
	}
	fmt.Println(c.PID)
	<-c.Done()
}

func TestContainerEndsWithItsStarter(t *testing.T) {
	needRoot(t)
	cmd := &exec.Cmd{Path: "/proc/self/exe", Args: []string{"starter", t.TempDir()}, Stderr: os.Stderr}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Fscan(out, &pid); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	// The descriptor of a process can be read once it has ended.
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 5000); n != 1 || err != nil {
		t.Errorf("the container outlives its starter: %d, %v", n, err)
		_ = unix.Kill(pid, unix.SIGKILL)
	}
}

// needRoot skips where containers cannot be made; the node's tests make them
// in a user namespace, too.
func needRoot(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("not root")
	}
}

func newSandbox(t *testing.T) *Sandbox {
	needRoot(t)
	s, err := NewSandbox("box", func(int) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func script(t *testing.T, text string) *Spec {
	return &Spec{
		Root: t.TempDir(), Args: []string{"sh", "-c", text}, Env: []string{"PATH=/usr/bin:/bin"},
		UID: 65532, GID: 65532, Capabilities: DefaultCapabilities(),
	}
}

func discard() Streams { return Streams{Stdout: io.Discard, Stderr: io.Discard} }

// run returns what a container wrote and how it ended.
func run(t *testing.T, s *Sandbox, spec *Spec) (string, Exit) {
	t.Helper()
	var out bytes.Buffer
	c, err := Start(s, spec, Streams{Stdout: &out, Stderr: &out}, nil)
	if err != nil {
		t.Fatal(err)
	}
	exit := c.Exit()
	return out.String(), exit
}

func TestContainerSees(t *testing.T) {
	s := newSandbox(t)
	volume := t.TempDir()
	if err := os.WriteFile(volume+"/f", []byte("content\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, script, want string
		change             func(*Spec)
	}{
		{name: "its hostname", script: "hostname", want: "box\n"},
		{name: "its own processes only", script: "echo $$; echo /proc/[0-9]*", want: "1\n/proc/1\n"}, // no other program is started: the shell expands
		{name: "its user", script: "id -u; id -g", want: "65532\n65532\n"},
		{name: "no homes of the host", script: "ls /root /home 2>&1 | grep -v denied", want: "/home:\n"},
		{name: "a file that is given", script: "cat /etc/hosts", want: "x\n", change: func(s *Spec) { s.Files = map[string]string{"/etc/hosts": "x\n"} }},
		{name: "a volume under a folder of the host", script: "cat /usr/share/some/where/f; ls -d /usr/share/doc", want: "content\n/usr/share/doc\n", change: func(s *Spec) {
			s.Mounts = []Mount{{Source: volume, Target: "/usr/share/some/where"}}
		}},
		{name: "a read-only volume", script: "echo x 2>&- >/v/f || cat /v/f", want: "content\n", change: func(s *Spec) {
			s.UID, s.GID = 0, 0
			s.Mounts = []Mount{{Source: volume, Target: "/v", ReadOnly: true}}
		}},
		{name: "a place for scratch", script: "echo x > /tmp/f && cat /tmp/f", want: "x\n"},
		{name: "no place for scratch", script: "echo 2>/dev/null x > /tmp/f || echo no", want: "no\n", change: func(s *Spec) { s.ReadOnlyRoot = true }},
		{name: "its outputs as files", script: "echo x > /dev/stdout", want: "x\n"},
		{name: "the host's folders read-only, as root", script: "touch 2>/dev/null /usr/x || echo no", want: "no\n", change: func(s *Spec) { s.UID, s.GID = 0, 0 }},
		{name: "its capabilities", script: "grep CapEff /proc/self/status", want: "CapEff:\t0000000000000021\n", change: func(s *Spec) {
			s.UID, s.GID, s.Capabilities = 0, 0, []string{"CHOWN", "KILL"}
		}},
		{name: "no new privileges", script: "grep NoNewPrivs /proc/self/status", want: "NoNewPrivs:\t1\n", change: func(s *Spec) { s.NoNewPrivileges = true }},
		{name: "its working folder", script: "pwd", want: "/srv/here\n", change: func(s *Spec) { s.Dir = "/srv/here" }},
		{name: "its groups", script: "id -G", want: "65532 7\n", change: func(s *Spec) { s.Groups = []int{7} }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			spec := script(t, test.script)
			if test.change != nil {
				test.change(spec)
			}
			got, exit := run(t, s, spec)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("exit code %d: %s", exit.Code, diff)
			}
		})
	}
	if entries, err := os.ReadDir("/usr/share/some"); err == nil {
		t.Errorf("the host has got %v", entries)
	}
}

func TestExit(t *testing.T) {
	s := newSandbox(t)
	tests := []struct {
		name, script string
		want         Exit
	}{
		{"by itself", "exit 3", Exit{Code: 3}},
		{"with all it started", "sleep 1000 & exit 0", Exit{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			begun := time.Now()
			_, got := run(t, s, script(t, test.script))
			got.Time = time.Time{}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			if took := time.Since(begun); took > 5*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
	t.Run("by a signal", func(t *testing.T) {
		c, err := Start(s, script(t, "sleep 1000"), discard(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if got := c.Exit(); got.Code != 137 || got.Signal != syscall.SIGKILL {
			t.Errorf("%+v", got)
		}
		if err := c.Signal(syscall.SIGKILL); err != nil {
			t.Errorf("a signal after the end: %v", err)
		}
		if _, err := c.Exec(t.Context(), Command{Args: []string{"true"}}); !errors.Is(err, ErrEnded) {
			t.Errorf("a command after the end: %v", err)
		}
	})
	t.Run("before it began", func(t *testing.T) {
		spec := script(t, "")
		spec.Args = []string{"no-such-program"}
		if _, err := Start(s, spec, discard(), nil); err == nil || !strings.Contains(err.Error(), "no-such-program") {
			t.Error(err)
		}
	})
}

func TestExec(t *testing.T) {
	s := newSandbox(t)
	spec := script(t, "sleep 1000")
	spec.NoNewPrivileges, spec.Groups = true, []int{7, 8}
	c, err := Start(s, spec, discard(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { c.Signal(syscall.SIGKILL); <-c.Done() }()
	var out bytes.Buffer
	code, err := c.Exec(t.Context(), Command{
		Args:  []string{"sh", "-c", "hostname; id -u; id -G; cat; ls -d /proc/1; grep -E 'CapBnd|NoNew' /proc/self/status; exit 4"},
		Stdin: strings.NewReader("in\n"), Stdout: &out, Stderr: &out,
	})
	if err != nil || code != 4 {
		t.Errorf("%d, %v", code, err)
	}
	if diff := cmp.Diff("box\n65532\n65532 7 8\nin\n/proc/1\nCapBnd:\t00000000a00425fb\nNoNewPrivs:\t1\n", out.String()); diff != "" {
		t.Error(diff)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Exec(ctx, Command{Args: []string{"sleep", "1000"}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	terminal, err := OpenTerminal()
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.File.Close()
	if err := terminal.Resize(101, 42); err != nil {
		t.Fatal(err)
	}
	if code, err := c.Exec(t.Context(), Command{Args: []string{"sh", "-c", "test -t 0 && stty size"}, Terminal: terminal}); err != nil || code != 0 {
		t.Errorf("%d, %v", code, err)
	}
	terminal.CloseTTY()
	if got, _ := io.ReadAll(terminal.File); string(got) != "42 101\r\n" {
		t.Errorf("%q", got)
	}
}

func TestDial(t *testing.T) {
	s := newSandbox(t)
	outside, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer outside.Close()
	if conn, err := s.Dial(t.Context(), outside.Addr().(*net.TCPAddr).Port); err == nil {
		conn.Close()
		t.Error("the sandbox reaches the host's loopback")
	}
	if conn, err := net.Dial("tcp4", outside.Addr().String()); err != nil {
		t.Errorf("the host cannot reach its own loopback any more: %v", err)
	} else {
		conn.Close()
	}
}

func TestOpen(t *testing.T) {
	host := fstest.MapFS{"usr/bin/ls": {}, "usr/share/doc/a": {}, "usr/share/man/b": {}}
	tests := []struct {
		name    string
		targets []string
		want    []string
	}{
		{"nothing in it", []string{"/data", "/usrdata/x"}, []string{"/usr"}},
		{"one that exists", []string{"/usr/share/doc"}, []string{"/usr"}},
		{"one that does not", []string{"/usr/share/x/y"}, []string{"/usr/bin", "/usr/share/doc", "/usr/share/man"}},
		{"at the top", []string{"/usr/x"}, []string{"/usr/bin", "/usr/share"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, open("/usr", test.targets, host)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestMapped(t *testing.T) {
	m, err := parseMap("         0       1000          1\n      100    100000      65536\n")
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[int]bool{0: true, 1: false, 100: true, 65635: true, 65636: false} {
		if got := m.Contains(id); got != want {
			t.Errorf("%d: %t", id, got)
		}
	}
	if _, err := parseMap("0 x 1"); err == nil {
		t.Error("a broken map is read")
	}
}
