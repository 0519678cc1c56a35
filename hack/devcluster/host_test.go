//go:build linux

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestFromTheHost uses a cluster from outside of it, by the file that --kubeconfig names.
func TestFromTheHost(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kubeconfig")
	kubectl := filepath.Join(t.TempDir(), "kubectl")
	if err := os.Symlink(os.Getenv(binaryEnv), kubectl); err != nil {
		t.Fatal(err)
	}
	ask := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(kubectl, args...)
		cmd.Env = append(os.Environ(), "KUBECONFIG="+file, "KUBERC=off", "KUBECACHEDIR="+t.TempDir())
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("kubectl %q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	for _, kill := range []bool{true, false} { // the file that the killed one leaves is the next one's
		s := launch(t, where+`kubectl create namespace inside >/dev/null
			kubectl create deployment web --image=xinhari.local/web:dev >/dev/null
			kubectl rollout status deployment/web >/dev/null; echo made; read line`, "--images", images(t), "--kubeconfig", file)
		s.inside()
		s.line()
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if mode := info.Mode(); mode != 0o600 {
			t.Errorf("mode of the file = %v, want 0600", mode)
		}
		if out := ask("get", "namespace", "inside", "--output=name"); out != "namespace/inside\n" {
			t.Errorf("got %q from the host", out)
		}
		if out := ask("exec", "deployment/web", "--", "echo", "through the port"); out != "through the port\n" {
			t.Errorf("exec printed %q", out)
		}
		if kill {
			if err := unix.Kill(s.cmd.Process.Pid, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
		} else {
			s.stdin.Close()
		}
		s.wait()
		s.gone()
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("the file is left: %v", err)
	}
}

func TestKubeconfigOfSomeoneElse(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kubeconfig")
	const mine = "# all my clusters\n"
	if err := os.WriteFile(file, []byte(mine), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{file, filepath.Join(t.TempDir(), "nowhere", "kubeconfig"), t.TempDir()} {
		out, err := exec.Command(os.Getenv(binaryEnv), "run", "--kubeconfig", name, "--", "true").CombinedOutput()
		if err == nil || !strings.Contains(string(out), "--kubeconfig: ") {
			t.Errorf("%s: %v, %s", name, err, out)
		}
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != mine {
		t.Errorf("the file is now %q, %v", text, err)
	}
}

func TestOtherAPIs(t *testing.T) {
	s := launch(t, `kubectl api-versions | grep -x certificates.k8s.io/v1beta1
		kubectl get --raw /metrics | grep -c 'kubernetes_feature_enabled{name="ClusterTrustBundle",stage="BETA"} 1'`,
		"--runtime-config", "certificates.k8s.io/v1beta1=true", "--feature-gates", "ClusterTrustBundle=true")
	if out, code := s.wait(); out != "certificates.k8s.io/v1beta1\n1\n" || code != 0 {
		t.Errorf("exit code %d, output %q\n%s", code, out, s.stderr)
	}
	for _, test := range []struct{ flag, value, want string }{
		{"--feature-gates", "NoSuchGate=true", "unrecognized feature gate: NoSuchGate"},
		{"--feature-gates", "AllBeta", "missing bool value for AllBeta"},
		{"--runtime-config", "no.such.group/v1=true", "unknown api groups no.such.group/v1"},
	} {
		out, err := exec.Command(os.Getenv(binaryEnv), "run", test.flag, test.value, "--", "true").CombinedOutput()
		if err == nil || !strings.Contains(string(out), test.want) {
			t.Errorf("%s %s: %v, %s; want %q", test.flag, test.value, err, out, test.want)
		}
	}
}

func TestAuditIsReadable(t *testing.T) {
	s := launch(t, `kubectl create namespace shop >/dev/null
		until devcluster logs audit | grep -o 'devcluster-admin create namespaces/shop 201'; do sleep 0.1; done
		devcluster logs audit -o json | grep -c '"verb":"create".*"name":"shop"' | grep -c '[1-9]'
		devcluster logs nothing 2>&1 | grep -o 'audit, devcluster, etcd'
		devcluster logs -f audit | head -1 | wc -l`)
	if out, code := s.wait(); out != "devcluster-admin create namespaces/shop 201\n1\naudit, devcluster, etcd\n1\n" || code != 0 {
		t.Errorf("exit code %d, output %q\n%s", code, out, s.stderr)
	}
}
