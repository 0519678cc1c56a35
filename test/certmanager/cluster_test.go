package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
	"github.com/xinhari/xinhari/controllers/certmanager"
)

const (
	operatorNamespace = "xinhari-system"
	patience          = 90 * time.Second
)

// cluster is the cluster that the tests run in.
type cluster struct {
	client.WithWatch
	config *rest.Config
}

func open(t *testing.T) *cluster {
	t.Helper()
	all := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, xinhariv1alpha1.AddToScheme, certmanagerv1.AddToScheme} {
		if err := add(all); err != nil {
			t.Fatal(err)
		}
	}
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1 // the API server knows how to wait
	c, err := client.NewWithWatch(config, client.Options{Scheme: all})
	if err != nil {
		t.Fatal(err)
	}
	return &cluster{WithWatch: c, config: config}
}

// must runs a program that must succeed, and returns what it printed.
func must(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// install installs the chart, or upgrades it, with values, and waits until the operator is ready.
func install(t *testing.T, values string) {
	t.Helper()
	must(t, filepath.Join(bin, "helm"), "upgrade", "--install", "xinhari", filepath.Join("..", "..", "charts", "xinhari"),
		"--namespace", operatorNamespace, "--create-namespace", "--wait", "--timeout", patience.String(), "--set", values)
}

// scale runs so many of cert-manager, and waits until it is so.
func (c *cluster) scale(t *testing.T, replicas int) {
	t.Helper()
	must(t, "kubectl", "-n", "cert-manager", "scale", "deployment/cert-manager", fmt.Sprint("--replicas=", replicas))
	if replicas > 0 {
		must(t, "kubectl", "-n", "cert-manager", "rollout", "status", "deployment/cert-manager", "--timeout", patience.String())
		return
	}
	must(t, "kubectl", "-n", "cert-manager", "wait", "pod", "--all", "--for=delete", "--timeout", patience.String())
}

// eventually calls check until it returns the empty string, or fails with what it returned last.
func eventually(t *testing.T, check func(context.Context) string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	last := ""
	for {
		problem := check(ctx)
		if problem == "" {
			return
		}
		if ctx.Err() == nil {
			last = problem // and not that the time is over
		}
		select {
		case <-ctx.Done():
			t.Fatalf("after %s: %s", patience, last)
		case <-ticker.C:
		}
	}
}

// told waits for an event at the operator's Certificate.
func (c *cluster) told(t *testing.T, reason, note string) {
	t.Helper()
	eventually(t, func(ctx context.Context) string {
		var events eventsv1.EventList
		if err := c.List(ctx, &events, client.InNamespace(operatorNamespace)); err != nil {
			return err.Error()
		}
		var seen []string
		for _, e := range events.Items {
			if e.Regarding.Kind == certmanagerv1.CertificateKind && e.Regarding.Name == certmanager.Name {
				if e.Reason == reason && strings.Contains(e.Note, note) {
					return ""
				}
				seen = append(seen, e.Reason+": "+e.Note)
			}
		}
		return fmt.Sprintf("no event %s with %q among\n%s", reason, note, strings.Join(seen, "\n"))
	})
}

// operators returns the operator's pods that are ready.
func (c *cluster) operators(ctx context.Context) ([]corev1.Pod, error) {
	var pods corev1.PodList
	if err := c.List(ctx, &pods, client.InNamespace(operatorNamespace), client.MatchingLabels{"app.kubernetes.io/component": "operator"}); err != nil {
		return nil, err
	}
	var ready []corev1.Pod
	for _, p := range pods.Items {
		for _, is := range p.Status.Conditions {
			if is.Type == corev1.PodReady && is.Status == corev1.ConditionTrue && p.DeletionTimestamp.IsZero() {
				ready = append(ready, p)
			}
		}
	}
	return ready, nil
}

// unharmed fails if the operator is not ready, or a container of it ended.
func (c *cluster) unharmed(t *testing.T) {
	t.Helper()
	pods, err := c.operators(t.Context())
	if err != nil || len(pods) != 1 {
		t.Fatalf("%d operators are ready, %v", len(pods), err)
	}
	for _, is := range pods[0].Status.ContainerStatuses {
		if is.RestartCount != 0 {
			t.Errorf("the operator was started again %d times", is.RestartCount)
		}
	}
}

var gauge = regexp.MustCompile(`(?m)^xinhari_certmanager_ready\{reason="(\w+)"\} (\d)$`)

// measured waits for a value of the operator's gauge.
func (c *cluster) measured(t *testing.T, reason, value string) {
	t.Helper()
	eventually(t, func(ctx context.Context) string {
		pods, err := c.operators(ctx)
		if err != nil || len(pods) != 1 {
			return fmt.Sprintf("%d operators are ready, %v", len(pods), err)
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+pods[0].Status.PodIP+":8080/metrics", nil)
		if err != nil {
			return err.Error()
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err.Error()
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			return err.Error()
		}
		found := gauge.FindStringSubmatch(string(body))
		if len(found) != 3 || found[1] != reason || found[2] != value {
			return fmt.Sprintf("the gauge is %q, want %s %s", found, reason, value)
		}
		return ""
	})
}

// secret returns the data of a Secret of the operator's namespace.
func (c *cluster) secret(t *testing.T, name string) map[string][]byte {
	t.Helper()
	var s corev1.Secret
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: operatorNamespace, Name: name}, &s); err != nil {
		t.Fatal(err)
	}
	return s.Data
}

// request is what the audit log has of a request.
type request struct {
	Verb      string
	Stage     string
	User      struct{ Username string }
	ObjectRef struct {
		Resource, Namespace, Name string
	}
	ResponseStatus struct{ Code int }
}

// requests returns what the operator asked of the API server.
func requests(t *testing.T) []request {
	t.Helper()
	f, err := os.Open(filepath.Join(os.Getenv("DEVCLUSTER_DIR"), "logs", "audit.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []request
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var r request
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		if r.Stage == "ResponseComplete" && r.User.Username == "system:serviceaccount:"+operatorNamespace+":xinhari-operator" {
			all = append(all, r)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// object names an object.
func object(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name}
}
