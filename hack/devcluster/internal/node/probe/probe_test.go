package probe

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// asked is a container whose exec probe gives a list of answers.
func asked(answers []bool, done context.CancelFunc) Target {
	return Target{Exec: func(context.Context, []string, *bytes.Buffer) (int, error) {
		if len(answers) == 1 {
			done()
		}
		ok := answers[0]
		answers = answers[1:]
		if ok {
			return 0, nil
		}
		return 1, nil
	}}
}

func TestRun(t *testing.T) {
	type verdict struct {
		At time.Duration
		OK bool
	}
	tests := []struct {
		name    string
		probe   corev1.Probe
		eager   bool
		answers []bool
		want    []verdict
	}{
		{
			name: "each change once", probe: corev1.Probe{PeriodSeconds: 2}, answers: []bool{true, true, false, false, true, true},
			want: []verdict{{0, true}, {4 * time.Second, false}, {8 * time.Second, true}},
		},
		{
			name: "failures in a row", probe: corev1.Probe{PeriodSeconds: 1, FailureThreshold: 3, InitialDelaySeconds: 5},
			answers: []bool{true, false, false, true, false, false, false, false},
			want:    []verdict{{5 * time.Second, true}, {11 * time.Second, false}},
		},
		{
			name: "successes in a row", probe: corev1.Probe{PeriodSeconds: 1, SuccessThreshold: 2}, answers: []bool{true, false, true, true, true},
			want: []verdict{{time.Second, false}, {3 * time.Second, true}},
		},
		{
			name: "eager until the first success", probe: corev1.Probe{PeriodSeconds: 10}, eager: true, answers: []bool{false, false, true, false, false},
			want: []verdict{{0, false}, {150 * time.Millisecond, true}, {10*time.Second + 150*time.Millisecond, false}},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				test.probe.Exec = &corev1.ExecAction{Command: []string{"ask"}}
				begun := time.Now()
				var got []verdict
				Run(ctx, &test.probe, asked(append(test.answers, true), cancel), test.eager, func(ok bool, _ string) {
					got = append(got, verdict{time.Since(begun), ok})
				})
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

func TestOnce(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	port := server.Listener.Addr().(*net.TCPAddr).Port
	container := &corev1.Container{Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: int32(port)}}}
	exec := func(code int, err error) Executor {
		return func(context.Context, []string, *bytes.Buffer) (int, error) { return code, err }
	}
	command := corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"x"}}}
	tests := []struct {
		name    string
		handler corev1.ProbeHandler
		exec    Executor
		want    bool
	}{
		{name: "http by name", handler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromString("http")}}, want: true},
		{name: "http that fails", handler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/", Port: intstr.FromInt(port)}}},
		{name: "http of an unknown port", handler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromString("x")}}},
		{name: "tcp", handler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt(port)}}, want: true},
		{name: "grpc of something else", handler: corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: int32(port)}}},
		{name: "exec", handler: command, exec: exec(0, nil), want: true},
		{name: "exec that fails", handler: command, exec: exec(1, nil)},
		{name: "exec that cannot run", handler: command, exec: exec(0, errors.New("no"))},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			target := Target{Container: container, Address: netip.MustParseAddr("127.0.0.1"), Exec: test.exec}
			if got, message := Once(t.Context(), test.handler, target, time.Second); got != test.want {
				t.Errorf("%t: %s", got, message)
			}
		})
	}
}
