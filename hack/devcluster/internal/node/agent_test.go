package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestDeployment(t *testing.T) {
	c := newCluster(t)
	ctx := t.Context()
	api := c.client.CoreV1()
	c.eventually("there is a default service account", func(ctx context.Context) error {
		_, err := api.ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
		return err
	})
	settings := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings"}, Data: map[string]string{"color": "red"}}
	if _, err := api.ConfigMaps("default").Create(ctx, settings, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{"app": "web"}
	replicas := int32(2)
	begun := time.Now()
	_, err := c.client.AppsV1().Deployments("default").Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: webSpec()},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var pods []corev1.Pod
	c.eventually("both pods are ready", func(ctx context.Context) error {
		list, err := api.Pods("default").List(ctx, metav1.ListOptions{LabelSelector: "app=web"})
		if err != nil {
			return err
		}
		pods = list.Items
		if len(pods) != 2 {
			return fmt.Errorf("%d pods", len(pods))
		}
		for _, p := range pods {
			if !isReady(&p) {
				return fmt.Errorf("%s: %+v", p.Name, p.Status)
			}
		}
		return nil
	})
	t.Log("ready after", time.Since(begun))
	first := pods[0]
	answer := func(address, path string) string {
		t.Helper()
		client := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
		res, err := client.Get("http://" + address + ":8080" + path)
		if err != nil {
			return err.Error()
		}
		defer res.Body.Close()
		data, _ := io.ReadAll(res.Body)
		return string(data)
	}
	env := answer(first.Status.PodIP, "/")
	for _, want := range []string{
		"COLOR=red", "POD_IP=" + first.Status.PodIP, "KUBERNETES_SERVICE_HOST=10.96.0.1", "GREETING=hello red", "HOSTNAME=" + first.Name,
	} {
		if !strings.Contains(env, want+"\n") {
			t.Errorf("the environment lacks %s:\n%s", want, env)
		}
	}
	if token := answer(first.Status.PodIP, "/file?path=/var/run/secrets/kubernetes.io/serviceaccount/token"); strings.Count(token, ".") != 2 {
		t.Errorf("the token is %q", token)
	}
	if got := answer(first.Status.PodIP, "/file?path=/etc/web/color"); got != "red" {
		t.Errorf("the file of a volume is %q", got)
	}
	settings.Data["color"] = "blue"
	if _, err := api.ConfigMaps("default").Update(ctx, settings, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	begun = time.Now()
	c.eventually("the volume shows the new colour", func(context.Context) error {
		if got := answer(first.Status.PodIP, "/file?path=/settings/color"); got != "blue" {
			return errors.New(got)
		}
		return nil
	})
	t.Log("volume updated after", time.Since(begun))

	out, err := c.kubectl("logs", first.Name, "--tail=2")
	if err != nil || !strings.Contains(out, "starting a b") || !strings.Contains(out, "complaint") {
		t.Errorf("kubectl logs: %v: %s", err, out)
	}
	if out, err := c.kubectl("logs", "--previous", first.Name); err == nil || !strings.Contains(out, "previous terminated container") {
		t.Errorf("kubectl logs --previous of a container that was not restarted: %v: %s", err, out)
	}
	out, err = c.kubectl("exec", first.Name, "--", "sh", "-c", "cat /settings/color; exit 7")
	if !strings.Contains(out, "blue") || !strings.Contains(out, "exit code 7") {
		t.Errorf("kubectl exec: %v: %s", err, out)
	}

	t.Run("killed from outside", func(t *testing.T) {
		begun := time.Now()
		if out, err := c.kubectl("exec", first.Name, "--", "cat", "/proc/1/cmdline"); err != nil || !strings.HasPrefix(out, "/web") {
			t.Errorf("kubectl exec: %v: %q", err, out)
		}
		w, _ := c.agent.worker("default", first.Name)
		syscall.Kill(w.containers["web"].PID, syscall.SIGKILL)
		c.eventually("it runs again", func(ctx context.Context) error {
			p, err := api.Pods("default").Get(ctx, first.Name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			s := p.Status.ContainerStatuses[0]
			if s.RestartCount != 1 || s.State.Running == nil || s.LastTerminationState.Terminated == nil || !isReady(p) {
				return fmt.Errorf("%+v", s)
			}
			if s.LastTerminationState.Terminated.ExitCode != 137 {
				t.Errorf("exit code %d", s.LastTerminationState.Terminated.ExitCode)
			}
			return nil
		})
		t.Log("ready again after", time.Since(begun))
		if out, err := c.kubectl("logs", "--previous", first.Name); err != nil || !strings.Contains(out, "starting") {
			t.Errorf("kubectl logs --previous: %v: %s", err, out)
		}
	})
	t.Run("unhealthy", func(t *testing.T) {
		answer(pods[1].Status.PodIP, "/fail")
		c.eventually("it is restarted", func(ctx context.Context) error {
			p, err := api.Pods("default").Get(ctx, pods[1].Name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if s := p.Status.ContainerStatuses[0]; s.RestartCount != 1 || !isReady(p) {
				return fmt.Errorf("%+v", s)
			}
			return nil
		})
	})
	t.Run("deleted", func(t *testing.T) {
		begun := time.Now()
		if err := api.Pods("default").Delete(ctx, first.Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		c.eventually("it is gone", func(ctx context.Context) error {
			_, err := api.Pods("default").Get(ctx, first.Name, metav1.GetOptions{})
			if !apierrors.IsNotFound(err) {
				return fmt.Errorf("it is there: %w", err)
			}
			return nil
		})
		t.Log("gone after", time.Since(begun))
	})
}

func webSpec() corev1.PodSpec {
	probe := func() *corev1.Probe {
		return &corev1.Probe{
			ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromString("http")}},
			PeriodSeconds: 1, FailureThreshold: 1,
		}
	}
	liveness := probe()
	liveness.InitialDelaySeconds = 1
	return corev1.PodSpec{
		Volumes: []corev1.Volume{
			{Name: "settings", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
				LocalObjectReference: corev1.LocalObjectReference{Name: "settings"},
			}}},
			{Name: "scratch", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		},
		Containers: []corev1.Container{{
			Name: "web", Image: "xinhari.local/web:dev", Args: []string{"a", "b"},
			Ports:          []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
			ReadinessProbe: probe(), LivenessProbe: liveness,
			Env: []corev1.EnvVar{
				{Name: "COLOR", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{
					LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}, Key: "color",
				}}},
				{Name: "POD_IP", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}},
				{Name: "GREETING", Value: "hello $(COLOR)"},
			},
			VolumeMounts: []corev1.VolumeMount{
				{Name: "settings", MountPath: "/settings"},
				{Name: "settings", MountPath: "/etc/web/color", SubPath: "color"},
				{Name: "scratch", MountPath: "/usr/share/scratch/here"},
			},
		}},
	}
}

func isReady(p *corev1.Pod) bool {
	for _, condition := range p.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}
