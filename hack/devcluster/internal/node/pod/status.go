package pod

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"
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
	for _, c := range pod.Spec.EphemeralContainers {
		spec := []corev1.Container{corev1.Container(c.EphemeralContainerCommon)}
		s.EphemeralContainerStatuses = append(s.EphemeralContainerStatuses, statuses(spec, o, "ContainerCreating", last.EphemeralContainerStatuses)...)
	}
	s.Phase = phase(pod, o, s)
	if s.Phase == corev1.PodFailed {
		s.Reason, s.Message = o.Failed, o.Message
	}
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

// phase is final only when no container runs any more.
func phase(pod *corev1.Pod, o Observed, s corev1.PodStatus) corev1.PodPhase {
	if o.Failed != "" && !anyRuns(s) {
		return corev1.PodFailed
	}
	for i, c := range s.InitContainerStatuses {
		spec := &pod.Spec.InitContainers[i]
		if t := c.State.Terminated; t != nil && t.ExitCode != 0 && !IsSidecar(spec) && !Restarts(pod, spec, int(t.ExitCode)) {
			if anyRuns(s) {
				return corev1.PodPending
			}
			return corev1.PodFailed
		}
	}
	if !initialized(pod, s) {
		return corev1.PodPending
	}
	var created, ended, failed int
	for i, c := range s.ContainerStatuses {
		t := c.State.Terminated
		if t != nil || c.State.Running != nil || c.LastTerminationState.Terminated != nil {
			created++
		}
		if t == nil || Restarts(pod, &pod.Spec.Containers[i], int(t.ExitCode)) && pod.DeletionTimestamp == nil {
			continue
		}
		ended++
		if t.ExitCode != 0 {
			failed++
		}
	}
	switch {
	case ended == len(s.ContainerStatuses) && anyRuns(s):
		return corev1.PodRunning
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

func anyRuns(s corev1.PodStatus) bool {
	runs := func(c corev1.ContainerStatus) bool { return c.State.Running != nil }
	return slices.ContainsFunc(s.InitContainerStatuses, runs) || slices.ContainsFunc(s.ContainerStatuses, runs) ||
		slices.ContainsFunc(s.EphemeralContainerStatuses, runs)
}

// IsSidecar reports whether an init container runs for the pod's life.
func IsSidecar(c *corev1.Container) bool { return podutil.IsRestartableInitContainer(c) }

// Restarts reports whether a container that ended with the exit code is to be
// started again.
func Restarts(pod *corev1.Pod, c *corev1.Container, code int) bool {
	return podutil.ContainerShouldRestart(*c, pod.Spec, int32(code))
}

// initialized stays true once a container has run that comes after the init
// containers.
func initialized(pod *corev1.Pod, s corev1.PodStatus) bool {
	if slices.ContainsFunc(s.ContainerStatuses, func(c corev1.ContainerStatus) bool {
		return c.State.Running != nil || c.State.Terminated != nil || c.LastTerminationState.Terminated != nil
	}) {
		return true
	}
	for i, c := range s.InitContainerStatuses {
		if IsSidecar(&pod.Spec.InitContainers[i]) {
			if c.Started == nil || !*c.Started {
				return false
			}
			continue
		}
		if t := c.State.Terminated; t == nil || t.ExitCode != 0 {
			return false
		}
	}
	return true
}

func conditions(pod *corev1.Pod, o Observed, s corev1.PodStatus, now metav1.Time) []corev1.PodCondition {
	var unready []string
	for i, c := range s.InitContainerStatuses {
		if !c.Ready && IsSidecar(&pod.Spec.InitContainers[i]) {
			unready = append(unready, c.Name)
		}
	}
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
	if !initialized(pod, s) {
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
