//go:build linux

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// binaryEnv is the environment variable with the path of a built binary; without it one is built.
const binaryEnv = "DEVCLUSTER_BINARY"

// kubernetes is the version that the binary is built from.
const kubernetes = "v1.36.3"

// patience is how long anything here may take on a busy machine.
const patience = 2 * time.Minute

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == webName {
		os.Exit(web(os.Args[1:]))
	}
	if os.Getenv(confinedEnv) != "" {
		fmt.Fprintln(os.Stderr, confine(os.Args[1:]))
		os.Exit(1)
	}
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	// A run once filled the machine's memory, and the kernel ended it without a word: here the runtime says where it was. What the
	// tests start has the same limit, each process for itself.
	const most = 6 << 30
	if err := unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: most, Max: most}); err != nil {
		fmt.Fprintln(os.Stderr, "limit memory:", err)
		return 1
	}
	if os.Getenv(binaryEnv) == "" {
		dir, err := os.MkdirTemp("", "devcluster-test-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binary := filepath.Join(dir, "devcluster")
		build := exec.Command("go", "build", "-o", binary, ".")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "build devcluster:", err)
			return 1
		}
		os.Setenv(binaryEnv, binary)
	}
	return m.Run()
}

// session is one run of devcluster.
type session struct {
	t      testing.TB
	cmd    *exec.Cmd
	pipe   io.Closer     // below lines
	init   int           // PID 1 of the cluster
	lines  *bufio.Reader // of its stdout
	stdin  io.WriteCloser
	stderr *buffer
	before world
	temp   string
	mnt    string          // the mount namespace of the command
	spaces map[string]bool // namespaces of all processes of the cluster
	seen   int             // when that was, in clock ticks since boot
}

// world is what a cluster must not change outside.
type world struct {
	Mounts string
	Temp   []string
}

func look(t testing.TB, temp string) world {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	w := world{Mounts: string(mounts)}
	entries, err := os.ReadDir(temp)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		w.Temp = append(w.Temp, e.Name())
	}
	return w
}

type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	const most, shown = 64 << 20, 4 << 10
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.text.Len() > most {
		panic(fmt.Sprintf("a cluster says more than anybody reads; it began with\n%s\nand goes on with\n%s", b.text.Bytes()[:shown], p[:min(len(p), shown)]))
	}
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// launch starts devcluster with args. Its script, when there is one, runs in sh in the cluster.
func launch(t testing.TB, script string, flags ...string) *session {
	t.Helper()
	args := append(append([]string{"run"}, flags...), "--", "sh", "-c", script)
	s := &session{t: t, cmd: exec.Command(os.Getenv(binaryEnv), args...), stderr: new(buffer), temp: t.TempDir()}
	s.cmd.Env = append(os.Environ(), "TMPDIR="+s.temp, "HOME="+s.temp)
	s.before = look(t, s.temp)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { read.Close() })
	s.lines, s.pipe = bufio.NewReader(read), read
	s.cmd.Stdout, s.cmd.Stderr = write, s.stderr
	if s.stdin, err = s.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	// Where a test fails half way, the cluster must not outlive it.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	write.Close()
	t.Cleanup(func() {
		s.cmd.Process.Kill()
		if s.init != 0 && len(s.left()) > 0 {
			unix.Kill(s.init, unix.SIGKILL)
		}
	})
	return s
}

// line returns the next line that the script printed.
func (s *session) line() string {
	s.t.Helper()
	timer := time.AfterFunc(patience, func() { s.cmd.Process.Kill() })
	defer timer.Stop()
	line, err := s.lines.ReadString('\n')
	if err != nil {
		s.t.Fatalf("no line from the cluster: %v\n%s", err, s.stderr)
	}
	return strings.TrimSpace(line)
}

// inside waits for the script to print the mount namespace that it is in, and records what is there.
func (s *session) inside() {
	s.t.Helper()
	s.mnt = s.line()
	if !strings.HasPrefix(s.mnt, "mnt:[") {
		s.t.Fatalf("want the mount namespace, got %q", s.mnt)
	}
	s.record()
}

// where is a script's first line for inside.
const where = "readlink /proc/self/ns/mnt; "

// wait returns the rest of the script's output and the exit code.
func (s *session) wait() (string, int) {
	s.t.Helper()
	timer := time.AfterFunc(patience, func() {
		s.cmd.Process.Kill()
		s.pipe.Close() // whatever survived that holds the other end
	})
	defer timer.Stop()
	rest, err := io.ReadAll(s.lines)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.cmd.Wait(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		s.t.Fatal(err)
	}
	return string(rest), s.cmd.ProcessState.ExitCode()
}

// record notes the namespaces of all that runs in the cluster now, for gone, and returns the number of processes.
func (s *session) record() int {
	s.t.Helper()
	s.seen = sinceBoot(s.t)
	own := namespaces(os.Getpid())
	s.spaces = make(map[string]bool)
	list := s.descendants()
	if len(list) > 0 {
		s.init = list[0]
	}
	for _, p := range list {
		for _, space := range namespaces(p) {
			if !slices.Contains(own, space) {
				s.spaces[space] = true
			}
		}
	}
	if len(list) > 0 && len(s.spaces) < 5 {
		s.t.Fatalf("namespaces of the cluster = %v", s.spaces)
	}
	return len(list)
}

// descendants are the processes below the outer one, a parent before its children: init first, then the supervisor.
func (s *session) descendants() []int {
	s.t.Helper()
	children := make(map[int][]int)
	for _, p := range processes(s.t) {
		children[stat(p, 4)] = append(children[stat(p, 4)], p)
	}
	list := slices.Clone(children[s.cmd.Process.Pid])
	for i := 0; i < len(list); i++ {
		list = append(list, children[list[i]]...)
	}
	return list
}

// gone fails the test unless nothing of the cluster is left.
func (s *session) gone() {
	s.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		left := s.left()
		if len(left) == 0 {
			break
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("left in the cluster's namespaces: %q", left)
		}
		// There is no event for the end of someone else's processes.
		time.Sleep(10 * time.Millisecond)
	}
	if diff := cmp.Diff(s.before, look(s.t, s.temp)); diff != "" {
		s.t.Errorf("the cluster changed the host (-before +after):\n%s", diff)
	}
}

// left are the command lines of the processes in the cluster's namespaces. Younger ones are others':
// the kernel uses the number of a namespace again when it is gone.
func (s *session) left() []string {
	s.t.Helper()
	var list []string
	for _, p := range processes(s.t) {
		if started(p) <= s.seen && slices.ContainsFunc(namespaces(p), func(space string) bool { return s.spaces[space] }) {
			line, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p), "cmdline"))
			list = append(list, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return list
}

// sinceBoot is the time in clock ticks since boot, of which there are 100 a second on every Linux.
func sinceBoot(t testing.TB) int {
	t.Helper()
	var seconds float64
	text, err := os.ReadFile("/proc/uptime")
	if err == nil {
		_, err = fmt.Sscan(string(text), &seconds)
	}
	if err != nil {
		t.Fatal(err)
	}
	return int(seconds * 100)
}

// started is when a process was started, in clock ticks since boot.
func started(pid int) int { return stat(pid, 22) }

// stat is a field of proc_pid_stat(5) with a number from 4 on, or 0 when the process has ended.
func stat(pid, number int) int {
	text, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	_, rest, _ := strings.Cut(string(text), ") ") // the end of the second field, a name
	fields := strings.Fields(rest)
	if len(fields) <= number-3 {
		return 0
	}
	n, _ := strconv.Atoi(fields[number-3])
	return n
}

func processes(t testing.TB) []int {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var list []int
	for _, dir := range dirs {
		if p, err := strconv.Atoi(filepath.Base(dir)); err == nil {
			list = append(list, p)
		}
	}
	return list
}

// namespaces returns those of a process, or none when it has ended.
func namespaces(pid int) []string {
	var list []string
	for _, kind := range []string{"user", "pid", "mnt", "net", "uts", "ipc"} {
		if space, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "ns", kind)); err == nil {
			list = append(list, space)
		}
	}
	return list
}

// pid returns the process that a name of this binary runs under, in the session's mount namespace.
func (s *session) pid(name string) int {
	s.t.Helper()
	for _, p := range processes(s.t) {
		line, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p), "cmdline"))
		first, _, _ := strings.Cut(string(line), "\x00")
		if filepath.Base(first) == name && slices.Contains(namespaces(p), s.mnt) {
			return p
		}
	}
	s.t.Fatalf("no process %s in the cluster", name)
	return 0
}

func TestRun(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	s := launch(t, where+`
		kubectl get namespace default --output=name
		kubectl get serviceaccount default --output=name
		kubectl version --output=json | grep -c `+kubernetes+`
		kubectl auth can-i '*' '*'
		pwd
		ls / | grep -c '^devcluster$'
		getent hosts kubernetes | sed 's/ .*//'
		wc -l < $DEVCLUSTER_DIR/logs/audit.log | grep -c '^[1-9]'
		echo mark > file
		exit 42`)
	s.inside()
	out, code := s.wait()
	want := "namespace/default\nserviceaccount/default\n2\nyes\n" + dir + "\n1\n10.96.0.1\n1\n"
	if diff := cmp.Diff(want, out); diff != "" {
		t.Errorf("output (-want +got):\n%s\n%s", diff, s.stderr)
	}
	if code != 42 {
		t.Errorf("exit code = %d, want the command's 42", code)
	}
	if text, err := os.ReadFile("file"); err != nil || string(text) != "mark\n" {
		t.Errorf("file that the command wrote = %q, %v", text, err)
	}
	s.gone()
}

func TestKilled(t *testing.T) {
	for _, victim := range []string{"outer process", "devcluster-supervisor", "devcluster-init"} {
		t.Run(victim, func(t *testing.T) {
			// The sleeper has left the command's process group and session; the pod is in namespaces of its own.
			s := launch(t, `setsid sleep 1000 & kubectl create deployment web --image=xinhari.local/web:dev >/dev/null
				kubectl rollout status deployment/web >/dev/null; `+where+`exec sleep 1000`, "--images", images(t))
			s.inside()
			pid := s.cmd.Process.Pid
			if victim != "outer process" {
				pid = s.pid(victim)
			}
			if n := s.record(); n < 9 || !slices.ContainsFunc(s.left(), func(line string) bool { return strings.Contains(line, "web") }) {
				t.Fatalf("%d processes, %q: not a whole cluster", n, s.left())
			}
			if err := unix.Kill(pid, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			if _, code := s.wait(); code == 0 {
				t.Error("exit code = 0")
			}
			s.gone()
		})
	}
}

// TestKilledAtAnyMoment starts clusters with a pod in them and kills a process of theirs, without
// warning, at some moment between the first instruction and the running pod.
func TestKilledAtAnyMoment(t *testing.T) {
	const starts, atOnce = 50, 3
	folder := images(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	t.Run("clusters", func(t *testing.T) {
		places := make(chan struct{}, atOnce)
		for i := range starts {
			moment, victim := time.Duration(random.Int64N(int64(9*time.Second))), random.Int()
			t.Run(fmt.Sprintf("%d, after %v", i, moment.Round(time.Millisecond)), func(t *testing.T) {
				t.Parallel()
				places <- struct{}{}
				defer func() { <-places }()
				s := launch(t, `kubectl create deployment web --image=xinhari.local/web:dev >/dev/null; setsid sleep 1000 & exec sleep 1000`, "--images", folder)
				time.Sleep(moment)
				s.record()
				pid := s.cmd.Process.Pid
				if all := s.descendants(); victim%2 == 1 && len(all) > 0 {
					pid = all[victim/2%min(2, len(all))] // init or the supervisor: other parts are started again
				}
				if err := unix.Kill(pid, unix.SIGKILL); err != nil {
					t.Fatal(err)
				}
				if _, code := s.wait(); code == 0 {
					t.Error("exit code = 0")
				}
				s.gone()
			})
		}
	})
	// Whatever left the namespaces that were seen is still a process of this binary.
	var binary unix.Stat_t
	if err := unix.Stat(os.Getenv(binaryEnv), &binary); err != nil {
		t.Fatal(err)
	}
	for _, p := range processes(t) {
		var exe unix.Stat_t
		if unix.Stat(fmt.Sprintf("/proc/%d/exe", p), &exe) == nil && exe.Ino == binary.Ino && exe.Dev == binary.Dev {
			line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p))
			t.Errorf("process %d is left: %q", p, line)
		}
	}
	if out, code := launch(t, "kubectl get namespace default --output=name").wait(); code != 0 || out != "namespace/default\n" {
		t.Errorf("the next cluster: exit code %d, output %q", code, out)
	}
}

func TestInterrupt(t *testing.T) {
	tests := []struct {
		name    string
		script  string
		signals []unix.Signal
		out     string
		code    int
	}{
		{
			name:    "the command ends in its own way while the cluster is there",
			script:  `trap 'kubectl get namespace default --output=name; exit 7' INT; echo; while :; do sleep 0.1; done`,
			signals: []unix.Signal{unix.SIGINT},
			out:     "namespace/default\n",
			code:    7,
		},
		{
			name:    "the command dies of it",
			script:  `echo; exec sleep 1000`,
			signals: []unix.Signal{unix.SIGTERM},
			code:    128 + int(unix.SIGTERM),
		},
		{
			name:    "the second one kills a command that will not end",
			script:  `trap 'echo no' INT; echo; while :; do sleep 0.1; done`,
			signals: []unix.Signal{unix.SIGINT, unix.SIGINT},
			code:    128 + int(unix.SIGKILL),
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := launch(t, where+test.script)
			s.inside()
			s.line()
			for i, signal := range test.signals {
				if i > 0 {
					s.line() // the trap ran: two of one kind at once would be one
				}
				if err := s.cmd.Process.Signal(signal); err != nil {
					t.Fatal(err)
				}
			}
			out, code := s.wait()
			if out != test.out || code != test.code {
				t.Errorf("output %q, exit code %d, want %q, %d\n%s", out, code, test.out, test.code, s.stderr)
			}
			s.gone()
		})
	}
}

func TestInterruptWhileStarting(t *testing.T) {
	s := launch(t, "echo started")
	if err := s.cmd.Process.Signal(unix.SIGINT); err != nil {
		t.Fatal(err)
	}
	out, code := s.wait()
	if out != "" || (code != 128+int(unix.SIGINT) && code != -1) {
		t.Errorf("output %q, exit code %d: the command ran", out, code)
	}
}

func TestComponents(t *testing.T) {
	s := launch(t, `
		devcluster stop kube-apiserver
		kubectl get namespaces >/dev/null 2>&1 || echo refused
		devcluster start kube-apiserver
		until kubectl get namespace default --output=name 2>/dev/null; do sleep 0.1; done
		devcluster pause kube-apiserver
		kubectl get namespaces --request-timeout=1s >/dev/null 2>&1 || echo silent
		devcluster start kube-apiserver
		kubectl get namespace default --output=name
		devcluster stop kubelet 2>/dev/null || echo unknown
		kill -9 $(pgrep -x kube-scheduler)
		until grep -q 'kube-scheduler ended' $DEVCLUSTER_DIR/logs/devcluster.log; do sleep 0.1; done
		until pgrep -x kube-scheduler >/dev/null; do sleep 0.1; done
		devcluster logs kube-scheduler | grep -c 'Starting Kubernetes Scheduler'`)
	out, code := s.wait()
	want := "refused\nnamespace/default\nsilent\nnamespace/default\nunknown\n"
	if got, ok := strings.CutPrefix(out, want); !ok || code != 0 {
		t.Errorf("output %q, exit code %d, want %q and the number of starts\n%s", got, code, want, s.stderr)
	}
}

func TestPods(t *testing.T) {
	s := launch(t, `
		kubectl create deployment web --image=xinhari.local/web:dev --port=8080 >/dev/null
		kubectl expose deployment web --port=80 --target-port=8080 >/dev/null
		kubectl rollout status deployment/web --timeout=60s | tail -1
		pod=$(kubectl get pods --output=jsonpath='{.items[0].metadata.name}')
		addr=$(kubectl get pods --output=jsonpath='{.items[0].status.podIP}')
		until web get http://web/ 2>/dev/null; do sleep 0.1; done
		devcluster cut $pod
		web get http://$addr:8080/ 2>/dev/null || echo cut off
		devcluster heal $addr
		until web get http://$addr:8080/ 2>/dev/null; do sleep 0.1; done
		devcluster cut nobody 2>&1 | grep -o 'not found'
		kubectl exec $pod -- /bin/sh -c 'echo in the pod'
		kubectl logs $pod`, "--images", images(t))
	out, code := s.wait()
	want := "deployment \"web\" successfully rolled out\nhello\ncut off\nhello\nnot found\nin the pod\nserving\n"
	if diff := cmp.Diff(want, out); diff != "" || code != 0 {
		t.Errorf("exit code %d, output (-want +got):\n%s\n%s", code, diff, s.stderr)
	}
}

func TestKubeconfigOfALivingCluster(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config")
	s := launch(t, "echo made; read line; true", "--kubeconfig", file)
	if line := s.line(); line != "made" {
		t.Fatalf("got %q, want made", line)
	}
	out, err := exec.Command(os.Getenv(binaryEnv), "run", "--kubeconfig", file, "--", "true").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "is of a cluster that runs") {
		t.Errorf("%v: %s", err, out)
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
	s.stdin.Close()
	if _, code := s.wait(); code != 0 {
		t.Errorf("exit code %d\n%s", code, s.stderr)
	}
}

func TestTwoClusters(t *testing.T) {
	script := func(name, other string) string {
		return where + `kubectl create namespace ` + name + ` >/dev/null; echo made; read line; kubectl get namespaces ` + other + ` >/dev/null 2>&1 || echo alone`
	}
	clusters := []*session{launch(t, script("a", "b")), launch(t, script("b", "a"))}
	for _, s := range clusters {
		s.inside()
		if line := s.line(); line != "made" {
			t.Errorf("got %q, want made", line)
		}
	}
	if clusters[0].mnt == clusters[1].mnt {
		t.Error("both clusters are in one mount namespace")
	}
	// Until here neither could end.
	for _, s := range clusters {
		s.stdin.Close()
	}
	for _, s := range clusters {
		if out, code := s.wait(); out != "alone\n" || code != 0 {
			t.Errorf("output %q, exit code %d, want alone, 0\n%s", out, code, s.stderr)
		}
		s.gone()
	}
}

// TestWithinAnother: what runs in a cluster may make one, as tests do that are started from the shell of one.
func TestWithinAnother(t *testing.T) {
	s := launch(t, `
		kubectl create namespace outer >/dev/null
		devcluster run -- sh -c 'kubectl get namespace outer 2>/dev/null || kubectl get nodes --output=name' 2>/dev/null
		kubectl get namespace outer --output=name`)
	if out, code := s.wait(); out != "node/node-1\nnamespace/outer\n" || code != 0 {
		t.Errorf("output %q, exit code %d\n%s", out, code, s.stderr)
	}
}

// TestWrongOrder: commands that wait for what cannot come say so.
func TestWrongOrder(t *testing.T) {
	s := launch(t, `
		kubectl run pod --image=xinhari.local/none:dev >/dev/null
		devcluster pause kube-controller-manager
		devcluster pause kube-apiserver
		devcluster cut pod 2>&1
		devcluster stop kube-apiserver
		devcluster stop etcd
		devcluster start kube-apiserver 2>&1 | grep -o 'devcluster start etcd'
		devcluster start etcd
		devcluster start kube-apiserver
		kubectl get namespace default --output=name
		grep -o '^State:.*' /proc/$(pgrep -x kube-controller)/status`)
	out, code := s.wait()
	want := "devcluster: find the pod's address, which may be given instead: no answer from the API server in 5s\n" +
		"devcluster start etcd\nnamespace/default\nState:\tT (stopped)\n"
	if diff := cmp.Diff(want, out); diff != "" || code != 0 {
		t.Errorf("exit code %d, output (-want +got):\n%s\n%s", code, diff, s.stderr)
	}
}

func TestCommandLine(t *testing.T) {
	tests := []struct {
		name string
		args []string
		code int
		want string // in its output
	}{
		{name: "no command", args: []string{"run"}, code: 125, want: "devcluster run -- COMMAND"},
		{name: "no such command", args: []string{"run", "--", "no-such-program"}, code: 127, want: "no-such-program"},
		{name: "no images", args: []string{"run", "--images", "/nowhere", "--", "true"}, code: 125, want: "/nowhere is not a folder"},
		{name: "outside", args: []string{"stop", "etcd"}, code: 1, want: "devcluster up"},
		{name: "version", args: []string{"version"}, code: 0, want: "Kubernetes v"},
		{name: "version flag", args: []string{"--version"}, code: 0, want: "Kubernetes v"},
		{name: "unknown", args: []string{"frobnicate"}, code: 1, want: "`devcluster --help` lists them"},
		{name: "mistyped", args: []string{"sttart", "etcd"}, code: 1, want: "did you mean start?"},
		{name: "unknown flag", args: []string{"stop", "--all"}, code: 1, want: "`devcluster stop --help` tells the flags"},
		{name: "unknown flag of run", args: []string{"run", "--noodles", "2", "--", "true"}, code: 125, want: "`devcluster run --help`"},
		{name: "no number", args: []string{"up", "--nodes", "x"}, code: 125, want: "--nodes"},
		{name: "no zone", args: []string{"run", "--zones", "a b", "--", "true"}, code: 125, want: "letters, digits"},
		{name: "no share", args: []string{"lose", "web-0", "NaN"}, code: 1, want: "is no share"},
		{name: "no component", args: []string{"pause", ""}, code: 1, want: "kube-scheduler"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cmd := exec.Command(os.Getenv(binaryEnv), test.args...)
			out, _ := cmd.CombinedOutput()
			if code := cmd.ProcessState.ExitCode(); code != test.code || !strings.Contains(string(out), test.want) {
				t.Errorf("exit code %d, output %q, want %d and %q", code, out, test.code, test.want)
			}
		})
	}
}

// TestInstallable: `go install` of a version refuses modules that replace others.
func TestInstallable(t *testing.T) {
	out, err := exec.Command("go", "mod", "edit", "-json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var module struct{ Replace, Exclude []any }
	if err := json.Unmarshal(out, &module); err != nil {
		t.Fatal(err)
	}
	if len(module.Replace)+len(module.Exclude) > 0 {
		t.Errorf("go.mod replaces or excludes modules: %v %v", module.Replace, module.Exclude)
	}
}

func TestAssets(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "assets")
	for range 2 { // again: over what is there
		out, err := exec.Command(os.Getenv(binaryEnv), "assets", dir).Output()
		if err != nil || string(out) != dir+"\n" {
			t.Fatalf("assets printed %q, %v, want the folder", out, err)
		}
	}
	for _, program := range []string{"etcd", "kube-apiserver"} {
		out, err := exec.Command(filepath.Join(dir, program), "--version").CombinedOutput()
		if err != nil {
			t.Errorf("%s --version: %v\n%s", program, err, out)
		}
	}
}

func TestAsOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("every other test is this one already")
	}
	const nobody = 65534
	dir, err := os.MkdirTemp("", "devcluster-user-") // the test's own folders are for root alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	copied := filepath.Join(dir, "devcluster")
	if out, err := exec.Command("cp", os.Getenv(binaryEnv), copied).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(copied, "run", "--", "sh", "-c", "kubectl get namespace default --output=name; devcluster logs etcd >/dev/null && touch file; exit 3")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	out, _ := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != 3 || !strings.Contains(string(out), "namespace/default") {
		t.Errorf("exit code %d, output:\n%s", code, out)
	}
	info, err := os.Stat(filepath.Join(dir, "file"))
	if err != nil {
		t.Fatal(err)
	}
	if uid := info.Sys().(*syscall.Stat_t).Uid; uid != nobody {
		t.Errorf("file belongs to %d, want the user's own %d", uid, nobody)
	}
}

// terminal makes a pseudo terminal and returns both its ends.
func terminal(t *testing.T) (near, far *os.File) {
	t.Helper()
	near, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close() })
	if err := unix.IoctlSetPointerInt(int(near.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(near.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	far, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { far.Close() })
	return near, far
}

func TestTerminal(t *testing.T) {
	near, far := terminal(t)
	// A shell is the session's leader, as where people work, and uses the terminal again after devcluster.
	script := os.Getenv(binaryEnv) + ` run -- sh -c 'trap "echo got it; exit 9" INT; echo go; read line; echo "line $line"; while :; do sleep 0.1; done'
		echo code $?; read line; echo "after: $line"`
	cmd := exec.Command("sh", "-c", script)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = far, far, far
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	far.Close()
	timer := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	defer timer.Stop()
	lines := bufio.NewScanner(near)
	expect := func(want string) {
		t.Helper()
		for lines.Scan() {
			if strings.HasSuffix(strings.TrimSpace(lines.Text()), want) { // the terminal shows ^C before it
				return
			}
		}
		t.Fatalf("the terminal ended before %q", want)
	}
	expect("go")
	io.WriteString(near, "typed\n")
	expect("line typed")
	io.WriteString(near, "\x03")
	expect("got it")
	expect("code 9")
	io.WriteString(near, "more\n")
	expect("after: more")
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
