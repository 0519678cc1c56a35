package conformance

import (
	"context"
	"fmt"
	"os/exec"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// etcdSet is etcd from its module with three members that find each other by the names of their pods.
func etcdSet(namespace string) *appsv1.StatefulSet {
	const names = "etcd-0=http://etcd-0.etcd:2380,etcd-1=http://etcd-1.etcd:2380,etcd-2=http://etcd-2.etcd:2380"
	set := statefulSet("etcd", 3)
	set.Spec.PodManagementPolicy = appsv1.ParallelPodManagement
	p := notebook(pod("etcd", corev1.Container{
		Name: "main", Image: "xinhari.local/etcd:dev",
		Env: []corev1.EnvVar{field("POD_NAME", "metadata.name")},
		Args: []string{
			"--name=$(POD_NAME)", "--data-dir=/notes/etcd", "--initial-cluster=" + names, "--initial-cluster-token=" + namespace,
			"--listen-peer-urls=http://0.0.0.0:2380", "--initial-advertise-peer-urls=http://$(POD_NAME).etcd:2380",
			"--listen-client-urls=http://0.0.0.0:2379", "--advertise-client-urls=http://$(POD_NAME).etcd:2379", "--log-level=warn",
		},
		ReadinessProbe: probe(corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/health", Port: intstr.FromInt32(2379)}}),
	}))
	p.Spec.Containers[0].ReadinessProbe.TimeoutSeconds = 2
	set.Spec.Template = corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: p.Labels}, Spec: p.Spec}
	return set
}

// TestEtcd has etcd from its module go on without a leader that was cut off,
// which catches up when it is back.
func TestEtcd(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.service("etcd", idle("etcd"), headless, func(spec *corev1.ServiceSpec) { spec.PublishNotReadyAddresses = true })
	_, err := s.client.AppsV1().StatefulSets(s.namespace).Create(s.ctx, etcdSet(s.namespace), metav1.CreateOptions{})
	s.must(err)
	members := map[string]string{} // by pod
	for i := range 3 {
		p := s.until(fmt.Sprint("etcd-", i), ready)
		members[p.Name] = "http://" + p.Status.PodIP + ":2379"
	}
	clients := map[string]*clientv3.Client{}
	for name, url := range members {
		client, err := clientv3.New(clientv3.Config{Endpoints: []string{url}})
		s.must(err)
		s.Cleanup(func() { _ = client.Close() })
		clients[name] = client
	}
	put(s, clients["etcd-0"], "before")

	leader := ""
	for name, client := range clients {
		status, err := client.Status(s.ctx, members[name])
		s.must(err)
		if status.Leader == status.Header.MemberId {
			leader = name
		}
	}
	if leader == "" {
		t.Fatal("no member is the leader")
	}
	s.network("cut", leader)
	var other string
	for name := range clients {
		if name != leader {
			other = name
		}
	}
	put(s, clients[other], "meanwhile")
	// What was cut off knows nothing of it, and cannot be asked.
	ctx, cancel := context.WithTimeout(s.ctx, time.Second)
	defer cancel()
	if _, err := clients[leader].Get(ctx, "meanwhile"); err == nil {
		t.Error("the leader answers although it is cut off")
	}
	s.network("heal", leader)
	s.eventually("the old leader has caught up", func() error {
		got, want := revision(s, clients[leader], members[leader]), revision(s, clients[other], members[other])
		if got != want || got == 0 {
			return fmt.Errorf("revision %d, want %d", got, want)
		}
		return nil
	})
	answer, err := clients[leader].Get(s.ctx, "meanwhile", clientv3.WithSerializable()) // from its own data
	s.must(err)
	if len(answer.Kvs) != 1 || string(answer.Kvs[0].Value) != "value" {
		t.Errorf("the old leader has %v", answer.Kvs)
	}
}

// put writes; while there is no leader, again.
func put(s *scene, client *clientv3.Client, key string) {
	s.Helper()
	s.eventually("write "+key, func() error {
		ctx, cancel := context.WithTimeout(s.ctx, 5*time.Second)
		defer cancel()
		_, err := client.Put(ctx, key, "value")
		return err
	})
}

// revision is that of a member's own data; 0 if it does not answer.
func revision(s *scene, client *clientv3.Client, endpoint string) int64 {
	ctx, cancel := context.WithTimeout(s.ctx, 5*time.Second)
	defer cancel()
	status, err := client.Status(ctx, endpoint)
	if err != nil {
		return 0
	}
	return status.Header.Revision
}

// network has devcluster cut a pod off, or heal it.
func (s *scene) network(verb, pod string) {
	s.Helper()
	if out, err := exec.CommandContext(s.ctx, "devcluster", verb, pod, "--namespace="+s.namespace).CombinedOutput(); err != nil {
		s.Fatalf("devcluster %s %s: %v: %s", verb, pod, err, out)
	}
}
