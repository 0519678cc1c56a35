package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/remotecommand"
	utilexec "k8s.io/client-go/util/exec"
)

// patience is how long a case may take on a busy machine.
const patience = 2 * time.Minute

// scene is where a case plays: a namespace of its own. What fails ends the case.
type scene struct {
	*testing.T
	ctx       context.Context
	config    *rest.Config // an administrator's
	client    kubernetes.Interface
	namespace string
}

func newScene(t *testing.T) *scene {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv(clientcmd.RecommendedConfigPathEnvVar))
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	s := &scene{T: t, ctx: ctx, config: config, client: client}
	namespace, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "case-"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.namespace = namespace.Name
	t.Cleanup(s.leave)
	// Without it no pod is admitted.
	await(s, client.CoreV1().ServiceAccounts(s.namespace), "default", func(*corev1.ServiceAccount) error { return nil })
	return s
}

// leave tells what can be seen after a failure, and has the namespace deleted.
func (s *scene) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if s.Failed() {
		s.describe(ctx)
	}
	if err := s.client.CoreV1().Namespaces().Delete(ctx, s.namespace, metav1.DeleteOptions{}); err != nil {
		s.Error(err)
	}
}

// describe logs pods, their events and their logs.
func (s *scene) describe(ctx context.Context) {
	events, err := s.client.CoreV1().Events(s.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		s.Log(err)
		return
	}
	for _, e := range events.Items {
		s.Logf("event of %s %s: %s: %s", e.InvolvedObject.Kind, e.InvolvedObject.Name, e.Reason, e.Message)
	}
	pods, err := s.client.CoreV1().Pods(s.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		s.Log(err)
		return
	}
	for _, p := range pods.Items {
		s.Logf("pod %s: %s", p.Name, p.Status.String())
		for _, c := range append(p.Spec.InitContainers, p.Spec.Containers...) {
			log, err := s.client.CoreV1().Pods(s.namespace).GetLogs(p.Name, &corev1.PodLogOptions{Container: c.Name}).DoRaw(ctx)
			s.Logf("log of %s/%s (%v): %s", p.Name, c.Name, err, log)
		}
	}
}

// must ends the case if there is an error.
func (s *scene) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// api is what the clients of all kinds have; O is the kind's pointer, L its list's.
type api[L runtime.Object] interface {
	List(ctx context.Context, o metav1.ListOptions) (L, error)
	Watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error)
}

var errAbsent = errors.New("it does not exist")

// await watches an object until is finds nothing missing, and returns it.
func await[O, L runtime.Object](s *scene, api api[L], name string, is func(O) error) O {
	s.Helper()
	selector := metav1.ListOptions{FieldSelector: "metadata.name=" + name}
	return awaitAll(s, api, selector, fmt.Sprintf("%T %s", *new(O), name), func(all []O) error {
		if len(all) == 0 {
			return errAbsent
		}
		return is(all[0])
	})[0]
}

// gone watches an object until it does not exist.
func gone[O, L runtime.Object](s *scene, api api[L], name string) {
	s.Helper()
	selector := metav1.ListOptions{FieldSelector: "metadata.name=" + name}
	awaitAll(s, api, selector, name, func(all []O) error {
		if len(all) > 0 {
			return errors.New("it exists")
		}
		return nil
	})
}

// awaitAll watches objects until is finds nothing missing, and returns them.
func awaitAll[O, L runtime.Object](s *scene, api api[L], selector metav1.ListOptions, what string, is func([]O) error) []O {
	s.Helper()
	missing := errAbsent
	for s.ctx.Err() == nil {
		all, ok, err := follow(s.ctx, api, selector, func(all []O) bool {
			missing = is(all)
			return missing == nil
		})
		if ok {
			return all
		}
		if err != nil && s.ctx.Err() == nil {
			s.Fatal(err)
		}
	}
	s.Fatalf("not in time: %s: %v", what, missing)
	return nil
}

// follow lists and watches until is says true, or the watch ends.
func follow[O, L runtime.Object](ctx context.Context, api api[L], selector metav1.ListOptions, is func([]O) bool) ([]O, bool, error) {
	list, err := api.List(ctx, selector)
	if err != nil {
		return nil, false, err
	}
	items, err := meta.ExtractList(list)
	if err != nil {
		return nil, false, err
	}
	var all []O
	for _, item := range items {
		all = append(all, item.(O))
	}
	if is(all) {
		return all, true, nil
	}
	accessor, err := meta.ListAccessor(list)
	if err != nil {
		return nil, false, err
	}
	selector.ResourceVersion = accessor.GetResourceVersion()
	changes, err := api.Watch(ctx, selector)
	if err != nil {
		return nil, false, err
	}
	defer changes.Stop()
	for change := range changes.ResultChan() {
		object, ok := change.Object.(O)
		if !ok {
			return nil, false, nil // an error: list again
		}
		all = changed(all, change.Type, object)
		if is(all) {
			return all, true, nil
		}
	}
	return nil, false, nil
}

func changed[O runtime.Object](all []O, kind watch.EventType, object O) []O {
	var kept []O
	for _, o := range all {
		if uid(o) != uid(object) {
			kept = append(kept, o)
		} else if kind != watch.Deleted {
			kept = append(kept, object)
		}
	}
	if kind == watch.Added {
		kept = append(kept, object)
	}
	return kept
}

func uid(o runtime.Object) string {
	accessor, err := meta.Accessor(o)
	if err != nil {
		panic(err)
	}
	return string(accessor.GetUID())
}

// eventually repeats what cannot be watched until it succeeds.
func (s *scene) eventually(what string, try func() error) {
	s.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-s.ctx.Done():
			s.Fatalf("not in time: %s: %v", what, err)
		}
	}
}

// event waits for an event of an object with a reason, and returns its message.
func (s *scene) event(object, reason string) string {
	s.Helper()
	selector := metav1.ListOptions{FieldSelector: "involvedObject.name=" + object + ",reason=" + reason}
	events := awaitAll(s, s.client.CoreV1().Events(s.namespace), selector, "event "+reason, func(all []*corev1.Event) error {
		if len(all) == 0 {
			return errAbsent
		}
		return nil
	})
	return events[len(events)-1].Message
}

// exec runs a command in a container and returns what it wrote and its exit code.
func (s *scene) exec(pod, container string, command ...string) (string, int) {
	s.Helper()
	out, code, err := s.execute(pod, container, command...)
	s.must(err)
	return out, code
}

func (s *scene) execute(pod, container string, command ...string) (string, int, error) {
	url := s.client.CoreV1().RESTClient().Post().Resource("pods").Namespace(s.namespace).Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: container, Command: command, Stdout: true, Stderr: true}, scheme.ParameterCodec).URL()
	executor, err := remotecommand.NewWebSocketExecutor(s.config, http.MethodGet, url.String())
	if err != nil {
		return "", 0, err
	}
	// Longer than the case, so that what is missing at its end is what is told.
	ctx, cancel := context.WithTimeout(s.Context(), patience+time.Minute)
	defer cancel()
	var out, errs bytes.Buffer // two, since they are written at the same time
	err = executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &out, Stderr: &errs})
	var exit utilexec.ExitError
	if errors.As(err, &exit) {
		return out.String() + errs.String(), exit.ExitStatus(), nil
	}
	return out.String() + errs.String(), 0, err
}

// try is exec for a test in the only container; an error if it does not hold.
func (s *scene) try(pod string, command ...string) error {
	s.Helper()
	return s.tryIn(pod, "", command...)
}

func (s *scene) tryIn(pod, container string, command ...string) error {
	s.Helper()
	out, code, err := s.execute(pod, container, command...)
	if err == nil && code != 0 {
		err = fmt.Errorf("%q: exit code %d: %s", command, code, out)
	}
	return err
}

// run is exec for a script that must succeed in the only container.
func (s *scene) run(pod, script string) string {
	s.Helper()
	out, code := s.exec(pod, "", "sh", "-c", script)
	if code != 0 {
		s.Fatalf("%s in %s: exit code %d: %s", script, pod, code, out)
	}
	return strings.TrimSpace(out)
}

// log is what a container wrote until now.
func (s *scene) log(pod, container string) string {
	s.Helper()
	log, err := s.client.CoreV1().Pods(s.namespace).GetLogs(pod, &corev1.PodLogOptions{Container: container}).DoRaw(s.ctx)
	s.must(err)
	return strings.TrimSpace(string(log))
}

// kubectl returns what the command wrote to both its outputs, and its exit code.
func (s *scene) kubectl(stdin string, args ...string) (string, int) {
	s.Helper()
	cmd := exec.CommandContext(s.ctx, "kubectl", append([]string{"--namespace=" + s.namespace}, args...)...)
	if stdin != "" {
		cmd.Stdin = strings.NewReader(stdin)
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.Fatal(err)
	}
	return strings.TrimSpace(string(out)), cmd.ProcessState.ExitCode()
}

// get is an HTTP request to a host, from outside of pods.
func (s *scene) get(url string) (string, error) {
	ctx, cancel := context.WithTimeout(s.ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = errors.New(response.Status)
	}
	return strings.TrimSpace(string(body)), err
}

// tell has an actor do something: a path of actor.ServeHTTP.
func (s *scene) tell(p *corev1.Pod, path string) {
	s.Helper()
	s.eventually("tell "+p.Name, func() error { // A pod without a readiness probe may not serve yet.
		_, err := s.get(fmt.Sprintf("http://%s:%d/%s", p.Status.PodIP, httpPort, path))
		return err
	})
}

// refused fails the case unless the API server refuses with words.
func (s *scene) refused(err error, words string) {
	s.Helper()
	if err == nil || (!apierrors.IsForbidden(err) && !apierrors.IsInvalid(err)) || !strings.Contains(err.Error(), words) {
		s.Fatalf("error = %v, want one with %q", err, words)
	}
}
