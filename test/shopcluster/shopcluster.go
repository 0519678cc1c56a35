// Package shopcluster drives the example shop in a devcluster: it installs the
// operator and the shop, breaks what they stand on, and asks orders what became
// of its calls meanwhile. The demo shows with it, and the end-to-end tests
// assert with it.
//
// It needs kubectl and helm on PATH, KUBECONFIG, and the devcluster around the
// process. Errors hold what a program that failed printed.
package shopcluster

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/xinhari/xinhari/pkg/identity"
)

// OperatorNamespace is the namespace that the operator runs in.
const OperatorNamespace = "xinhari-system"

// Shop is the example shop in a namespace. Its functions are for one goroutine
// at a time, but for Report, Status and Kubectl.
type Shop struct {
	Namespace string
	Rate      int           // calls a second that orders makes
	Timeout   time.Duration // of a call; 0 is 1 s

	orders  Pod
	own     *identity.Source // of who looks after the shop
	http    *http.Client     // of orders, as own
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// Pod is a pod by name and address.
type Pod struct{ Name, IP string }

// Was reports whether a peer's address is the pod's.
func (p Pod) Was(peer string) bool {
	host, _, err := net.SplitHostPort(peer)
	return err == nil && host == p.IP
}

// Run runs a program and returns what it printed, which is in the error when
// it fails.
func Run(ctx context.Context, name string, args ...string) (string, error) {
	return run(ctx, "", name, args...)
}

func run(ctx context.Context, input, name string, args ...string) (string, error) {
	var out, errs bytes.Buffer
	c := exec.CommandContext(ctx, name, args...)
	c.Stdin, c.Stdout, c.Stderr = strings.NewReader(input), &out, &errs
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s%s", name, strings.Join(args, " "), err, out.String(), errs.String())
	}
	return out.String(), nil
}

// Apply has kubectl apply manifests.
func Apply(ctx context.Context, manifests string) error {
	_, err := run(ctx, manifests, "kubectl", "apply", "-f", "-")
	return err
}

// Sleep returns the error of ctx when that ends first.
func Sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Kubectl runs kubectl in the shop's namespace.
func (s *Shop) Kubectl(ctx context.Context, args ...string) (string, error) {
	return Run(ctx, "kubectl", append([]string{"-n", s.Namespace}, args...)...)
}

// Open applies the shop's manifests, in a namespace that it makes, waits until
// all is ready, and gets an identity of its own there. Close ends that.
func (s *Shop) Open(ctx context.Context, manifests string) error {
	steps := [][]string{
		{"create", "namespace", s.Namespace},
		{"apply", "-f", manifests},
		{"set", "env", "deployment/orders", "SHOP_RATE=" + strconv.Itoa(s.Rate), "SHOP_TIMEOUT=" + cmp.Or(s.Timeout, time.Second).String()},
		{"rollout", "status", "deployment/inventory", "--timeout=90s"},
		{"rollout", "status", "deployment/orders", "--timeout=90s"},
		{"wait", "services.xinhari.com", "--all", "--for=condition=Ready", "--timeout=60s"},
	}
	for _, args := range steps {
		if _, err := s.Kubectl(ctx, args...); err != nil {
			return err
		}
	}
	p, err := s.AnyPod(ctx, "orders")
	if err != nil {
		return err
	}
	s.orders = p
	if err := s.identify(ctx); err != nil {
		return err
	}
	return s.warmUp(ctx)
}

// Close ends what Open began in this process. The shop stays.
func (s *Shop) Close() {
	if s.cancel != nil {
		s.cancel()
		s.running.Wait()
	}
}

// warmUp waits until the calls of orders succeed.
func (s *Shop) warmUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		r, err := s.Report(ctx)
		if err == nil && r.Calls > s.Rate/4 && len(r.Failed) == 0 {
			return nil
		}
		if Sleep(ctx, 500*time.Millisecond) != nil {
			if err == nil && len(r.Failed) > 0 {
				err = errors.New(r.Failed[len(r.Failed)-1].Error)
			}
			return fmt.Errorf("orders cannot call inventory: %w", err)
		}
	}
}

// Pods returns the running pods of an app that are not being deleted.
func (s *Shop) Pods(ctx context.Context, app string) ([]Pod, error) {
	return pods(ctx, s.Namespace, "app="+app)
}

// AnyPod returns one of Pods.
func (s *Shop) AnyPod(ctx context.Context, app string) (Pod, error) {
	all, err := s.Pods(ctx, app)
	switch {
	case err != nil:
		return Pod{}, err
	case len(all) == 0:
		return Pod{}, fmt.Errorf("no pod of %s is running", app)
	}
	return all[0], nil
}

func pods(ctx context.Context, namespace, selector string) ([]Pod, error) {
	out, err := Run(ctx, "kubectl", "-n", namespace, "get", "pods", "-l", selector, "--field-selector=status.phase=Running",
		"-o", `jsonpath={range .items[*]}{.metadata.name} {.status.podIP} {.metadata.deletionTimestamp}{"\n"}{end}`)
	if err != nil {
		return nil, err
	}
	var all []Pod
	for line := range strings.Lines(out) {
		if fields := strings.Fields(line); len(fields) == 2 {
			all = append(all, Pod{Name: fields[0], IP: fields[1]})
		}
	}
	return all, nil
}

// Kill sends SIGKILL to a pod's process, which the devcluster runs on this
// machine like any other, and returns when.
func Kill(p Pod, program string) (time.Time, error) {
	pids, err := Processes(p, program)
	if err != nil {
		return time.Time{}, err
	}
	if len(pids) != 1 {
		return time.Time{}, fmt.Errorf("%d processes are called %s in pods called %s, want one", len(pids), program, p.Name)
	}
	return time.Now(), syscall.Kill(pids[0], syscall.SIGKILL)
}

// Processes returns the IDs of the processes of a program in pods of p's name,
// of which each namespace may have one. None is an error.
func Processes(p Pod, program string) ([]int, error) {
	environs, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return nil, err
	}
	var all []int
	for _, environ := range environs {
		data, err := os.ReadFile(environ)
		if err != nil || !bytes.Contains(data, []byte("HOSTNAME="+p.Name+"\x00")) {
			continue
		}
		dir := filepath.Dir(environ)
		if comm, err := os.ReadFile(dir + "/comm"); err != nil || strings.TrimSpace(string(comm)) != program {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			return nil, err
		}
		all = append(all, pid)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("the process of pod %s was not found", p.Name)
	}
	return all, nil
}

// WaitReady waits until the API server answers.
func WaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	for {
		_, err := Run(ctx, "kubectl", "get", "--raw", "/readyz")
		if err == nil {
			return nil
		}
		if Sleep(ctx, 200*time.Millisecond) != nil {
			return fmt.Errorf("the API server is not back: %w", err)
		}
	}
}
