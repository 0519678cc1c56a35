package node

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// output returns what a script writes in the pod.
func (c *cluster) output(pod, script string) string {
	c.t.Helper()
	out, err := c.kubectl("exec", pod, "--", "sh", "-c", script)
	if err != nil {
		c.t.Fatalf("%v: %s", err, out)
	}
	return out
}

func TestVolumesAndRights(t *testing.T) {
	c := newCluster(t)
	users, groups := c.agent.users, c.agent.groups
	manyUsers := users.Contains(1234) && groups.Contains(1234)
	c.subtest(t, "Secrets and ConfigMaps are updated in place, but not by subPath", func(c *cluster) {
		api := c.client.CoreV1()
		meta := metav1.ObjectMeta{Name: "live"}
		secret := &corev1.Secret{ObjectMeta: meta, Data: map[string][]byte{"key": []byte("old")}}
		config := &corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"key": "old"}}
		if _, err := api.Secrets("default").Create(c.t.Context(), secret, metav1.CreateOptions{}); err != nil {
			c.t.Fatal(err)
		}
		if _, err := api.ConfigMaps("default").Create(c.t.Context(), config, metav1.CreateOptions{}); err != nil {
			c.t.Fatal(err)
		}
		main := shell("main", waits("main"))
		main.VolumeMounts = []corev1.VolumeMount{
			{Name: "secret", MountPath: "/secret"}, {Name: "config", MountPath: "/config"},
			{Name: "config", MountPath: "/etc/one/key", SubPath: "key"},
			{Name: "share", MountPath: "/expanded", SubPathExpr: "of-$(NAME)"},
		}
		main.Env = []corev1.EnvVar{{Name: "NAME", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}}}
		c.create("live", sharing(corev1.PodSpec{Containers: []corev1.Container{main}, Volumes: []corev1.Volume{
			{Name: "secret", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "live"}}},
			{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "live"}}}},
		}}))
		c.until("live", isReady)
		const read = "cat /secret/key /config/key /etc/one/key"
		if got := c.output("live", read); got != "oldoldold" {
			c.t.Errorf("%q", got)
		}
		if got := c.output("live", "touch /expanded/x; ls /share/of-live"); got != "x\n" {
			c.t.Errorf("%q", got)
		}
		secret.Data["key"], config.Data["key"] = []byte("new"), "new"
		if _, err := api.Secrets("default").Update(c.t.Context(), secret, metav1.UpdateOptions{}); err != nil {
			c.t.Fatal(err)
		}
		if _, err := api.ConfigMaps("default").Update(c.t.Context(), config, metav1.UpdateOptions{}); err != nil {
			c.t.Fatal(err)
		}
		c.eventually("both are new", func(context.Context) error {
			if got := c.output("live", read); got != "newnewold" {
				return fmt.Errorf("%q", got)
			}
			return nil
		})
		c.delete("live")
	})
	c.subtest(t, "files and volumes belong to fsGroup", func(c *cluster) {
		if !manyUsers {
			c.t.Skip("there is one user")
		}
		meta := metav1.ObjectMeta{Name: "grouped"}
		if _, err := c.client.CoreV1().ConfigMaps("default").Create(c.t.Context(), &corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"key": "x"}}, metav1.CreateOptions{}); err != nil {
			c.t.Fatal(err)
		}
		main := shell("main", waits("main"))
		main.VolumeMounts = []corev1.VolumeMount{{Name: "config", MountPath: "/config"}}
		spec := sharing(corev1.PodSpec{
			Containers: []corev1.Container{main},
			Volumes: []corev1.Volume{{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
				LocalObjectReference: corev1.LocalObjectReference{Name: "grouped"}, DefaultMode: pointer(int32(0o400)),
			}}}},
			SecurityContext: &corev1.PodSecurityContext{
				RunAsUser: pointer(int64(1234)), RunAsGroup: pointer(int64(4321)), FSGroup: pointer(int64(77)), SupplementalGroups: []int64{88, 99},
			},
		})
		c.create("grouped", spec)
		c.until("grouped", isReady)
		got := c.output("grouped", "id -u; id -g; id -G; stat -L -c '%g %a' /share /config/key; touch /share/new; stat -c %g /share/new; cat /config/key")
		if want := "1234\n4321\n4321 77 88 99\n77 2777\n77 440\n77\nx"; got != want {
			c.t.Errorf("%q", got)
		}
		c.delete("grouped")
	})
	c.subtest(t, "the node's network is the pod's", func(c *cluster) {
		main := shell("main", "trap 'exit 0' TERM; while :; do sleep 0.1; done")
		c.create("hosted", corev1.PodSpec{HostNetwork: true, Containers: []corev1.Container{main}})
		p := c.until("hosted", isReady)
		if p.Status.PodIP != p.Status.HostIP {
			c.t.Errorf("%+v", p.Status)
		}
		host, err := os.Readlink("/proc/self/ns/net")
		if err != nil {
			c.t.Fatal(err)
		}
		if got := c.output("hosted", "readlink /proc/self/ns/net; hostname"); got != host+"\ntest\n" {
			c.t.Errorf("%q, not %q", got, host)
		}
		c.delete("hosted")
	})
	c.subtest(t, "a token is for its audience, bound, and as short as is asked", func(c *cluster) {
		main := shell("main", waits("main"))
		main.VolumeMounts = []corev1.VolumeMount{{Name: "token", MountPath: "/token"}}
		c.create("token", sharing(corev1.PodSpec{Containers: []corev1.Container{main}, Volumes: []corev1.Volume{{Name: "token", VolumeSource: corev1.VolumeSource{
			Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{
				ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Audience: "somebody", ExpirationSeconds: pointer(int64(600)), Path: "it"},
			}}},
		}}}}))
		p := c.until("token", isReady)
		parts := strings.Split(c.output("token", "cat /token/it"), ".")
		if len(parts) != 3 {
			c.t.Fatal(parts)
		}
		data, err := base64.RawURLEncoding.DecodeString(parts[1])
		if err != nil {
			c.t.Fatal(err)
		}
		var claims struct {
			Aud        []string
			Exp, Iat   int64
			Kubernetes struct {
				Pod struct{ UID string }
			} `json:"kubernetes.io"`
		}
		if err := json.Unmarshal(data, &claims); err != nil {
			c.t.Fatal(err)
		}
		if claims.Exp-claims.Iat != 600 || !slices.Equal(claims.Aud, []string{"somebody"}) || claims.Kubernetes.Pod.UID != string(p.UID) {
			c.t.Errorf("%s", data)
		}
		c.delete("token")
	})
	c.subtest(t, "services are in the environment", func(c *cluster) {
		service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "a-store"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 6379}}}}
		service, err := c.client.CoreV1().Services("default").Create(c.t.Context(), service, metav1.CreateOptions{})
		if err != nil {
			c.t.Fatal(err)
		}
		c.eventually("the node knows it", func(context.Context) error {
			if len(c.agent.services.in("default")) < 2 {
				return fmt.Errorf("not yet")
			}
			return nil
		})
		main := shell("main", waits("main"))
		main.Env = []corev1.EnvVar{{Name: "REF", Value: "$(A_STORE_SERVICE_PORT)"}}
		for name, links := range map[string]bool{"links": true, "nolinks": false} {
			c.create(name, sharing(corev1.PodSpec{Containers: []corev1.Container{main}, EnableServiceLinks: &links}))
			c.until(name, isReady)
			env := c.output(name, "env")
			if got := strings.Contains(env, "A_STORE_SERVICE_HOST="+service.Spec.ClusterIP+"\n") && strings.Contains(env, "REF=6379\n"); got != links {
				c.t.Errorf("%s: %s", name, env)
			}
			if !strings.Contains(env, "KUBERNETES_SERVICE_HOST=10.96.0.1\n") {
				c.t.Errorf("%s: %s", name, env)
			}
			c.delete(name)
		}
	})
	c.subtest(t, "names of the pod", func(c *cluster) {
		c.create("named", corev1.PodSpec{
			Hostname: "web", Subdomain: "sub", SetHostnameAsFQDN: pointer(true), Containers: []corev1.Container{shell("main", "trap 'exit 0' TERM; while :; do sleep 0.1; done")},
			HostAliases: []corev1.HostAlias{{IP: "192.0.2.7", Hostnames: []string{"one", "two"}}},
		})
		p := c.until("named", isReady)
		got := c.output("named", "hostname; tail -n 2 /etc/hosts")
		if want := "web.sub.default.svc.cluster.local\n" + p.Status.PodIP + "\tweb.sub.default.svc.cluster.local\tweb\n192.0.2.7\tone\ttwo\n"; got != want {
			c.t.Errorf("%q", got)
		}
		c.delete("named")
	})
}

// TestOutage has the API server away for longer than the node's lease lives.
func TestOutage(t *testing.T) {
	c := newCluster(t)
	c.create("lonely", corev1.PodSpec{Containers: []corev1.Container{serving()}})
	c.create("ending", sharing(corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{shell("main", "while ! test -e /share/go; do sleep 0.1; done; exit 5")}}))
	c.until("lonely", isReady)
	c.until("ending", isReady)
	running := func(name string) runningContainer {
		w, ok := c.agent.worker("default", name)
		if !ok {
			t.Fatalf("no worker of %s", name)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.containers["main"]
	}
	stopped := time.Now()
	_ = c.apiserver.Process.Kill()
	_ = c.apiserver.Wait()
	killed, ending := running("lonely"), running("ending")
	if err := killed.Signal(9); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.dir+"/node/pods/"+string(podOf(c, "ending").UID)+"/volumes/share/go", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if exit := ending.Exit(); exit.Code != 5 {
		t.Errorf("%+v", exit)
	}
	<-killed.Done()
	c.eventually("it runs again", func(context.Context) error {
		if again := running("lonely"); again.Container == nil || again.Container == killed.Container {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	again := running("lonely")
	select { // Long enough for the node to be taken for lost.
	case <-again.Done():
		t.Error("it has ended")
	case <-time.After(42*time.Second - time.Since(stopped)):
	}
	c.startServer()
	begun := time.Now()
	c.until("lonely", func(p *corev1.Pod) bool { return isReady(p) && restarted(1)(p) })
	p := c.until("ending", phaseIs(corev1.PodFailed))
	if got := p.Status.ContainerStatuses[0].State.Terminated.ExitCode; got != 5 {
		t.Errorf("exit code %d", got)
	}
	t.Log("status caught up after", time.Since(begun))
	if running("lonely").Container != again.Container {
		t.Error("it was restarted once more")
	}
	c.delete("lonely")
}

func podOf(c *cluster, name string) *corev1.Pod {
	w, ok := c.agent.worker("default", name)
	if !ok {
		c.t.Fatalf("no worker of %s", name)
	}
	return w.current()
}
