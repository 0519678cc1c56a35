package conformance

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

const actorImage = "xinhari.local/" + actorName + ":dev"

// onward ends a script that goes on until SIGTERM.
const onward = "; trap 'exit 0' TERM; sleep 10000 & wait"

// server is a container with an actor.
func server(args ...string) corev1.Container {
	return corev1.Container{
		Name: "main", Image: actorImage, Args: args,
		Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: httpPort}},
	}
}

// shell is a container that runs a script.
func shell(name, script string) corev1.Container {
	return corev1.Container{Name: name, Image: actorImage, Command: []string{"sh", "-c", script}}
}

// pod has containers and the label app, its name.
func pod(name string, containers ...corev1.Container) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}},
		Spec:       corev1.PodSpec{Containers: containers, TerminationGracePeriodSeconds: ptr.To[int64](5)},
	}
}

// notebook gives each container of a pod the same emptyDir at /notes.
func notebook(p *corev1.Pod) *corev1.Pod {
	p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "notes", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
	for _, containers := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range containers {
			containers[i].VolumeMounts = append(containers[i].VolumeMounts, corev1.VolumeMount{Name: "notes", MountPath: "/notes"})
		}
	}
	return p
}

// policy sets the restart policy.
func policy(p *corev1.Pod, policy corev1.RestartPolicy) *corev1.Pod {
	p.Spec.RestartPolicy = policy
	return p
}

func (s *scene) create(p *corev1.Pod) {
	s.Helper()
	_, err := s.client.CoreV1().Pods(s.namespace).Create(s.ctx, p, metav1.CreateOptions{})
	s.must(err)
}

// until waits for a state of a pod.
func (s *scene) until(name string, is func(*corev1.Pod) error) *corev1.Pod {
	s.Helper()
	return await(s, s.client.CoreV1().Pods(s.namespace), name, is)
}

// start creates a pod and waits until it is ready.
func (s *scene) start(p *corev1.Pod) *corev1.Pod {
	s.Helper()
	s.create(p)
	return s.until(p.Name, ready)
}

// delete asks for the pod's end and does not wait for it.
func (s *scene) delete(name string, o metav1.DeleteOptions) {
	s.Helper()
	s.must(s.client.CoreV1().Pods(s.namespace).Delete(s.ctx, name, o))
}

func (s *scene) podGone(name string) {
	s.Helper()
	gone[*corev1.Pod](s, s.client.CoreV1().Pods(s.namespace), name)
}

func exists(*corev1.Pod) error { return nil }

func conditionIs(kind corev1.PodConditionType, want corev1.ConditionStatus) func(*corev1.Pod) error {
	return func(p *corev1.Pod) error {
		for _, c := range p.Status.Conditions {
			if c.Type == kind && c.Status == want {
				return nil
			}
		}
		return fmt.Errorf("condition %s is not %s", kind, want)
	}
}

func ready(p *corev1.Pod) error { return conditionIs(corev1.PodReady, corev1.ConditionTrue)(p) }

func unready(p *corev1.Pod) error { return conditionIs(corev1.PodReady, corev1.ConditionFalse)(p) }

func phase(want corev1.PodPhase) func(*corev1.Pod) error {
	return func(p *corev1.Pod) error {
		if p.Status.Phase != want {
			return fmt.Errorf("phase is %s", p.Status.Phase)
		}
		return nil
	}
}

// container returns the status of a container.
func container(p *corev1.Pod, name string) corev1.ContainerStatus {
	for _, list := range [][]corev1.ContainerStatus{p.Status.ContainerStatuses, p.Status.InitContainerStatuses} {
		for _, c := range list {
			if c.Name == name {
				return c
			}
		}
	}
	return corev1.ContainerStatus{}
}

// restarted waits until main runs again.
func restarted(p *corev1.Pod) error {
	if c := container(p, "main"); c.RestartCount < 1 || c.State.Running == nil {
		return fmt.Errorf("main was restarted %d times, state %v", c.RestartCount, c.State)
	}
	return nil
}

// waiting is true of a pod whose container waits for a reason.
func waiting(name, reason string) func(*corev1.Pod) error {
	return func(p *corev1.Pod) error {
		if c := container(p, name); c.State.Waiting == nil || c.State.Waiting.Reason != reason {
			return fmt.Errorf("%s is not waiting because of %s: %+v", name, reason, c.State)
		}
		return nil
	}
}

// running is true of a pod whose container runs.
func running(name string) func(*corev1.Pod) error {
	return func(p *corev1.Pod) error {
		if c := container(p, name); c.State.Running == nil {
			return fmt.Errorf("%s is not running: %+v", name, c.State)
		}
		return nil
	}
}

func execAction(script string) corev1.ProbeHandler {
	return corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"sh", "-c", script}}}
}

func httpAction(path string) corev1.ProbeHandler {
	return corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromInt32(httpPort)}}
}

// probe asks each second, and decides at once.
func probe(h corev1.ProbeHandler) *corev1.Probe {
	return &corev1.Probe{ProbeHandler: h, PeriodSeconds: 1, FailureThreshold: 1, TimeoutSeconds: 5}
}

// terminated is true of a pod whose container has ended.
func terminated(name string) func(*corev1.Pod) error {
	return func(p *corev1.Pod) error {
		if c := container(p, name); c.State.Terminated == nil {
			return fmt.Errorf("%s has not ended: %+v", name, c.State)
		}
		return nil
	}
}

// now deletes without grace, graceful as the pod says.
func now() metav1.DeleteOptions { return metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)} }

func graceful() metav1.DeleteOptions { return metav1.DeleteOptions{} }

// release takes a pod's finalizers away.
func (s *scene) release(name string) {
	s.Helper()
	_, err := s.client.CoreV1().Pods(s.namespace).Patch(s.ctx, name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
	s.must(err)
}
