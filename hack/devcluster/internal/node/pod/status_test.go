package pod

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func running(ready bool) corev1.ContainerStatus {
	return corev1.ContainerStatus{Ready: ready, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}
}

func ended(code int32) corev1.ContainerStatus {
	return corev1.ContainerStatus{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code}}}
}

func crashed() corev1.ContainerStatus {
	return corev1.ContainerStatus{
		State:                corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}},
		LastTerminationState: ended(1).State,
	}
}

func TestStatus(t *testing.T) {
	const yes, no = corev1.ConditionTrue, corev1.ConditionFalse
	type conditions = map[corev1.PodConditionType]corev1.ConditionStatus
	gate := corev1.PodConditionType("example.com/gate")
	tests := []struct {
		name       string
		policy     corev1.RestartPolicy
		init       bool
		gates      []corev1.PodReadinessGate
		last       []corev1.PodCondition
		failed     string
		containers map[string]corev1.ContainerStatus
		phase      corev1.PodPhase
		want       conditions
	}{
		{name: "nothing yet", phase: corev1.PodPending, want: conditions{"Initialized": yes, "Ready": no, "ContainersReady": no}},
		{
			name: "init runs", init: true, containers: map[string]corev1.ContainerStatus{"i": running(false)},
			phase: corev1.PodPending, want: conditions{"Initialized": no, "Ready": no, "ContainersReady": no},
		},
		{
			name: "init failed for good", policy: corev1.RestartPolicyNever, init: true, containers: map[string]corev1.ContainerStatus{"i": ended(1)},
			phase: corev1.PodFailed, want: conditions{"Initialized": no, "Ready": no, "ContainersReady": no},
		},
		{
			name: "one of two starts", containers: map[string]corev1.ContainerStatus{"a": running(true)},
			phase: corev1.PodPending, want: conditions{"Initialized": yes, "Ready": no, "ContainersReady": no},
		},
		{
			name: "both ready", init: true, containers: map[string]corev1.ContainerStatus{"i": ended(0), "a": running(true), "b": running(true)},
			phase: corev1.PodRunning, want: conditions{"Initialized": yes, "Ready": yes, "ContainersReady": yes},
		},
		{
			name: "a closed gate", gates: []corev1.PodReadinessGate{{ConditionType: gate}},
			containers: map[string]corev1.ContainerStatus{"a": running(true), "b": running(true)},
			phase:      corev1.PodRunning, want: conditions{"Initialized": yes, "Ready": no, "ContainersReady": yes},
		},
		{
			name: "an open gate", gates: []corev1.PodReadinessGate{{ConditionType: gate}}, last: []corev1.PodCondition{{Type: gate, Status: yes}},
			containers: map[string]corev1.ContainerStatus{"a": running(true), "b": running(true)},
			phase:      corev1.PodRunning, want: conditions{"Initialized": yes, "Ready": yes, "ContainersReady": yes, gate: yes},
		},
		{
			name: "one backs off", containers: map[string]corev1.ContainerStatus{"a": running(true), "b": crashed()},
			phase: corev1.PodRunning, want: conditions{"Initialized": yes, "Ready": no, "ContainersReady": no},
		},
		{
			name: "all ended, to be restarted", containers: map[string]corev1.ContainerStatus{"a": ended(0), "b": ended(1)},
			phase: corev1.PodRunning, want: conditions{"Initialized": yes, "Ready": no, "ContainersReady": no},
		},
		{
			name: "all ended well", policy: corev1.RestartPolicyOnFailure, containers: map[string]corev1.ContainerStatus{"a": ended(0), "b": ended(0)},
			phase: corev1.PodSucceeded, want: conditions{"Initialized": yes, "Ready": no, "ContainersReady": no},
		},
		{
			name: "one ended badly", policy: corev1.RestartPolicyNever, containers: map[string]corev1.ContainerStatus{"a": ended(0), "b": ended(1)},
			phase: corev1.PodFailed, want: conditions{"Initialized": yes, "Ready": no, "ContainersReady": no},
		},
		{
			name: "ended by the node, not yet", failed: "DeadlineExceeded", containers: map[string]corev1.ContainerStatus{"a": running(true), "b": ended(0)},
			phase: corev1.PodRunning, want: conditions{"Initialized": yes, "Ready": no, "ContainersReady": no},
		},
		{
			name: "ended by the node", failed: "DeadlineExceeded", containers: map[string]corev1.ContainerStatus{"a": ended(0), "b": ended(0)},
			phase: corev1.PodFailed, want: conditions{"Initialized": yes, "Ready": no, "ContainersReady": no},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := &corev1.Pod{
				Spec:   corev1.PodSpec{RestartPolicy: test.policy, ReadinessGates: test.gates, Containers: []corev1.Container{{Name: "a"}, {Name: "b"}}},
				Status: corev1.PodStatus{Conditions: test.last},
			}
			if test.init {
				p.Spec.InitContainers = []corev1.Container{{Name: "i"}}
			}
			s := Status(p, Observed{Containers: test.containers, Sandbox: true, Failed: test.failed}, metav1.Now())
			got := conditions{}
			for _, c := range s.Conditions {
				got[c.Type] = c.Status
			}
			test.want[corev1.PodReadyToStartContainers] = yes
			if diff := cmp.Diff(test.want, got); diff != "" || s.Phase != test.phase {
				t.Errorf("%s, want %s; %s", s.Phase, test.phase, diff)
			}
		})
	}
}

func TestStatusRests(t *testing.T) {
	p := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a"}}}}
	o := Observed{Containers: map[string]corev1.ContainerStatus{"a": running(true)}}
	p.Status = Status(p, o, metav1.Now())
	if diff := cmp.Diff(p.Status, Status(p, o, metav1.NewTime(time.Now().Add(time.Hour)))); diff != "" {
		t.Errorf("the same state has another status: %s", diff)
	}
}
