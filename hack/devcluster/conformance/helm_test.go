package conformance

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// helm runs Helm on the release web and returns what it wrote and its exit code.
func (s *scene) helm(args ...string) (string, int) {
	s.Helper()
	helm := os.Getenv(helmEnv)
	if helm == "" {
		s.Fatalf("%s is not set: %s", helmEnv, howToRun)
	}
	cmd := exec.CommandContext(s.ctx, helm, append(args, "--namespace="+s.namespace)...)
	home := s.TempDir()
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func (s *scene) helmSucceeds(args ...string) string {
	s.Helper()
	out, code := s.helm(args...)
	if code != 0 {
		s.Fatalf("helm %s: exit code %d: %s", strings.Join(args, " "), code, out)
	}
	return out
}

// released compares what there is when Helm says that it is done with what was
// asked for: --wait must not return before.
func (s *scene) released(revision string, replicas int) {
	s.Helper()
	d, err := s.client.AppsV1().Deployments(s.namespace).Get(s.ctx, "web", metav1.GetOptions{})
	s.must(err)
	if d.Status.ObservedGeneration != d.Generation || d.Status.AvailableReplicas != int32(replicas) || d.Status.UpdatedReplicas != int32(replicas) {
		s.Errorf("after --wait the Deployment is %+v", d.Status)
	}
	var ready int
	for _, p := range s.labelled("app=web,revision=" + revision) {
		if conditionIs(corev1.PodReady, corev1.ConditionTrue)(&p) == nil {
			ready++
		}
	}
	if ready != replicas {
		s.Errorf("%d pods of revision %s are ready, want %d", ready, revision, replicas)
	}
	m, err := s.client.CoreV1().ConfigMaps(s.namespace).Get(s.ctx, "web", metav1.GetOptions{})
	s.must(err)
	if m.Data["revision"] != revision {
		s.Errorf("revision of the ConfigMap is %q, want %q", m.Data["revision"], revision)
	}
	s.eventually("the Service answers", func() error {
		_, err := s.get("http://web." + s.namespace)
		return err
	})
}

func (s *scene) labelled(selector string) []corev1.Pod {
	s.Helper()
	pods, err := s.client.CoreV1().Pods(s.namespace).List(s.ctx, metav1.ListOptions{LabelSelector: selector})
	s.must(err)
	return pods.Items
}

// TestHelm has Helm itself install, upgrade, roll back and remove a chart, and
// take an upgrade back that does not get ready.
func TestHelm(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	const chart = "testdata/chart"
	s.helmSucceeds("install", "web", chart, "--wait", "--timeout=100s")
	s.released("one", 2)
	s.helmSucceeds("upgrade", "web", chart, "--set=revision=two,replicas=3", "--wait", "--timeout=100s")
	s.released("two", 3)

	out, code := s.helm("upgrade", "web", chart, "--set=revision=bad,health=/code/500", "--rollback-on-failure", "--wait", "--timeout=5s")
	if code == 0 || !strings.Contains(out, "rolled back") {
		t.Errorf("exit code %d: %s", code, out)
	}
	await(s, s.client.AppsV1().Deployments(s.namespace), "web", available(3)) // Helm's time for it was short
	gonePods(s, "revision=bad")
	s.released("two", 3)

	s.helmSucceeds("rollback", "web", "1", "--wait", "--timeout=100s")
	s.released("one", 2)
	var history []struct {
		Revision int
		Status   string
	}
	s.must(json.Unmarshal([]byte(s.helmSucceeds("history", "web", "--output=json")), &history))
	var states []string
	for _, h := range history {
		states = append(states, h.Status)
	}
	if got, want := strings.Join(states, " "), "superseded superseded failed superseded deployed"; got != want {
		t.Errorf("history %q, want %q", got, want)
	}

	s.helmSucceeds("uninstall", "web", "--wait", "--timeout=100s")
	if _, err := s.client.AppsV1().Deployments(s.namespace).Get(s.ctx, "web", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the Deployment after uninstall --wait: %v", err)
	}
	gonePods(s, "app=web") // Helm waits for what it made, not for what that owns
	if out := s.helmSucceeds("list", "--short"); strings.TrimSpace(out) != "" {
		t.Errorf("releases: %s", out)
	}
}

// gonePods waits until no pod has a label.
func gonePods(s *scene, selector string) {
	s.Helper()
	awaitAll(s, s.client.CoreV1().Pods(s.namespace), metav1.ListOptions{LabelSelector: selector}, "pods "+selector, func(all []*corev1.Pod) error {
		if len(all) > 0 {
			return fmt.Errorf("there are %d", len(all))
		}
		return nil
	})
}
