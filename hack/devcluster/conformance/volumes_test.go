package conformance

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

const (
	volumesPage = "concepts/storage/volumes/"
	projected   = "concepts/storage/projected-volumes/"
)

func object(name string) corev1.LocalObjectReference {
	return corev1.LocalObjectReference{Name: name}
}

// mounted gives the pod a volume and each of its containers a mount of it.
func mounted(p *corev1.Pod, name string, source corev1.VolumeSource, m corev1.VolumeMount) *corev1.Pod {
	p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: source})
	m.Name = name
	for i := range p.Spec.Containers {
		p.Spec.Containers[i].VolumeMounts = append(p.Spec.Containers[i].VolumeMounts, m)
	}
	return p
}

func mapVolume(name string, items ...corev1.KeyToPath) corev1.VolumeSource {
	return corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: object(name), Items: items}}
}

// idle runs until it is told to end.
func idle(name string) *corev1.Pod { return pod(name, shell("main", ":"+onward)) }

// shows waits until a file in the pod has a text.
func (s *scene) shows(pod, path, want string) {
	s.Helper()
	s.eventually(path, func() error {
		out, _, err := s.execute(pod, "", "cat", path)
		if err == nil && strings.TrimSpace(out) != want {
			err = fmt.Errorf("%q, want %q", out, want)
		}
		return err
	})
}

func (s *scene) update(object *corev1.ConfigMap, data map[string]string) {
	s.Helper()
	object.Data = data
	_, err := s.client.CoreV1().ConfigMaps(s.namespace).Update(s.ctx, object, metav1.UpdateOptions{})
	s.must(err)
}

func volumes() []claim {
	return []claim{
		{"A ConfigMap volume has a file for each key, or for the items with their paths", volumesPage + "#configmap", func(s *scene) {
			s.configMap("map", map[string]string{"one": "1", "two": "2"})
			p := mounted(idle("reads"), "all", mapVolume("map"), corev1.VolumeMount{MountPath: "/all"})
			s.start(mounted(p, "some", mapVolume("map", corev1.KeyToPath{Key: "two", Path: "deep/file"}), corev1.VolumeMount{MountPath: "/some"}))
			if out := s.run("reads", "cat /all/one /all/two; cat /some/deep/file; ls /some"); out != "122deep" {
				s.Errorf("%q", out)
			}
		}},
		{"Files of a volume have defaultMode, or the mode of their item", volumesPage + "#secret", func(s *scene) {
			s.secret("secret", map[string]string{"a": "", "b": "", "c": ""})
			p := mounted(idle("modes"), "secret", corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
				SecretName: "secret", DefaultMode: ptr.To[int32](0o440),
				Items: []corev1.KeyToPath{{Key: "a", Path: "a"}, {Key: "b", Path: "b", Mode: ptr.To[int32](0o555)}},
			}}, corev1.VolumeMount{MountPath: "/secret"})
			s.start(p)
			if out := s.run("modes", "cd /secret; stat -L -c %a a b; test -e c || echo none"); out != "440\n555\nnone" {
				s.Errorf("%q", out)
			}
		}},
		{"A mounted ConfigMap changes with its object, all files at once", "concepts/configuration/configmap/#mounted-configmaps-are-updated-automatically", func(s *scene) {
			object := s.configMap("map", map[string]string{"one": "old", "two": "old"})
			s.start(mounted(idle("live"), "map", mapVolume("map"), corev1.VolumeMount{MountPath: "/map"}))
			s.update(object, map[string]string{"one": "new", "three": "new"})
			s.shows("live", "/map/one", "new")
			if out := s.run("live", "cd /map; echo *"); out != "one three" {
				s.Errorf("files %q", out)
			}
		}},
		{"A subPath mount does not change with its object", volumesPage + "#using-subpath", func(s *scene) {
			object := s.configMap("map", map[string]string{"key": "old"})
			p := mounted(idle("fixed"), "map", mapVolume("map"), corev1.VolumeMount{MountPath: "/map"})
			p.Spec.Containers[0].VolumeMounts = append(p.Spec.Containers[0].VolumeMounts, corev1.VolumeMount{Name: "map", MountPath: "/etc/app.conf", SubPath: "key"})
			s.start(p)
			s.update(object, map[string]string{"key": "new"})
			s.shows("fixed", "/map/key", "new")
			s.shows("fixed", "/etc/app.conf", "old")
		}},
		{"subPathExpr is a path with variables", volumesPage + "#using-subpath-expanded-environment", func(s *scene) {
			p := notebook(idle("expands"))
			c := &p.Spec.Containers[0]
			c.Env = []corev1.EnvVar{field("POD", "metadata.name")}
			c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: "notes", MountPath: "/mine", SubPathExpr: "$(POD)"})
			s.start(p)
			if out := s.run("expands", "echo here > /mine/file; cat /notes/expands/file"); out != "here" {
				s.Errorf("%q", out)
			}
		}},
		{"A pod whose Secret is missing does not start, with an event, until it is there", "concepts/configuration/secret/#using-secrets-as-files-from-a-pod", func(s *scene) {
			p := mounted(idle("waits"), "secret", corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "later"}}, corev1.VolumeMount{MountPath: "/secret"})
			s.create(p)
			if message := s.event("waits", "FailedMount"); !strings.Contains(message, "later") {
				s.Errorf("event %q", message)
			}
			s.must(phase(corev1.PodPending)(s.until("waits", exists)))
			s.secret("later", map[string]string{"key": "value"})
			s.until("waits", ready)
			s.shows("waits", "/secret/key", "value")
		}},
		{"An optional volume source may be missing, and appears when it is made", mapOptional, func(s *scene) {
			source := mapVolume("later")
			source.ConfigMap.Optional = ptr.To(true)
			s.start(mounted(idle("optional"), "map", source, corev1.VolumeMount{MountPath: "/map"}))
			s.configMap("later", map[string]string{"key": "value"})
			s.shows("optional", "/map/key", "value")
		}},
		{"ConfigMaps and Secrets are mounted read-only", volumesPage + "#configmap", func(s *scene) {
			s.configMap("map", map[string]string{"key": "value"})
			s.start(mounted(idle("reads"), "map", mapVolume("map"), corev1.VolumeMount{MountPath: "/map"}))
			if out, code := s.exec("reads", "", "sh", "-c", "echo changed > /map/key"); code == 0 || !strings.Contains(out, "Read-only") {
				s.Errorf("exit code %d: %s", code, out)
			}
		}},
		{"A projected volume joins ConfigMaps, Secrets, the downward API and tokens", projected, func(s *scene) {
			s.configMap("map", map[string]string{"key": "from the map"})
			s.secret("secret", map[string]string{"key": "from the secret"})
			p := mounted(idle("joins"), "all", corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
				{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: object("map"), Items: []corev1.KeyToPath{{Key: "key", Path: "map"}}}},
				{Secret: &corev1.SecretProjection{LocalObjectReference: object("secret"), Items: []corev1.KeyToPath{{Key: "key", Path: "secret"}}}},
				{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{Path: "name", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}}}},
				{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}},
			}}}, corev1.VolumeMount{MountPath: "/all"})
			s.start(p)
			if out := s.run("joins", "cd /all; for f in map secret name; do cat $f; echo; done; cut -c 1-2 token"); out != "from the map\nfrom the secret\njoins\ney" {
				s.Errorf("%q", out)
			}
		}},
		{"A downwardAPI volume follows the pod's labels and annotations", downward + "#downwardapi-fieldRef", func(s *scene) {
			items := []corev1.DownwardAPIVolumeFile{
				{Path: "labels", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"}},
				{Path: "note", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.annotations['note']"}},
				{Path: "cpu", ResourceFieldRef: &corev1.ResourceFieldSelector{ContainerName: "main", Resource: "requests.cpu", Divisor: resource.MustParse("1m")}},
			}
			p := mounted(idle("live"), "self", corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: items}}, corev1.VolumeMount{MountPath: "/self"})
			p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("50m")}
			p.Spec.NodeSelector = map[string]string{corev1.LabelHostname: "node-1"}
			s.start(p)
			// A pod gets these of its node when it is bound.
			const place = "\ntopology.kubernetes.io/region=\"local\"\ntopology.kubernetes.io/zone=\"zone-a\""
			s.shows("live", "/self/labels", `app="live"`+place)
			s.shows("live", "/self/cpu", "50")
			_, err := s.client.CoreV1().Pods(s.namespace).Patch(s.ctx, "live", types.MergePatchType,
				[]byte(`{"metadata":{"labels":{"tier":"web"},"annotations":{"note":"changed"}}}`), metav1.PatchOptions{})
			s.must(err)
			s.shows("live", "/self/labels", "app=\"live\"\ntier=\"web\""+place)
			s.shows("live", "/self/note", "changed")
		}},
		{"An emptyDir is shared by the pod's containers", volumesPage + "#emptydir", func(s *scene) {
			s.start(notebook(pod("two", shell("main", "echo hello > /notes/file"+onward), shell("other", ":"+onward))))
			s.eventually("other reads it", func() error { return s.tryIn("two", "other", "grep", "-q", "hello", "/notes/file") })
		}},
		{"An emptyDir outlives a container, and not its pod", volumesPage + "#emptydir", func(s *scene) {
			fresh := func() *corev1.Pod {
				return notebook(pod("keeps", shell("main", "ls /notes; touch /notes/file"+onward)))
			}
			p := fresh()
			p.Spec.Containers[0].Command[2] = "if test -f /notes/file; then echo kept " + say + "; exec sleep 10000; fi; touch /notes/file"
			s.create(p)
			s.until("keeps", restarted)
			s.delete("keeps", now())
			s.podGone("keeps")
			s.start(fresh())
			if out := s.log("keeps", "main"); out != "" {
				s.Errorf("the new pod found %s", out)
			}
		}},
		{"An emptyDir of medium Memory is a tmpfs with the size limit", volumesPage + "#emptydir", func(s *scene) {
			p := mounted(idle("memory"), "memory", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{
				Medium: corev1.StorageMediumMemory, SizeLimit: ptr.To(resource.MustParse("1Mi")),
			}}, corev1.VolumeMount{MountPath: "/memory"})
			s.start(p)
			if out := s.run("memory", "stat -f -c %T /memory; head -c 2000000 /dev/zero > /memory/file 2>/dev/null || echo full"); out != "tmpfs\nfull" {
				s.Errorf("%q", out)
			}
		}},
		{"A readOnly mount cannot be written, another mount of the volume can", volumesPage + "#read-only-mounts", func(s *scene) {
			p := notebook(idle("mounts"))
			c := &p.Spec.Containers[0]
			c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: "notes", MountPath: "/still", ReadOnly: true})
			s.start(p)
			if out := s.run("mounts", "echo a > /notes/file && cat /still/file; (echo b > /still/file) 2>/dev/null || echo no"); out != "a\nno" {
				s.Errorf("%q", out)
			}
		}},
	}
}
