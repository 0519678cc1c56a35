package node

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
)

// shell is a container that runs a script.
func shell(name, script string) corev1.Container {
	return corev1.Container{Name: name, Image: "xinhari.local/web:dev", Command: []string{"sh", "-c", script}}
}

func (c *cluster) create(name string, spec corev1.PodSpec) {
	c.t.Helper()
	c.eventually("pod "+name+" can be made", func(ctx context.Context) error { // Its service account may not be there yet.
		_, err := c.client.CoreV1().Pods("default").Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}, metav1.CreateOptions{})
		return err
	})
}

// until waits for a state of a pod and returns it.
func (c *cluster) until(name string, is func(*corev1.Pod) bool) *corev1.Pod {
	c.t.Helper()
	var p *corev1.Pod
	c.eventually("pod "+name, func(ctx context.Context) (err error) {
		if p, err = c.client.CoreV1().Pods("default").Get(ctx, name, metav1.GetOptions{}); err != nil {
			return err
		}
		if !is(p) {
			return fmt.Errorf("%+v", p.Status)
		}
		return nil
	})
	return p
}

func (c *cluster) delete(name string) (took time.Duration) {
	c.t.Helper()
	begun := time.Now()
	if err := c.client.CoreV1().Pods("default").Delete(c.t.Context(), name, metav1.DeleteOptions{}); err != nil {
		c.t.Fatal(err)
	}
	c.eventually("pod "+name+" is gone", func(ctx context.Context) error {
		_, err := c.client.CoreV1().Pods("default").Get(ctx, name, metav1.GetOptions{})
		if !apierrors.IsNotFound(err) {
			return fmt.Errorf("it is there: %w", err)
		}
		return nil
	})
	return time.Since(begun)
}

func phaseIs(phase corev1.PodPhase) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool { return p.Status.Phase == phase }
}

func waitsFor(reason string) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool {
		for _, s := range p.Status.ContainerStatuses {
			if s.State.Waiting != nil && s.State.Waiting.Reason == reason {
				return true
			}
		}
		return false
	}
}

func TestPods(t *testing.T) {
	c := newCluster(t)
	on := func(t *testing.T) *cluster { sub := *c; sub.t = t; return &sub }

	t.Run("init containers run in turn before the others", func(t *testing.T) {
		c := on(t)
		share := []corev1.VolumeMount{{Name: "share", MountPath: "/share"}}
		first, second, main := shell("first", "echo 1 >> /share/f"), shell("second", "echo 2 >> /share/f"), shell("main", "cat /share/f; echo done > /dev/termination-log")
		first.VolumeMounts, second.VolumeMounts, main.VolumeMounts = share, share, share
		c.create("init", corev1.PodSpec{
			RestartPolicy:  corev1.RestartPolicyNever,
			InitContainers: []corev1.Container{first, second}, Containers: []corev1.Container{main},
			Volumes: []corev1.Volume{{Name: "share", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}}}},
		})
		p := c.until("init", phaseIs(corev1.PodSucceeded))
		if got := p.Status.ContainerStatuses[0].State.Terminated; got.Reason != "Completed" || got.Message != "done\n" {
			t.Errorf("%+v", got)
		}
		if out, err := c.kubectl("logs", "init"); err != nil || out != "1\n2\n" && !strings.HasSuffix(out, "\n1\n2\n") {
			t.Errorf("%v: %q", err, out)
		}
		if took := c.delete("init"); took > 10*time.Second {
			t.Errorf("deletion took %s", took)
		}
	})
	t.Run("a failed container is not restarted by Never", func(t *testing.T) {
		c := on(t)
		c.create("never", corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{shell("main", "exit 3")}})
		p := c.until("never", phaseIs(corev1.PodFailed))
		if s := p.Status.ContainerStatuses[0]; s.State.Terminated.ExitCode != 3 || s.RestartCount != 0 || s.State.Terminated.Reason != "Error" {
			t.Errorf("%+v", s)
		}
	})
	t.Run("a container that ends again and again backs off", func(t *testing.T) {
		c := on(t)
		c.create("crash", corev1.PodSpec{Containers: []corev1.Container{shell("main", "exit 3")}})
		p := c.until("crash", waitsFor("CrashLoopBackOff"))
		if s := p.Status.ContainerStatuses[0]; s.RestartCount != 1 || s.LastTerminationState.Terminated.ExitCode != 3 || p.Status.Phase != corev1.PodRunning {
			t.Errorf("%s: %+v", p.Status.Phase, s)
		}
		if took := c.delete("crash"); took > 10*time.Second {
			t.Errorf("deletion took %s", took)
		}
	})
	t.Run("an image that is not here says what to do", func(t *testing.T) {
		c := on(t)
		spec := corev1.PodSpec{Containers: []corev1.Container{shell("main", "")}}
		spec.Containers[0].Image = "xinhari.local/absent:dev"
		c.create("absent", spec)
		message := c.until("absent", waitsFor("ErrImagePull")).Status.ContainerStatuses[0].State.Waiting.Message
		if !strings.Contains(message, "go build -o") || !strings.Contains(message, "web") {
			t.Error(message)
		}
		c.delete("absent")
	})
	t.Run("an unknown field is refused by name", func(t *testing.T) {
		c := on(t)
		c.create("refused", corev1.PodSpec{HostPID: true, Containers: []corev1.Container{shell("main", "")}})
		message := c.until("refused", waitsFor("Unsupported")).Status.ContainerStatuses[0].State.Waiting.Message
		if !strings.Contains(message, "spec.hostPID") {
			t.Error(message)
		}
		c.eventually("an event says so", func(ctx context.Context) error {
			events, err := c.client.CoreV1().Events("default").List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=refused,reason=Unsupported"})
			if err == nil && len(events.Items) == 0 {
				err = fmt.Errorf("there is none")
			}
			return err
		})
		c.delete("refused")
	})
	t.Run("grace ends with a kill", func(t *testing.T) {
		c := on(t)
		grace := int64(1)
		c.create("stubborn", corev1.PodSpec{TerminationGracePeriodSeconds: &grace, Containers: []corev1.Container{shell("main", "trap '' TERM; while :; do sleep 1; done")}})
		c.until("stubborn", isReady)
		if took := c.delete("stubborn"); took < time.Second || took > 20*time.Second {
			t.Errorf("deletion took %s", took)
		}
	})
	t.Run("hooks run", func(t *testing.T) {
		c := on(t)
		spec := webSpec()
		spec.Volumes, spec.Containers[0].VolumeMounts, spec.Containers[0].Env = nil, nil, nil
		run := func(script string) *corev1.LifecycleHandler {
			return &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"sh", "-c", script}}}
		}
		spec.Containers[0].Lifecycle = &corev1.Lifecycle{PostStart: run("echo begun > /proc/1/fd/1"), PreStop: run("echo ending > /proc/1/fd/1; sleep 0.3")}
		c.create("hooks", spec)
		c.until("hooks", isReady)
		cmd := exec.Command(filepath.Join(c.binaries, "kubectl"), "--kubeconfig="+c.kubeconfig, "logs", "-f", "hooks")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(out)
		if line, err := lines.ReadString('\n'); err != nil {
			t.Fatal(line, err)
		}
		c.delete("hooks")
		rest, _ := io.ReadAll(lines)
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
		for _, want := range []string{"ending", "stopping"} {
			if !strings.Contains(string(rest), want) {
				t.Errorf("the log lacks %q: %s", want, rest)
			}
		}
	})
	t.Run("a port is forwarded to the loopback", func(t *testing.T) {
		c := on(t)
		spec := webSpec()
		spec.Volumes, spec.Containers[0].VolumeMounts, spec.Containers[0].Env = nil, nil, nil
		c.create("forward", spec)
		c.until("forward", isReady)
		cmd := exec.Command(filepath.Join(c.binaries, "kubectl"), "--kubeconfig="+c.kubeconfig, "port-forward", "forward", ":8080")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
		line, err := bufio.NewReader(out).ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		address := strings.Fields(strings.TrimPrefix(line, "Forwarding from "))[0]
		for range 2 {
			res, err := http.Get("http://" + address + "/healthz")
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.StatusCode != http.StatusOK {
				t.Error(res.Status)
			}
		}
		c.delete("forward")
	})
	t.Run("commands have terminals, and containers are attached to", func(t *testing.T) {
		c := on(t)
		c.create("tty", corev1.PodSpec{Containers: []corev1.Container{shell("main", "while :; do echo tick; sleep 0.1; done")}})
		c.until("tty", isReady)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		stream := func(subresource string, options runtime.Object, streams remotecommand.StreamOptions) error {
			url := c.client.CoreV1().RESTClient().Post().Resource("pods").Namespace("default").Name("tty").
				SubResource(subresource).VersionedParams(options, scheme.ParameterCodec).URL()
			executor, err := remotecommand.NewWebSocketExecutor(c.config("admin"), http.MethodGet, url.String())
			if err != nil {
				return err
			}
			return executor.StreamWithContext(ctx, streams)
		}
		var out bytes.Buffer
		err := stream("exec", &corev1.PodExecOptions{Stdin: true, Stdout: true, TTY: true, Command: []string{"sh", "-c", "test -t 0 && read x && echo got $x"}},
			remotecommand.StreamOptions{Stdin: strings.NewReader("word\n"), Stdout: &out, Tty: true})
		if err != nil || !strings.Contains(out.String(), "got word") {
			t.Errorf("exec: %v: %q", err, &out)
		}
		read, write := io.Pipe()
		attached := make(chan error, 1)
		go func() {
			attached <- stream("attach", &corev1.PodAttachOptions{Stdout: true}, remotecommand.StreamOptions{Stdout: write})
			write.Close()
		}()
		if line, err := bufio.NewReader(read).ReadString('\n'); line != "tick\n" {
			t.Errorf("attach: %q, %v", line, err)
		}
		cancel()
		read.Close()
		<-attached
	})
	t.Run("a deadline fails the pod", func(t *testing.T) {
		c := on(t)
		seconds := int64(1)
		c.create("late", corev1.PodSpec{ActiveDeadlineSeconds: &seconds, Containers: []corev1.Container{shell("main", "trap 'exit 0' TERM; while :; do sleep 0.1; done")}})
		if p := c.until("late", phaseIs(corev1.PodFailed)); p.Status.Reason != "DeadlineExceeded" {
			t.Errorf("%+v", p.Status)
		}
	})
	t.Run("many pods come and go", func(t *testing.T) {
		c := on(t)
		const many = 20
		begun := time.Now()
		for i := range many {
			spec := webSpec()
			spec.Volumes, spec.Containers[0].VolumeMounts, spec.Containers[0].Env = nil, nil, nil
			spec.Containers[0].LivenessProbe = nil
			c.create(fmt.Sprint("many-", i), spec)
		}
		addresses := map[string]bool{}
		for i := range many {
			addresses[c.until(fmt.Sprint("many-", i), isReady).Status.PodIP] = true
		}
		t.Log("ready after", time.Since(begun))
		if len(addresses) != many {
			t.Errorf("%d addresses", len(addresses))
		}
		begun = time.Now()
		var all sync.WaitGroup
		for i := range many {
			all.Go(func() { c.delete(fmt.Sprint("many-", i)) })
		}
		all.Wait()
		t.Log("gone after", time.Since(begun))
	})
	t.Run("the kubelet's API asks who may use it", func(t *testing.T) {
		c := on(t)
		for _, user := range []string{"scheduler", "kubelet"} {
			config := rest.AnonymousClientConfig(c.config(user))
			config.TLSClientConfig = c.config(user).TLSClientConfig
			client, err := rest.HTTPClientFor(config)
			if err != nil {
				t.Fatal(err)
			}
			res, err := client.Get("https://10.245.0.1:10250/containerLogs/default/absent/main")
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			want := map[string]int{"scheduler": http.StatusForbidden, "kubelet": http.StatusBadRequest}[user]
			if res.StatusCode != want {
				t.Errorf("%s: %s", user, res.Status)
			}
		}
		pool := x509.NewCertPool()
		pool.AddCert(c.ca.cert)
		anonymous := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
		if res, err := anonymous.Get("https://10.245.0.1:10250/healthz"); err == nil {
			res.Body.Close()
			t.Errorf("without a certificate: %s", res.Status)
		}
	})
	t.Run("nothing is written at rest", func(t *testing.T) {
		c := on(t)
		c.create("rest", corev1.PodSpec{Containers: []corev1.Container{shell("main", "sleep 1000")}})
		c.until("rest", isReady)
		seconds := int64(2)
		events, err := c.client.CoreV1().Pods("default").Watch(t.Context(), metav1.ListOptions{
			FieldSelector: "metadata.name=rest", ResourceVersion: c.until("rest", isReady).ResourceVersion, TimeoutSeconds: &seconds,
		})
		if err != nil {
			t.Fatal(err)
		}
		for event := range events.ResultChan() {
			t.Errorf("the pod was changed: %+v", event.Object)
		}
	})
	t.Run("pods go on without the API server", func(t *testing.T) {
		c := on(t)
		spec := webSpec()
		spec.Volumes, spec.Containers[0].VolumeMounts, spec.Containers[0].Env = nil, nil, nil
		c.create("lonely", spec)
		p := c.until("lonely", isReady)
		_ = c.apiserver.Process.Kill()
		_ = c.apiserver.Wait()
		w, ok := c.agent.worker("default", "lonely")
		if !ok {
			t.Fatal("no worker")
		}
		killed := w.containers["web"]
		if err := killed.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		<-killed.Done()
		c.eventually("it runs again", func(ctx context.Context) error {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", p.Status.PodIP+":8080")
			if err == nil {
				conn.Close()
			}
			return err
		})
		c.startServer()
		begun := time.Now()
		c.until("lonely", func(p *corev1.Pod) bool { return isReady(p) && p.Status.ContainerStatuses[0].RestartCount == 1 })
		t.Log("status caught up after", time.Since(begun))
		c.delete("lonely")
	})
}
