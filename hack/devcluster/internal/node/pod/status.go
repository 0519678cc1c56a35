package pod

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Observed is what the node knows of a pod.
type Observed struct {
	Started    metav1.Time
	HostIP     netip.Addr
	PodIP      netip.Addr // zero before the pod has one
	Sandbox    bool       // its network and namespaces are there
	Containers map[string]corev1.ContainerStatus
	// Failed, if not empty, is why the node itself ended the pod.
	Failed, Message string
}

// Status returns the pod's status. Conditions of others are those of the last
// status; those whose state is the same keep their time.
func Status(pod *corev1.Pod, o Observed, now metav1.Time) corev1.PodStatus {
	last := &pod.Status
	s := corev1.PodStatus{
		ObservedGeneration: pod.Generation,
		StartTime:          &o.Started,
		QOSClass:           last.QOSClass,
		Reason:             o.Failed,
		Message:            o.Message,
		NominatedNodeName:  last.NominatedNodeName,
		Resize:             last.Resize,
	}
	if o.HostIP.IsValid() {
		s.HostIP = o.HostIP.String()
		s.HostIPs = []corev1.HostIP{{IP: s.HostIP}}
	}
	if o.PodIP.IsValid() {
		s.PodIP = o.PodIP.String()
		s.PodIPs = []corev1.PodIP{{IP: s.PodIP}}
	}
	s.InitContainerStatuses = statuses(pod.Spec.InitContainers, o, "PodInitializing", last.InitContainerStatuses)
	s.ContainerStatuses = statuses(pod.Spec.Containers, o, waitingReason(pod), last.ContainerStatuses)
	s.Phase = phase(pod, o, s)
	s.Conditions = conditions(pod, o, s, now)
	return s
}

func waitingReason(pod *corev1.Pod) string {
	if len(pod.Spec.InitContainers) > 0 {
		return "PodInitializing"
	}
	return "ContainerCreating"
}

func statuses(containers []corev1.Container, o Observed, waiting string, last []corev1.ContainerStatus) []corev1.ContainerStatus {
	var all []corev1.ContainerStatus
	for _, c := range containers {
		status, ok := o.Containers[c.Name]
		if !ok {
			status = corev1.ContainerStatus{Name: c.Name, Image: c.Image}
			status.State.Waiting = &corev1.ContainerStateWaiting{Reason: waiting}
			started := false
			status.Started = &started
		}
		// What the API server fills in stays.
		for _, l := range last {
			if l.Name == c.Name {
				status.AllocatedResources, status.Resources = l.AllocatedResources, l.Resources
				status.VolumeMounts, status.User = l.VolumeMounts, l.User
			}
		}
		all = append(all, status)
	}
	return all
}

func phase(pod *corev1.Pod, o Observed, s corev1.PodStatus) corev1.PodPhase {
	if o.Failed != "" {
		return corev1.PodFailed
	}
	for _, c := range s.InitContainerStatuses {
		if t := c.State.Terminated; t != nil && t.ExitCode != 0 && pod.Spec.RestartPolicy == corev1.RestartPolicyNever {
			return corev1.PodFailed
		}
	}
	if !initialized(s) {
		return corev1.PodPending
	}
	var created, ended, failed int
	for _, c := range s.ContainerStatuses {
		t := c.State.Terminated
		if t != nil || c.State.Running != nil || c.LastTerminationState.Terminated != nil {
			created++
		}
		if t == nil || restarts(pod, t.ExitCode) && pod.DeletionTimestamp == nil {
			continue
		}
		ended++
		if t.ExitCode != 0 {
			failed++
		}
	}
	switch {
	case ended == len(s.ContainerStatuses) && failed > 0:
		return corev1.PodFailed
	case ended == len(s.ContainerStatuses):
		return corev1.PodSucceeded
	case created == len(s.ContainerStatuses):
		return corev1.PodRunning
	default:
		return corev1.PodPending
	}
}

func restarts(pod *corev1.Pod, code int32) bool { return Restarts(pod, int(code)) }

// Restarts reports whether a container that ended with the exit code is to be
// started again.
func Restarts(pod *corev1.Pod, code int) bool {
	switch pod.Spec.RestartPolicy {
	case corev1.RestartPolicyNever:
		return false
	case corev1.RestartPolicyOnFailure:
		return code != 0
	default:
		return true
	}
}

func initialized(s corev1.PodStatus) bool {
	for _, c := range s.InitContainerStatuses {
		if t := c.State.Terminated; t == nil || t.ExitCode != 0 {
			return false
		}
	}
	return true
}

func conditions(pod *corev1.Pod, o Observed, s corev1.PodStatus, now metav1.Time) []corev1.PodCondition {
	var unready []string
	for _, c := range s.ContainerStatuses {
		if !c.Ready {
			unready = append(unready, c.Name)
		}
	}
	ready := corev1.PodCondition{Type: corev1.ContainersReady, Status: corev1.ConditionTrue}
	if len(unready) > 0 {
		ready.Status, ready.Reason = corev1.ConditionFalse, "ContainersNotReady"
		ready.Message = fmt.Sprintf("containers with unready status: [%s]", strings.Join(unready, " "))
	}
	if s.Phase == corev1.PodSucceeded || s.Phase == corev1.PodFailed {
		ready.Reason, ready.Message = "Pod"+map[bool]string{true: "Completed", false: "Failed"}[s.Phase == corev1.PodSucceeded], ""
		ready.Status = corev1.ConditionFalse
	}
	initial := corev1.PodCondition{Type: corev1.PodInitialized, Status: corev1.ConditionTrue}
	if !initialized(s) {
		initial.Status, initial.Reason = corev1.ConditionFalse, "ContainersNotInitialized"
	}
	sandbox := corev1.PodCondition{Type: corev1.PodReadyToStartContainers, Status: conditionStatus(o.Sandbox)}

	all := []corev1.PodCondition{sandbox, initial, podReady(pod, ready), ready}
	for i := range all {
		all[i].ObservedGeneration = pod.Generation
		all[i].LastTransitionTime = now
	}
	for _, last := range pod.Status.Conditions {
		i := slices.IndexFunc(all, func(c corev1.PodCondition) bool { return c.Type == last.Type })
		switch {
		case i < 0:
			all = append(all, last)
		case all[i].Status == last.Status:
			all[i].LastTransitionTime = last.LastTransitionTime
			all[i].LastProbeTime = last.LastProbeTime
		}
	}
	return all
}

// podReady is true when the containers are, and all readiness gates.
func podReady(pod *corev1.Pod, containers corev1.PodCondition) corev1.PodCondition {
	ready := containers
	ready.Type = corev1.PodReady
	if ready.Status != corev1.ConditionTrue {
		return ready
	}
	var closed []string
	for _, gate := range pod.Spec.ReadinessGates {
		open := slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == gate.ConditionType && c.Status == corev1.ConditionTrue
		})
		if !open {
			closed = append(closed, string(gate.ConditionType))
		}
	}
	if len(closed) > 0 {
		ready.Status, ready.Reason = corev1.ConditionFalse, "ReadinessGatesNotReady"
		ready.Message = fmt.Sprintf("conditions that are not true: [%s]", strings.Join(closed, " "))
	}
	return ready
}

func conditionStatus(b bool) corev1.ConditionStatus {
	if b {
		return corev1.ConditionTrue
	}
	return corev1.ConditionFalse
}
