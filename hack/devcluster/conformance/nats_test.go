package conformance

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

const natsConfig = `
port: 4222
monitor_port: 8222
server_name: $POD_NAME
jetstream { store_dir: /data }
`

// TestNATS has nats-server from its module run as a StatefulSet, and what a
// stream holds read again after its container was killed.
func TestNATS(t *testing.T) {
	t.Parallel()
	if os.Getenv(imagesEnv) == "" {
		t.Fatalf("%s is not set: %s", imagesEnv, howToRun)
	}
	s := newScene(t)
	s.configMap("nats", map[string]string{"nats.conf": natsConfig})
	s.service("nats", idle("nats"), headless)
	set := statefulSet("nats", 1)
	p := pod("nats", corev1.Container{
		Name: "main", Image: "xinhari.local/nats-server:dev", Args: []string{"--config", "/etc/nats/nats.conf"},
		Env:            []corev1.EnvVar{field("POD_NAME", "metadata.name")},
		ReadinessProbe: probe(corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromInt32(8222)}}),
	})
	p = mounted(p, "config", mapVolume("nats"), corev1.VolumeMount{MountPath: "/etc/nats"})
	p = mounted(p, "data", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}, corev1.VolumeMount{MountPath: "/data"})
	set.Spec.Template = corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: p.Labels}, Spec: p.Spec}
	_, err := s.client.AppsV1().StatefulSets(s.namespace).Create(s.ctx, set, metav1.CreateOptions{})
	s.must(err)
	s.until("nats-0", ready)

	conn, err := nats.Connect("nats://nats-0.nats."+s.namespace+".svc.cluster.local:4222", nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1))
	s.must(err)
	defer conn.Close()
	js, err := jetstream.New(conn)
	s.must(err)
	s.eventually("the stream is made", func() error { // DNS may be a moment behind.
		_, err := js.CreateStream(s.ctx, jetstream.StreamConfig{Name: "orders", Subjects: []string{"orders.>"}})
		return err
	})
	const many = 100
	for i := range many {
		_, err := js.Publish(s.ctx, "orders.new", []byte(strconv.Itoa(i)))
		s.must(err)
	}

	kill(s, "/nats-server")
	again := s.until("nats-0", func(p *corev1.Pod) error { return errors.Join(restarted(p), ready(p)) })
	if last := container(again, "main").LastTerminationState.Terminated; last == nil || last.ExitCode != 137 {
		t.Errorf("last state %+v", last)
	}
	var read []string
	s.eventually("the stream is read", func() error {
		consumer, err := js.OrderedConsumer(s.ctx, "orders", jetstream.OrderedConsumerConfig{})
		if err != nil {
			return err
		}
		batch, err := consumer.FetchNoWait(many)
		if err != nil {
			return err
		}
		read = nil
		for message := range batch.Messages() {
			read = append(read, string(message.Data()))
		}
		if len(read) != many {
			return fmt.Errorf("%d messages: %w", len(read), batch.Error())
		}
		return nil
	})
	for i, got := range read {
		if got != strconv.Itoa(i) {
			t.Errorf("message %d is %q", i, got)
		}
	}

	// With the pod goes its emptyDir, and the stream.
	old := s.until("nats-0", ready)
	s.delete("nats-0", graceful())
	s.until("nats-0", func(p *corev1.Pod) error {
		if p.UID == old.UID {
			return errors.New("it is the old one")
		}
		return ready(p)
	})
	s.eventually("the new pod has no stream", func() error {
		if _, err := js.Stream(s.ctx, "orders"); !errors.Is(err, jetstream.ErrStreamNotFound) {
			return fmt.Errorf("stream: %w", err)
		}
		return nil
	})
}

// kill ends the one process of the cluster that runs a program, as a crash would.
func kill(s *scene, program string) {
	s.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	s.must(err)
	for _, path := range lines {
		line, _ := os.ReadFile(path)
		if name, _, _ := strings.Cut(string(line), "\x00"); name == program {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			s.must(err)
			s.must(syscall.Kill(pid, syscall.SIGKILL))
			return
		}
	}
	s.Fatalf("no process runs %s", program)
}
