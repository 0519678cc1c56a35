package node

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func pointer[T any](v T) *T { return &v }

// waits is a script that lives until it is asked to stop, says so in a file of
// the volume at /share, and takes a moment for it.
func waits(name string) string {
	return fmt.Sprintf("trap 'echo %[1]s stops >> /share/f; sleep 0.1; echo %[1]s stopped >> /share/f; exit 0' TERM; echo %[1]s starts >> /share/f; while :; do sleep 0.05; done", name)
}

// sharing gives containers a volume at /share.
func sharing(spec corev1.PodSpec) corev1.PodSpec {
	spec.Volumes = append(spec.Volumes, corev1.Volume{Name: "share", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
	for _, containers := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range containers {
			containers[i].VolumeMounts = append(containers[i].VolumeMounts, corev1.VolumeMount{Name: "share", MountPath: "/share"})
		}
	}
	return spec
}

func sidecar(name, script string) corev1.Container {
	c := shell(name, script)
	c.RestartPolicy = pointer(corev1.ContainerRestartPolicyAlways)
	return c
}

func command(script string) corev1.ProbeHandler {
	return corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"sh", "-c", script}}}
}

// subtests run f with the cluster in parallel with the others.
func (c *cluster) subtest(t *testing.T, name string, f func(c *cluster)) {
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		sub := *c
		sub.t = t
		f(&sub)
	})
}

func initStatus(p *corev1.Pod, i int) corev1.ContainerStatus {
	if i >= len(p.Status.InitContainerStatuses) {
		return corev1.ContainerStatus{}
	}
	return p.Status.InitContainerStatuses[i]
}

func (c *cluster) logsOf(args ...string) string {
	c.t.Helper()
	out, err := c.kubectl(append([]string{"logs"}, args...)...)
	if err != nil {
		c.t.Fatalf("%v: %s", err, out)
	}
	return out
}

func TestSidecars(t *testing.T) {
	c := newCluster(t)
	c.subtest(t, "start in order and stop in reverse", func(c *cluster) {
		started := func(name string) string { return "grep -q '" + name + " starts' /share/f" }
		first, second := sidecar("first", "sleep 0.3; "+waits("first")), sidecar("second", waits("second"))
		for _, s := range []*corev1.Container{&first, &second} { // without it, one that runs counts as started, whatever it has done by then
			s.StartupProbe = &corev1.Probe{ProbeHandler: command(started(s.Name)), PeriodSeconds: 1, FailureThreshold: 30}
		}
		keeper := sidecar("keeper", "echo begins; trap 'cat /share/f; exit 0' TERM; while :; do sleep 0.05; done")
		spec := sharing(corev1.PodSpec{
			RestartPolicy:  corev1.RestartPolicyNever,
			InitContainers: []corev1.Container{keeper, first, shell("init", started("first")+" && echo init >> /share/f"), second},
			Containers:     []corev1.Container{shell("main", waits("main"))},
		})
		c.create("order", spec)
		p := c.until("order", isReady)
		for i := range 4 {
			if s := initStatus(p, i); i != 2 && (s.Started == nil || !*s.Started || !s.Ready || s.State.Running == nil) {
				c.t.Errorf("%+v", s)
			}
		}
		rest := c.following("order", "-c", "keeper")
		c.eventually("main runs", func(context.Context) error {
			out, _ := c.kubectl("exec", "order", "-c", "main", "--", "cat", "/share/f")
			if !strings.Contains(out, "main starts") {
				return fmt.Errorf("%s", out)
			}
			return nil
		})
		c.delete("order")
		want := "first starts\ninit\nsecond starts\nmain starts\nmain stops\nmain stopped\nsecond stops\nsecond stopped\nfirst stops\nfirst stopped\n"
		if got := rest(); got != want {
			c.t.Errorf("%s", got)
		}
	})
	c.subtest(t, "are restarted, and do not keep a Job from ending", func(c *cluster) {
		spec := sharing(corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever,
			// It ends once: with exit code 0 although the policy is Never.
			InitContainers: []corev1.Container{sidecar("side", "echo x >> /share/runs; test $(wc -l < /share/runs) -gt 1 || exit 0; "+waits("side"))},
			Containers:     []corev1.Container{shell("main", "while test $(wc -l < /share/runs) -lt 2; do sleep 0.05; done; echo done")},
		})
		_, err := c.client.BatchV1().Jobs("default").Create(c.t.Context(), &batchv1.Job{
			ObjectMeta: metav1.ObjectMeta{Name: "job"},
			Spec:       batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: spec}, BackoffLimit: pointer(int32(0))},
		}, metav1.CreateOptions{})
		if err != nil {
			c.t.Fatal(err)
		}
		c.eventually("the job is complete", func(ctx context.Context) error {
			job, err := c.client.BatchV1().Jobs("default").Get(ctx, "job", metav1.GetOptions{})
			if err == nil && job.Status.Succeeded != 1 {
				err = fmt.Errorf("%+v", job.Status)
			}
			return err
		})
		pods, err := c.client.CoreV1().Pods("default").List(c.t.Context(), metav1.ListOptions{LabelSelector: "job-name=job"})
		if err != nil || len(pods.Items) != 1 {
			c.t.Fatal(pods, err)
		}
		if s := initStatus(&pods.Items[0], 0); s.RestartCount != 1 || s.State.Terminated == nil || pods.Items[0].Status.Phase != corev1.PodSucceeded {
			c.t.Errorf("%+v", pods.Items[0].Status)
		}
	})
	c.subtest(t, "count for the pod's readiness", func(c *cluster) {
		side := sidecar("side", waits("side"))
		side.ReadinessProbe = &corev1.Probe{ProbeHandler: command("test -e /share/ready"), PeriodSeconds: 1}
		c.create("unready", sharing(corev1.PodSpec{InitContainers: []corev1.Container{side}, Containers: []corev1.Container{shell("main", waits("main"))}}))
		p := c.until("unready", phaseIs(corev1.PodRunning))
		if isReady(p) {
			c.t.Error("it is ready")
		}
		if out, err := c.kubectl("exec", "unready", "-c", "main", "--", "touch", "/share/ready"); err != nil {
			c.t.Fatal(out, err)
		}
		c.until("unready", isReady)
		c.delete("unready")
	})
	c.subtest(t, "that stay too long are killed when the grace is over", func(c *cluster) {
		spec := corev1.PodSpec{
			TerminationGracePeriodSeconds: pointer(int64(2)),
			InitContainers:                []corev1.Container{sidecar("side", "trap '' TERM; while :; do sleep 0.1; done")},
			Containers:                    []corev1.Container{shell("main", "trap '' TERM; while :; do sleep 0.1; done")},
		}
		c.create("stay", spec)
		c.until("stay", isReady)
		if took := c.delete("stay"); took < 2*time.Second || took > 20*time.Second {
			c.t.Errorf("deletion took %s", took)
		}
	})
	c.subtest(t, "a container's own restart rules win", func(c *cluster) {
		main := shell("main", "echo x >> /share/runs; test $(wc -l < /share/runs) -gt 1 || exit 42; exit 3")
		main.RestartPolicy = pointer(corev1.ContainerRestartPolicyNever)
		main.RestartPolicyRules = []corev1.ContainerRestartRule{{
			Action:    corev1.ContainerRestartRuleActionRestart,
			ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{Operator: corev1.ContainerRestartRuleOnExitCodesOpIn, Values: []int32{42}},
		}}
		c.create("rules", sharing(corev1.PodSpec{Containers: []corev1.Container{main}}))
		p := c.until("rules", phaseIs(corev1.PodFailed))
		if s := p.Status.ContainerStatuses[0]; s.RestartCount != 1 || s.State.Terminated.ExitCode != 3 {
			c.t.Errorf("%+v", s)
		}
	})
}
