package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/xinhari/xinhari/examples/shop"
	"github.com/xinhari/xinhari/pkg/identity"
)

const (
	namespace         = "shop"
	operatorNamespace = "xinhari-system"
)

// cluster is the cluster that the demo runs in.
type cluster struct {
	began  time.Time
	orders pod
	own    *identity.Source
	http   *http.Client // of orders, as the demo's own identity
}

// command runs a program; what it printed is in the error when it fails.
func command(ctx context.Context, name string, args ...string) (string, error) {
	var out, errs bytes.Buffer
	c := exec.CommandContext(ctx, name, args...)
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s%s", name, strings.Join(args, " "), err, out.String(), errs.String())
	}
	return out.String(), nil
}

func (c *cluster) kubectl(ctx context.Context, args ...string) error {
	_, err := command(ctx, "kubectl", append([]string{"-n", namespace}, args...)...)
	return err
}

func (c *cluster) devcluster(ctx context.Context, args ...string) error {
	_, err := command(ctx, "devcluster", args...)
	return err
}

func (c *cluster) installOperator(ctx context.Context, chart string) error {
	_, err := command(ctx, "helm", "install", "xinhari", chart, "--namespace", operatorNamespace, "--create-namespace", "--wait", "--timeout", "90s")
	return err
}

func (c *cluster) installShop(ctx context.Context, manifests string) error {
	if _, err := command(ctx, "kubectl", "create", "namespace", namespace); err != nil {
		return err
	}
	if err := c.kubectl(ctx, "apply", "-f", manifests); err != nil {
		return err
	}
	for _, d := range []string{"inventory", "orders"} {
		if err := c.kubectl(ctx, "rollout", "status", "deployment/"+d, "--timeout=90s"); err != nil {
			return err
		}
	}
	if err := c.kubectl(ctx, "wait", "services.xinhari.com", "--all", "--for=condition=Ready", "--timeout=60s"); err != nil {
		return err
	}
	p, err := c.anyPod(ctx, "orders")
	if err != nil {
		return err
	}
	c.orders = p
	return c.identify(ctx)
}

// warmUp waits until the calls of orders succeed.
func (c *cluster) warmUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		r, err := c.report(ctx)
		if err == nil && r.Calls > rate/4 && len(r.Failed) == 0 {
			return nil
		}
		if sleep(ctx, 500*time.Millisecond) != nil {
			if err == nil && len(r.Failed) > 0 {
				err = errors.New(r.Failed[len(r.Failed)-1].Error)
			}
			return fmt.Errorf("orders cannot call inventory: %w", err)
		}
	}
}

// anyPod returns a pod of the app that is ready.
func (c *cluster) anyPod(ctx context.Context, app string) (pod, error) {
	out, err := command(ctx, "kubectl", "-n", namespace, "get", "pods", "-l", "app="+app, "--field-selector=status.phase=Running",
		"-o", `jsonpath={range .items[*]}{.metadata.name} {.status.podIP} {.metadata.deletionTimestamp}{"\n"}{end}`)
	if err != nil {
		return pod{}, err
	}
	for line := range strings.Lines(out) {
		if fields := strings.Fields(line); len(fields) == 2 {
			return pod{name: fields[0], ip: fields[1]}, nil
		}
	}
	return pod{}, fmt.Errorf("no pod of %s is running", app)
}

// report asks orders for its calls since the last report, as curl would if it
// had an identity.
func (c *cluster) report(ctx context.Context) (shop.Report, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var r shop.Report
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+c.orders.ip+":8080/"+shop.ReportMethod, strings.NewReader("{}"))
	if err != nil {
		return r, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := c.http.Do(request)
	if err != nil {
		return r, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return r, fmt.Errorf("orders answered %s", response.Status)
	}
	return r, json.NewDecoder(response.Body).Decode(&r)
}

// kill sends SIGKILL to the pod's process, which the devcluster runs on this
// machine like any other, and returns when.
func (c *cluster) kill(p pod) (time.Time, error) {
	environs, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return time.Time{}, err
	}
	for _, environ := range environs {
		data, err := os.ReadFile(environ)
		if err != nil || !bytes.Contains(data, []byte("HOSTNAME="+p.name+"\x00")) {
			continue
		}
		dir := filepath.Dir(environ)
		if comm, err := os.ReadFile(dir + "/comm"); err != nil || strings.TrimSpace(string(comm)) != "inventory" {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			return time.Time{}, err
		}
		return time.Now(), syscall.Kill(pid, syscall.SIGKILL)
	}
	return time.Time{}, fmt.Errorf("the process of pod %s was not found", p.name)
}

// waitReady waits until the API server answers.
func (c *cluster) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	for {
		_, err := command(ctx, "kubectl", "get", "--raw", "/readyz")
		if err == nil {
			return nil
		}
		if sleep(ctx, 200*time.Millisecond) != nil {
			return fmt.Errorf("the API server is not back: %w", err)
		}
	}
}

// operator scales the operator and waits until it is so.
func (c *cluster) operator(ctx context.Context, replicas int) error {
	if _, err := command(ctx, "kubectl", "-n", operatorNamespace, "scale", "deployment", "--all", "--replicas="+strconv.Itoa(replicas)); err != nil {
		return err
	}
	if replicas == 0 {
		_, err := command(ctx, "kubectl", "-n", operatorNamespace, "wait", "pod", "--all", "--for=delete", "--timeout=60s")
		return err
	}
	_, err := command(ctx, "kubectl", "-n", operatorNamespace, "wait", "deployment", "--all", "--for=condition=Available", "--timeout=60s")
	return err
}

// explain prints what a person would look at first.
func (c *cluster) explain(ctx context.Context) {
	for _, args := range [][]string{
		{"get", "pods,xsvc,endpointslices", "-o", "wide"},
		{"get", "events", "--sort-by=.lastTimestamp"},
		{"logs", "deployment/orders", "--tail=20"},
	} {
		out, err := command(ctx, "kubectl", append([]string{"-n", namespace}, args...)...)
		if err != nil {
			out = err.Error()
		}
		fmt.Printf("\n$ kubectl -n %s %s\n%s", namespace, strings.Join(args, " "), out)
	}
}
