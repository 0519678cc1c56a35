package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
)

// kubectlWith runs kubectl with an input.
func (c *cluster) kubectlWith(input string, args ...string) (string, error) {
	cmd := exec.Command(filepath.Join(c.binaries, "kubectl"), append([]string{"--kubeconfig=" + c.kubeconfig}, args...)...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// attach connects with a container's streams.
func (c *cluster) attach(ctx context.Context, name, container string, streams remotecommand.StreamOptions) error {
	options := &corev1.PodAttachOptions{
		Container: container, Stdin: streams.Stdin != nil, Stdout: streams.Stdout != nil, Stderr: streams.Stderr != nil, TTY: streams.Tty,
	}
	url := c.client.CoreV1().RESTClient().Post().Resource("pods").Namespace("default").Name(name).
		SubResource("attach").VersionedParams(options, scheme.ParameterCodec).URL()
	executor, err := remotecommand.NewWebSocketExecutor(c.config("admin"), http.MethodGet, url.String())
	if err != nil {
		return err
	}
	return executor.StreamWithContext(ctx, streams)
}

func TestStreams(t *testing.T) {
	c := newCluster(t)
	c.subtest(t, "kubectl run -i --rm feeds a program and shows what it writes", func(c *cluster) {
		c.create("warm", corev1.PodSpec{Containers: []corev1.Container{shell("main", "sleep 1000")}}) // The service account is there.
		out, err := c.kubectlWith("hello\n", "run", "interactive", "-i", "--rm", "--restart=Never", "--image=xinhari.local/web:dev",
			"--command", "--", "sh", "-c", "echo prompt; cat; echo end")
		if err != nil || !strings.Contains(out, "prompt\nhello\nend\n") {
			c.t.Errorf("%v: %s", err, out)
		}
	})
	c.subtest(t, "input stays open between clients unless it is once only", func(c *cluster) {
		for _, once := range []bool{false, true} {
			name := fmt.Sprint("input-", once)
			main := shell("main", "cat; echo closed; sleep 1000")
			main.Stdin, main.StdinOnce = true, once
			c.create(name, corev1.PodSpec{Containers: []corev1.Container{main}, TerminationGracePeriodSeconds: pointer(int64(1))})
			c.until(name, isReady)
			for i := range 2 {
				if once && i == 1 {
					break
				}
				ctx, cancel := context.WithCancel(c.t.Context())
				var out bytes.Buffer
				done := make(chan error, 1)
				go func() {
					done <- c.attach(ctx, name, "main", remotecommand.StreamOptions{Stdin: strings.NewReader(fmt.Sprintf("word %d\n", i)), Stdout: &out})
				}()
				c.eventually("the word has come", func(context.Context) error {
					log, _ := c.kubectl("logs", name)
					if want := fmt.Sprintf("word %d\n", i); !strings.Contains(log, want) {
						return fmt.Errorf("%q", log)
					}
					return nil
				})
				cancel()
				if err := <-done; !errors.Is(err, context.Canceled) {
					c.t.Error(err)
				}
			}
			if once {
				c.eventually("the input is closed", func(context.Context) error {
					if log := c.logsOf(name); !strings.Contains(log, "closed") {
						return fmt.Errorf("%s", log)
					}
					return nil
				})
			} else if log := c.logsOf(name); log != "word 0\nword 1\n" {
				c.t.Errorf("%q", log)
			}
			c.delete(name)
		}
	})
	c.subtest(t, "a container has a terminal", func(c *cluster) {
		main := shell("main", "test -t 0 && test -t 1 && stty -echo && echo ready; read x; stty size; echo got $x > /dev/tty")
		main.Stdin, main.TTY = true, true
		c.create("terminal", corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{main}})
		c.until("terminal", isReady)
		read, write := io.Pipe()
		var out bytes.Buffer
		done := make(chan error, 1)
		sizes := make(chan *remotecommand.TerminalSize, 1)
		sizes <- &remotecommand.TerminalSize{Width: 101, Height: 42}
		go func() {
			done <- c.attach(c.t.Context(), "terminal", "main", remotecommand.StreamOptions{Stdin: read, Stdout: &out, Tty: true, TerminalSizeQueue: queue(sizes)})
		}()
		c.eventually("the terminal has the client's size", func(context.Context) error {
			size, err := c.kubectl("exec", "terminal", "--", "sh", "-c", "stty size < /proc/1/fd/0")
			if !strings.Contains(size, "42 101") {
				return fmt.Errorf("%s %w", size, err)
			}
			return nil
		})
		if _, err := write.Write([]byte("word\n")); err != nil {
			c.t.Fatal(err)
		}
		if err := <-done; err != nil {
			c.t.Error(err)
		}
		if want := "ready\r\n42 101\r\ngot word\r\n"; out.String() != want {
			c.t.Errorf("%q", &out)
		}
		close(sizes)
	})
	c.subtest(t, "kubectl debug adds a container that sees another's processes", func(c *cluster) {
		c.create("debugged", corev1.PodSpec{Containers: []corev1.Container{shell("main", "sleep 1000; true")}, TerminationGracePeriodSeconds: pointer(int64(1))})
		c.until("debugged", isReady)
		out, err := c.kubectlWith("cat /proc/1/cmdline | tr '\\0' ' '; exit 3\n", "debug", "debugged", "-i", "--target=main", "--container=debugger",
			"--image=xinhari.local/web:dev", "--profile=general", "--", "sh")
		if !strings.Contains(out, "sleep 1000") {
			c.t.Errorf("%v: %s", err, out)
		}
		p := c.until("debugged", func(p *corev1.Pod) bool {
			return len(p.Status.EphemeralContainerStatuses) == 1 && p.Status.EphemeralContainerStatuses[0].State.Terminated != nil
		})
		if s := p.Status.EphemeralContainerStatuses[0]; s.State.Terminated.ExitCode != 3 || s.RestartCount != 0 || !isReady(p) {
			c.t.Errorf("%+v", p.Status)
		}
		if out, err := c.kubectlWith("", "debug", "debugged", "--container=second", "--image=xinhari.local/web:dev", "--", "sleep", "1000"); err != nil {
			c.t.Fatal(out)
		}
		c.until("debugged", func(p *corev1.Pod) bool {
			return len(p.Status.EphemeralContainerStatuses) == 2 && p.Status.EphemeralContainerStatuses[1].State.Running != nil
		})
		c.delete("debugged")
	})
	c.subtest(t, "files are copied both ways", func(c *cluster) {
		c.create("copy", sharing(corev1.PodSpec{Containers: []corev1.Container{shell("main", waits("main"))}}))
		c.until("copy", isReady)
		dir := c.t.TempDir()
		if err := os.WriteFile(dir+"/there", bytes.Repeat([]byte("0123456789"), 100_000), 0o600); err != nil {
			c.t.Fatal(err)
		}
		for _, args := range [][]string{{dir + "/there", "default/copy:/share/there"}, {"default/copy:/share/there", dir + "/back"}} {
			if out, err := c.kubectl(append([]string{"cp"}, args...)...); err != nil {
				c.t.Fatal(out)
			}
		}
		there, _ := os.ReadFile(dir + "/there")
		back, _ := os.ReadFile(dir + "/back")
		if !bytes.Equal(there, back) {
			c.t.Errorf("%d bytes came back of %d", len(back), len(there))
		}
		c.delete("copy")
	})
	c.subtest(t, "a forwarded port can be closed for writing only", func(c *cluster) {
		c.create("half", corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "xinhari.local/half:dev"}}})
		c.until("half", isReady)
		address := c.forward("half", "7")
		for range 3 {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				c.t.Fatal(err)
			}
			if _, err := conn.Write([]byte("question")); err != nil {
				c.t.Fatal(err)
			}
			if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
				c.t.Fatal(err)
			}
			// The answer is made when the question has ended.
			if answer, err := io.ReadAll(conn); err != nil || string(answer) != "QUESTION" {
				c.t.Errorf("%q, %v", answer, err)
			}
			conn.Close()
		}
		c.delete("half")
	})
	c.subtest(t, "logs", func(c *cluster) {
		script := "echo run >> /share/runs; n=$(wc -l < /share/runs); for i in 1 2 3; do echo line $n.$i; done; test $n -gt 1 || { while ! test -e /share/go; do sleep 0.05; done; exit 1; }; sleep 1000"
		c.create("log", sharing(corev1.PodSpec{Containers: []corev1.Container{shell("main", script)}, TerminationGracePeriodSeconds: pointer(int64(1))}))
		c.until("log", isReady)
		rest := c.following("log")
		if out, err := c.kubectl("exec", "log", "--", "touch", "/share/go"); err != nil {
			c.t.Fatal(out)
		}
		// Of one run, as with every kubelet.
		if got := rest(); got != "line 1.2\nline 1.3\n" {
			c.t.Errorf("-f: %q", got)
		}
		c.until("log", func(p *corev1.Pod) bool { return isReady(p) && p.Status.ContainerStatuses[0].RestartCount == 1 })
		c.eventually("it has written", func(context.Context) error {
			if got := c.logsOf("log"); got != "line 2.1\nline 2.2\nline 2.3\n" {
				return fmt.Errorf("%q", got)
			}
			return nil
		})
		tests := []struct{ args, want string }{
			{"-p", "line 1.1\nline 1.2\nline 1.3\n"},
			{"-p --tail=1", "line 1.3\n"},
			{"--since=1h", "line 2.1\nline 2.2\nline 2.3\n"},
			{"--since-time=2100-01-01T00:00:00Z", ""},
			{"--limit-bytes=12", "line 2.1\nlin"},
			{"--tail=0", ""},
		}
		for _, test := range tests {
			if got := c.logsOf(append([]string{"log"}, strings.Fields(test.args)...)...); got != test.want {
				c.t.Errorf("%s: %q", test.args, got)
			}
		}
		stamped := c.logsOf("log", "--timestamps", "--tail=1")
		if stamp, line, _ := strings.Cut(stamped, " "); line != "line 2.3\n" || !strings.HasPrefix(stamp, "20") || !strings.HasSuffix(stamp, "Z") {
			c.t.Errorf("--timestamps: %q", stamped)
		}
		c.delete("log")
	})
}

// forward returns a local address that leads to a port of the pod until the
// test ends.
func (c *cluster) forward(name, port string) string {
	c.t.Helper()
	cmd := exec.Command(filepath.Join(c.binaries, "kubectl"), "--kubeconfig="+c.kubeconfig, "port-forward", name, ":"+port)
	out, err := cmd.StdoutPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line := make([]byte, 200)
	n, err := out.Read(line)
	if err != nil {
		c.t.Fatal(err)
	}
	return strings.Fields(strings.TrimPrefix(string(line[:n]), "Forwarding from "))[0]
}

// queue is the sizes of a client's terminal.
type queue chan *remotecommand.TerminalSize

func (q queue) Next() *remotecommand.TerminalSize { return <-q }

// half answers each question, once it has ended, in capitals.
func half() {
	listener, err := net.Listen("tcp", ":7")
	if err != nil {
		panic(err)
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			panic(err)
		}
		question, _ := io.ReadAll(conn)
		_, _ = conn.Write(bytes.ToUpper(question))
		conn.Close()
	}
}
