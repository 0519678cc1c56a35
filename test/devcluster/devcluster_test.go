package devcluster_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/xinhari/xinhari/test/devcluster"
)

// peerName is the name under which the test binary is the program of pods.
const peerName = "peer"

// binary is the program that `make devcluster` builds.
const binary = "../../bin/devcluster"

// TestMain runs the tests in a cluster of two nodes, whose pods are this program as well.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == peerName {
		peer()
	}
	if devcluster.Running() {
		os.Exit(m.Run())
	}
	status, err := inCluster()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	os.Exit(status)
}

func inCluster() (int, error) {
	// Looked at, it is also one of the files that a kept result of the test depends on.
	if _, err := os.Stat(binary); err != nil {
		return 0, fmt.Errorf("%w: `make devcluster` builds it", err)
	}
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	program, err := os.ReadFile(self)
	if err != nil {
		return 0, err
	}
	images, err := os.MkdirTemp("", "devcluster-images-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(images)
	if err := os.WriteFile(filepath.Join(images, peerName), program, 0o755); err != nil {
		return 0, err
	}
	args := append([]string{"run", "--nodes", "2", "--images", images, "--", self}, os.Args[1:]...)
	cmd := exec.Command(binary, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	err = cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// peer echoes lines on a port until it is killed.
func peer() {
	listener, err := net.Listen("tcp", ":7000")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			os.Exit(1)
		}
		go func() { _, _ = io.Copy(conn, conn) }()
	}
}

func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("kubectl", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// pod starts a peer on a node, or anywhere, and returns its address.
func pod(t *testing.T, name, node string) string {
	t.Helper()
	overrides := "{}"
	if node != "" {
		overrides = `{"spec":{"nodeName":"` + node + `"}}`
	}
	kubectl(t, "run", name, "--image=xinhari.local/peer:dev", "--overrides="+overrides)
	t.Cleanup(func() { kubectl(t, "delete", "pod", name, "--now", "--ignore-not-found") })
	kubectl(t, "wait", "--for=condition=Ready", "pod/"+name, "--timeout=60s")
	return kubectl(t, "get", "pod", name, "--output=jsonpath={.status.podIP}")
}

// ask sends a word to a peer and waits for it.
func ask(addr string) error {
	conn, err := net.DialTimeout("tcp", addr+":7000", 500*time.Millisecond)
	if err != nil {
		return err
	}
	return errors.Join(say(conn, 5*time.Second), conn.Close())
}

// dial connects to a peer until the test ends.
func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr+":7000")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func say(conn net.Conn, timeout time.Duration) error {
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("x")); err != nil {
		return err
	}
	_, err := conn.Read(make([]byte, 1))
	return err
}

// inEffect is how many faults there are.
func inEffect(t *testing.T) int {
	t.Helper()
	out, err := exec.Command("devcluster", "faults", "--output=json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var list []any
	if err := json.Unmarshal(out, &list); err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestCutIsHealedWithTheTest(t *testing.T) {
	addr := pod(t, "cut", "node-2")
	conn := dial(t, addr)
	t.Run("cut", func(t *testing.T) {
		devcluster.Cut(t, "cut")
		devcluster.Cut(t, "default/cut", "kube-apiserver")
		if n := inEffect(t); n != 2 {
			t.Errorf("%d faults, want 2", n)
		}
		if err := say(conn, 200*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("over a cut link: %v", err)
		}
	})
	if n := inEffect(t); n != 0 {
		t.Errorf("%d faults after the test that made them", n)
	}
	if err := say(conn, 10*time.Second); err != nil {
		t.Errorf("over the healed link: %v", err)
	}
}

func TestCleanupEndsItsOwnFaultOnly(t *testing.T) {
	addr := pod(t, "both", "node-2")
	devcluster.Cut(t, "both", "node-1")
	t.Run("more", func(t *testing.T) {
		devcluster.Cut(t, "both")
		if n := inEffect(t); n != 2 {
			t.Errorf("%d faults, want 2", n)
		}
	})
	if n := inEffect(t); n != 1 {
		t.Errorf("%d faults after the inner test, want the outer one's", n)
	}
	if err := ask(addr); err != nil {
		t.Errorf("cut off from node-1 alone: %v", err)
	}
}

func TestFaultsOfAPodThatIsDeleted(t *testing.T) {
	pod(t, "deleted", "node-1")
	t.Run("cut", func(t *testing.T) {
		devcluster.Cut(t, "deleted", "node-2")
		kubectl(t, "delete", "pod", "deleted", "--now")
	})
	if n := inEffect(t); n != 0 {
		t.Errorf("%d faults of a pod that is gone", n)
	}
}

func TestFaultsHoldWhileTheAgentIsAway(t *testing.T) {
	addr := pod(t, "held", "node-2")
	devcluster.Pause(t, "node-2")
	devcluster.Cut(t, "held")
	if err := ask(addr); err == nil {
		t.Error("a pod that was cut off answers")
	}
	devcluster.Heal(t, addr)
	if err := ask(addr); err != nil {
		t.Errorf("a pod whose node's agent is frozen: %v", err)
	}
}

func TestFaultsByAddressNeedNoAPIServer(t *testing.T) {
	addr := pod(t, "addressed", "node-1")
	devcluster.Stop(t, "kube-apiserver")
	devcluster.Cut(t, addr)
	if err := ask(addr); err == nil {
		t.Error("a pod that was cut off answers")
	}
	devcluster.Heal(t)
	if err := ask(addr); err != nil {
		t.Error(err)
	}
}

func TestSlow(t *testing.T) {
	device, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		t.Skip("slow and lose need it: ", err)
	}
	device.Close()
	addr := pod(t, "slow", "node-2")
	conn := dial(t, addr)
	devcluster.Slow(t, "slow", 50*time.Millisecond)
	begun := time.Now()
	if err := say(conn, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took < 50*time.Millisecond {
		t.Errorf("a round trip took %v, want 50 ms at least", took)
	}
	devcluster.Lose(t, "slow", 100)
	if err := say(conn, 200*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("where everything is lost: %v", err)
	}
}

// A node that stops is found out by its silence; its pods are evicted, and
// replaced elsewhere.
func TestStoppedNodeIsEvicted(t *testing.T) {
	manifest := `{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "evicted"}, "spec": {
		"replicas": 1, "selector": {"matchLabels": {"app": "evicted"}}, "template": {
			"metadata": {"labels": {"app": "evicted"}},
			"spec": {"containers": [{"name": "peer", "image": "xinhari.local/peer:dev"}],
				"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100,
					"preference": {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["node-2"]}]}}]}},
				"tolerations": [{"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1}]}}}}`
	file := filepath.Join(t.TempDir(), "deployment.json")
	if err := os.WriteFile(file, []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	kubectl(t, "apply", "--filename="+file)
	t.Cleanup(func() { kubectl(t, "delete", "--filename="+file, "--now") })
	kubectl(t, "rollout", "status", "deployment/evicted", "--timeout=60s")
	where := func() string {
		return kubectl(t, "get", "pods", "--selector=app=evicted", "--output=jsonpath={.items[*].spec.nodeName}")
	}
	if got := where(); got != "node-2" {
		t.Fatalf("the pod is on %q", got)
	}
	devcluster.Stop(t, "node-2")
	kubectl(t, "wait", "--for=condition=Ready=Unknown", "node/node-2", "--timeout=120s")
	kubectl(t, "wait", "--for=jsonpath={.status.readyReplicas}=1", "deployment/evicted", "--timeout=60s")
	kubectl(t, "wait", "--for=condition=Ready", "pods", "--selector=app=evicted", "--field-selector=spec.nodeName=node-1", "--timeout=60s")
	devcluster.Start(t, "node-2")
	kubectl(t, "wait", "--for=condition=Ready", "node/node-2", "--timeout=60s")
	// Now the agent tells that the old pod is gone.
	for deadline := time.Now().Add(30 * time.Second); where() != "node-1"; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("pods on %q, want one, on node-1", where())
		}
	}
}
