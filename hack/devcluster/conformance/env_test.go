package conformance

import (
	"fmt"
	"strings"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

const (
	envPage     = "tasks/inject-data-application/define-environment-variable-container/"
	envMap      = "tasks/configure-pod-container/configure-pod-configmap/"
	envSecret   = "tasks/inject-data-application/distribute-credentials-secure/"
	dependent   = "tasks/inject-data-application/define-interdependent-environment-variables/"
	downward    = "concepts/workloads/pods/downward-api/"
	mapOptional = "tasks/configure-pod-container/configure-pod-configmap/#optional-configmaps"
)

func (s *scene) configMap(name string, data map[string]string) *corev1.ConfigMap {
	s.Helper()
	made, err := s.client.CoreV1().ConfigMaps(s.namespace).Create(s.ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: data}, metav1.CreateOptions{})
	s.must(err)
	return made
}

func (s *scene) secret(name string, data map[string]string) {
	s.Helper()
	_, err := s.client.CoreV1().Secrets(s.namespace).Create(s.ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, StringData: data}, metav1.CreateOptions{})
	s.must(err)
}

// prints has a pod run a script with variables, and compares what it wrote.
func (s *scene) prints(script, want string, edit func(*corev1.Pod, *corev1.Container)) {
	s.Helper()
	p := policy(pod("prints", shell("main", script)), corev1.RestartPolicyNever)
	edit(p, &p.Spec.Containers[0])
	s.create(p)
	s.until("prints", phase(corev1.PodSucceeded))
	if diff := cmp.Diff(want, s.log("prints", "main")); diff != "" {
		s.Errorf("output (-want +got):\n%s", diff)
	}
}

func field(name, path string) corev1.EnvVar {
	return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}}
}

func mapKey(name, object, key string) corev1.EnvVar {
	return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{
		LocalObjectReference: corev1.LocalObjectReference{Name: object}, Key: key,
	}}}
}

func environments() []claim {
	return []claim{
		{"A variable has the value that is written, and comes before the image's", envPage, func(s *scene) {
			s.prints(`echo "$GREETING|$HOME"`, "Hello|/elsewhere", func(_ *corev1.Pod, c *corev1.Container) {
				c.Env = []corev1.EnvVar{{Name: "GREETING", Value: "Hello"}, {Name: "HOME", Value: "/elsewhere"}}
			})
		}},
		{"$(NAME) is the variable that was set before, $$(NAME) and unknown names stay", dependent, func(s *scene) {
			s.prints(`echo "$URL|$ESCAPED|$EARLY"`, "http://host|$(HOST)|$(LATE)", func(_ *corev1.Pod, c *corev1.Container) {
				c.Env = []corev1.EnvVar{
					{Name: "HOST", Value: "host"}, {Name: "URL", Value: "http://$(HOST)"}, {Name: "ESCAPED", Value: "$$(HOST)"},
					{Name: "EARLY", Value: "$(LATE)"}, {Name: "LATE", Value: "late"},
				}
			})
		}},
		{"A variable may be a key of a ConfigMap or of a Secret", envSecret + "#define-container-environment-variables-using-secret-data", func(s *scene) {
			s.configMap("map", map[string]string{"key": "from the map"})
			s.secret("secret", map[string]string{"key": "from the secret"})
			s.prints(`echo "$MAP|$SECRET"`, "from the map|from the secret", func(_ *corev1.Pod, c *corev1.Container) {
				c.Env = []corev1.EnvVar{mapKey("MAP", "map", "key"), {Name: "SECRET", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
					LocalObjectReference: corev1.LocalObjectReference{Name: "secret"}, Key: "key",
				}}}}
			})
		}},
		{"envFrom takes all keys, with a prefix, and env comes before it", envMap + "#configure-all-key-value-pairs-in-a-configmap-as-container-environment-variables", func(s *scene) {
			s.configMap("map", map[string]string{"ONE": "1", "TWO": "2"})
			s.secret("secret", map[string]string{"THREE": "3"})
			s.prints("env | grep ^X_ | sort", "X_ONE=1\nX_THREE=3\nX_TWO=two", func(_ *corev1.Pod, c *corev1.Container) {
				c.EnvFrom = []corev1.EnvFromSource{
					{Prefix: "X_", ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "map"}}},
					{Prefix: "X_", SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "secret"}}},
				}
				c.Env = []corev1.EnvVar{{Name: "X_TWO", Value: "two"}}
			})
		}},
		{"fieldRef gives the pod's name, namespace, labels, annotations, account, node and addresses", downward + "#downwardapi-fieldRef", func(s *scene) {
			script := `echo "$NAME|$NAMESPACE|$LABEL|$NOTE|$ACCOUNT|$NODE"; test "$IP" = "$(hostname -i)" && test -n "$HOST" && test -n "$ID" && echo addresses`
			s.prints(script, "prints|"+s.namespace+"|prints|remember|default|node-1\naddresses", func(p *corev1.Pod, c *corev1.Container) {
				p.Annotations = map[string]string{"note": "remember"}
				p.Spec.NodeSelector = map[string]string{corev1.LabelHostname: "node-1"}
				c.Env = []corev1.EnvVar{
					field("NAME", "metadata.name"), field("NAMESPACE", "metadata.namespace"), field("LABEL", "metadata.labels['app']"),
					field("NOTE", "metadata.annotations['note']"), field("ACCOUNT", "spec.serviceAccountName"), field("NODE", "spec.nodeName"),
					field("IP", "status.podIP"), field("HOST", "status.hostIP"), field("ID", "metadata.uid"),
				}
			})
		}},
		{"resourceFieldRef gives requests and limits, divided and rounded up", downward + "#downwardapi-resourceFieldRef", func(s *scene) {
			s.prints(`echo "$CPU|$MEMORY|$MIB"`, "1|67108864|64", func(_ *corev1.Pod, c *corev1.Container) {
				c.Resources = corev1.ResourceRequirements{
					Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("125m")},
					Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")},
				}
				from := func(name, resourceName, divisor string) corev1.EnvVar {
					return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: resourceName, Divisor: resource.MustParse(divisor)}}}
				}
				c.Env = []corev1.EnvVar{from("CPU", "requests.cpu", "1"), from("MEMORY", "limits.memory", "0"), from("MIB", "limits.memory", "1Mi")}
			})
		}},
		{"A limit that is not set is what the node has", downward + "#fallback-information-for-resource-limits", func(s *scene) {
			s.prints(`test "$CPU" -ge 1 && test "$MEMORY" -gt 1000000 && echo yes`, "yes", func(_ *corev1.Pod, c *corev1.Container) {
				for name, of := range map[string]string{"CPU": "limits.cpu", "MEMORY": "limits.memory"} {
					c.Env = append(c.Env, corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: of}}})
				}
			})
		}},
		{"A container whose ConfigMap lacks a key waits with CreateContainerConfigError and starts when it is there", envMap + "#restrictions", func(s *scene) {
			object := s.configMap("map", map[string]string{"other": ""})
			p := pod("waits", shell("main", ":"+onward))
			p.Spec.Containers[0].Env = []corev1.EnvVar{mapKey("KEY", "map", "key")}
			s.create(p)
			s.until("waits", func(p *corev1.Pod) error {
				if err := waiting("main", "CreateContainerConfigError")(p); err != nil {
					return err
				}
				if message := container(p, "main").State.Waiting.Message; !strings.Contains(message, `key "key"`) || !strings.Contains(message, `"map"`) {
					return fmt.Errorf("message %q", message)
				}
				return nil
			})
			s.event("waits", "Failed")
			s.update(object, map[string]string{"key": "value"})
			s.until("waits", ready)
		}},
		{"An optional key, ConfigMap or Secret may be missing", mapOptional, func(s *scene) {
			s.prints(`echo "${KEY-unset}"`, "unset", func(_ *corev1.Pod, c *corev1.Container) {
				key := mapKey("KEY", "absent", "key")
				key.ValueFrom.ConfigMapKeyRef.Optional = ptr.To(true)
				c.Env = []corev1.EnvVar{key}
				c.EnvFrom = []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "absent"}, Optional: ptr.To(true)}}}
			})
		}},
		{"Variables do not change while the container runs", envMap + "#mounted-configmaps-are-updated-automatically", func(s *scene) {
			object := s.configMap("map", map[string]string{"key": "old"})
			p := pod("fixed", shell("main", ":"+onward))
			p.Spec.Containers[0].Env = []corev1.EnvVar{mapKey("KEY", "map", "key")}
			p.Spec.Volumes = []corev1.Volume{{Name: "map", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "map"}}}}}
			p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "map", MountPath: "/map"}}
			s.start(p)
			s.update(object, map[string]string{"key": "new"})
			s.eventually("the volume changes", func() error { return s.try("fixed", "grep", "-q", "new", "/map/key") })
			if out := s.run("fixed", "tr '\\0' '\\n' < /proc/1/environ | grep ^KEY="); out != "KEY=old" {
				s.Errorf("%s", out)
			}
		}},
		{"A container has variables of the Services that were there before it", "concepts/services-networking/service/#environment-variables", func(s *scene) {
			service := s.service("my-web", idle("none"))
			s.prints(`echo "$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT $MY_WEB_SERVICE_HOST:$MY_WEB_SERVICE_PORT_HTTP"`,
				"10.96.0.1:443 "+service.Spec.ClusterIP+":80", func(*corev1.Pod, *corev1.Container) {})
		}},
		{"A pod's hostname is its name, or spec.hostname", "concepts/services-networking/dns-pod-service/#pod-hostname-and-subdomain-field", func(s *scene) {
			s.prints("hostname", "other", func(p *corev1.Pod, _ *corev1.Container) { p.Spec.Hostname = "other" })
			if out := s.run(s.start(pod("own", shell("main", ":"+onward))).Name, "hostname"); out != "own" {
				s.Errorf("hostname %s", out)
			}
		}},
		{"hostAliases are in the pod's /etc/hosts", "tasks/network/customize-hosts-file-for-pods/", func(s *scene) {
			s.prints("getent hosts foo.local | tr -s ' '", "192.0.2.1 foo.local", func(p *corev1.Pod, _ *corev1.Container) {
				p.Spec.HostAliases = []corev1.HostAlias{{IP: "192.0.2.1", Hostnames: []string{"foo.local"}}}
			})
		}},
	}
}
