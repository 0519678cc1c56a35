// Package probe asks containers how they are.
package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/kubernetes/pkg/probe"
	grpcprobe "k8s.io/kubernetes/pkg/probe/grpc"
	httpprobe "k8s.io/kubernetes/pkg/probe/http"
	tcpprobe "k8s.io/kubernetes/pkg/probe/tcp"
)

// Executor runs a command in the container and returns its exit code.
type Executor func(ctx context.Context, command []string, output *bytes.Buffer) (int, error)

// Target is the container that is asked.
type Target struct {
	Container *corev1.Container
	Address   netip.Addr
	Exec      Executor
}

// Run asks by the probe until ctx ends, and calls report with each change of
// its verdict, and with the first: true after successThreshold successes in a
// row, false after failureThreshold failures. Until the first true of an eager
// probe it asks more often than the period says: where an early failure has
// no effect, nobody need wait for the next period of a program that starts
// faster than a container of a large image does.
func Run(ctx context.Context, p *corev1.Probe, target Target, eager bool, report func(ok bool, message string)) {
	if !wait(ctx, time.Duration(p.InitialDelaySeconds)*time.Second) {
		return
	}
	var verdict *bool
	var row int32
	var last, succeeded bool
	quick := firstEager
	for {
		ok, message := Once(ctx, p.ProbeHandler, target, timeout(p))
		if ctx.Err() != nil {
			return
		}
		if ok != last {
			row = 0
		}
		last = ok
		row++
		threshold := max(p.FailureThreshold, 1)
		if ok {
			threshold = max(p.SuccessThreshold, 1)
		}
		if row >= threshold && (verdict == nil || *verdict != ok) {
			verdict, succeeded = &ok, succeeded || ok
			report(ok, message)
		}
		pause := time.Duration(max(p.PeriodSeconds, 1)) * time.Second
		if eager && !succeeded {
			quick = min(2*quick, pause)
			pause = quick
		}
		if !wait(ctx, pause) {
			return
		}
	}
}

// firstEager is half the first pause of an eager probe; each is twice the last.
const firstEager = 25 * time.Millisecond

func timeout(p *corev1.Probe) time.Duration {
	return time.Duration(max(p.TimeoutSeconds, 1)) * time.Second
}

func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Once asks one time and says what it heard.
func Once(ctx context.Context, h corev1.ProbeHandler, target Target, timeout time.Duration) (bool, string) {
	result, message, err := ask(ctx, h, target, timeout)
	if err != nil {
		return false, err.Error()
	}
	return result == probe.Success || result == probe.Warning, message
}

func ask(ctx context.Context, h corev1.ProbeHandler, target Target, timeout time.Duration) (probe.Result, string, error) {
	switch {
	case h.HTTPGet != nil:
		req, err := httpprobe.NewRequestForHTTPGetAction(h.HTTPGet, target.Container, target.Address.String(), "probe")
		if err != nil {
			return probe.Unknown, "", err
		}
		return httpprobe.New(false).Probe(req, timeout)
	case h.TCPSocket != nil:
		port, err := probe.ResolveContainerPort(h.TCPSocket.Port, target.Container)
		if err != nil {
			return probe.Unknown, "", err
		}
		return tcpprobe.New().Probe(hostOr(h.TCPSocket.Host, target.Address), port, timeout)
	case h.GRPC != nil:
		port, err := probe.ResolveContainerPort(intstr.FromInt32(h.GRPC.Port), target.Container)
		if err != nil {
			return probe.Unknown, "", err
		}
		service := ""
		if h.GRPC.Service != nil {
			service = *h.GRPC.Service
		}
		return grpcprobe.New().Probe(target.Address.String(), service, port, timeout)
	case h.Exec != nil:
		return askExec(ctx, h.Exec.Command, target, timeout)
	}
	return probe.Unknown, "", errors.New("probe asks nothing")
}

func askExec(ctx context.Context, command []string, target Target, timeout time.Duration) (probe.Result, string, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var output bytes.Buffer
	code, err := target.Exec(ctx, command, &output)
	if err != nil {
		return probe.Unknown, "", fmt.Errorf("run %v: %w", command, err)
	}
	if code != 0 {
		return probe.Failure, output.String(), nil
	}
	return probe.Success, output.String(), nil
}

func hostOr(host string, address netip.Addr) string {
	if host != "" {
		return host
	}
	return address.String()
}
