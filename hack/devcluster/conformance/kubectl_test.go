package conformance

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

const kubectlPage = "reference/kubectl/generated/"

// background starts kubectl and returns its output; it ends with the case.
func (s *scene) background(args ...string) *bufio.Reader {
	s.Helper()
	cmd := exec.CommandContext(s.ctx, "kubectl", append([]string{"--namespace=" + s.namespace}, args...)...)
	out, err := cmd.StdoutPipe()
	s.must(err)
	s.must(cmd.Start())
	s.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return bufio.NewReader(out)
}

func kubectl() []claim {
	return []claim{
		{"kubectl logs shows what a container wrote, to both outputs, and its last lines", kubectlPage + "kubectl_logs/", func(s *scene) {
			s.start(pod("talks", shell("main", "echo one; echo two >&2; echo three; echo done > /tmp/done"+onward)))
			s.eventually("it has spoken", func() error { return s.try("talks", "test", "-f", "/tmp/done") })
			s.eventually("the log is whole", func() error {
				if out := s.succeeds("logs", "talks"); len(strings.Fields(out)) != 3 || !strings.Contains(out, "two") {
					return fmt.Errorf("%q", out)
				}
				return nil
			})
			if out := s.succeeds("logs", "talks", "--tail=1"); len(strings.Fields(out)) != 1 {
				s.Errorf("--tail=1: %q", out)
			}
		}},
		{"kubectl logs -f goes on until the container ends", kubectlPage + "kubectl_logs/", func(s *scene) {
			s.start(notebook(pod("talks", shell("main", "echo one; trap 'echo last; exit 0' TERM; sleep 10000 & wait"))))
			out := s.background("logs", "-f", "talks")
			if line, err := out.ReadString('\n'); line != "one\n" {
				s.Fatal(line, err)
			}
			s.delete("talks", graceful())
			if rest, err := io.ReadAll(out); string(rest) != "last\n" {
				s.Errorf("%q, %v", rest, err)
			}
		}},
		{"kubectl logs -p shows what the container wrote before its restart", "tasks/debug/debug-application/debug-running-pod/#examine-pod-logs", func(s *scene) {
			s.create(notebook(pod("talks", shell("main", "test -f /notes/before || { touch /notes/before; echo first; exit 1; }; echo second"+onward))))
			s.until("talks", restarted)
			if out := s.succeeds("logs", "-p", "talks"); out != "first" {
				s.Errorf("%q", out)
			}
		}},
		{"kubectl exec runs a command in a container and ends with its exit code", "tasks/debug/debug-application/get-shell-running-container/", func(s *scene) {
			s.start(pod("two", shell("main", ":"+onward), shell("other", "echo here > /tmp/file"+onward)))
			s.eventually("the file is there", func() error { return s.tryIn("two", "other", "test", "-f", "/tmp/file") })
			if out, code := s.kubectl("", "exec", "two", "-c", "other", "--", "sh", "-c", "cat /tmp/file; exit 7"); code != 7 || !strings.HasPrefix(out, "here\n") {
				s.Errorf("exit code %d: %s", code, out)
			}
			if err := s.tryIn("two", "main", "test", "-f", "/tmp/file"); err == nil {
				s.Error("containers share a root")
			}
		}},
		{"kubectl exec -i gives the command an input", "tasks/debug/debug-application/get-shell-running-container/", func(s *scene) {
			s.start(idle("reads"))
			if out, code := s.kubectl("some words", "exec", "-i", "reads", "--", "wc", "-w"); code != 0 || out != "2" {
				s.Errorf("exit code %d: %q", code, out)
			}
		}},
		{"kubectl attach -i gives a container with stdin its input", kubectlPage + "kubectl_attach/", func(s *scene) {
			c := shell("main", "read line; echo \"got $line\" "+say)
			c.Stdin, c.StdinOnce = true, true
			s.create(policy(pod("reads", c), corev1.RestartPolicyNever))
			s.until("reads", running("main"))
			if out, code := s.kubectl("a line\n", "attach", "-i", "reads"); code != 0 {
				s.Errorf("exit code %d: %s", code, out)
			}
			now := s.until("reads", phase(corev1.PodSucceeded))
			if message := container(now, "main").State.Terminated.Message; message != "got a line\n" {
				s.Errorf("last words %q", message)
			}
		}},
		{"kubectl debug adds a container that shares the pod's network", "tasks/debug/debug-application/debug-running-pod/#ephemeral-container", func(s *scene) {
			p := s.web("web")[0]
			s.succeeds("debug", p.Name, "--image="+actorImage, "--container=look", "--profile=general", "--", "sh", "-c", "hostname -i")
			s.until(p.Name, func(p *corev1.Pod) error {
				for _, c := range p.Status.EphemeralContainerStatuses {
					if c.Name == "look" && c.State.Terminated != nil {
						return nil
					}
				}
				return fmt.Errorf("%+v", p.Status.EphemeralContainerStatuses)
			})
			if out := s.log(p.Name, "look"); out != p.Status.PodIP {
				s.Errorf("look saw %q", out)
			}
			s.must(ready(s.until(p.Name, exists)))
		}},
		{"kubectl cp copies into a container and out of it", kubectlPage + "kubectl_cp/", func(s *scene) {
			s.start(idle("files"))
			dir := s.TempDir()
			from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
			content := strings.Repeat("all work and no play\n", 10000)
			s.must(os.WriteFile(from, []byte(content), 0o600))
			s.succeeds("cp", from, "files:/tmp/copy")
			s.succeeds("cp", "files:/tmp/copy", to)
			if got, err := os.ReadFile(to); err != nil || string(got) != content {
				s.Errorf("%d bytes came back, %v", len(got), err)
			}
		}},
		{"kubectl port-forward reaches a port of a pod, also by its Service", "tasks/access-application-cluster/port-forward-access-application-cluster/", func(s *scene) {
			p := s.web("web")[0]
			s.service("web", p)
			s.endpoints("web", readyEndpoints(1))
			for target, port := range map[string]string{"pod/web": ":8080", "service/web": ":80"} {
				line, err := s.background("port-forward", target, port).ReadString('\n')
				s.must(err)
				address, _, _ := strings.Cut(strings.TrimPrefix(line, "Forwarding from "), " ")
				if out, err := s.get("http://" + address); err != nil || out != "web" {
					s.Errorf("%s: %q, %v", target, out, err)
				}
			}
		}},
		{"kubectl wait returns when the condition holds", kubectlPage + "kubectl_wait/", func(s *scene) {
			s.create(idle("soon"))
			s.succeeds("wait", "--for=condition=Ready", "--timeout=100s", "pod/soon")
			s.succeeds("delete", "pod", "soon", "--wait=false")
			s.succeeds("wait", "--for=delete", "--timeout=100s", "pod/soon")
		}},
		{"kubectl describe tells the events of a pod", "tasks/debug/debug-application/debug-pods/", func(s *scene) {
			p := idle("strange")
			p.Spec.Containers[0].Image = "example.com/strange:1"
			s.create(p)
			s.until("strange", waiting("main", "ErrImagePull"))
			s.event("strange", "Failed")
			if out := s.succeeds("describe", "pod", "strange"); !strings.Contains(out, "example.com/strange:1 is not here") {
				s.Error(out)
			}
		}},
	}
}
