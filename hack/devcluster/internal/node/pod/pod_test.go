package pod

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// kept are the objects of a namespace.
type kept struct {
	configMaps map[string]map[string]string
	secrets    map[string]map[string][]byte
}

func (k kept) ConfigMap(name string) (*corev1.ConfigMap, error) {
	if data, ok := k.configMaps[name]; ok {
		return &corev1.ConfigMap{Data: data}, nil
	}
	return nil, nil
}

func (k kept) Secret(name string) (*corev1.Secret, error) {
	if data, ok := k.secrets[name]; ok {
		return &corev1.Secret{Data: data}, nil
	}
	return nil, nil
}

func facts() Facts {
	return Facts{
		Domain: "cluster.local", ClusterDNS: netip.MustParseAddr("10.96.0.10"), NodeDNS: "# none\nnameserver 192.0.2.1\nsearch example.com\n",
		NodeName: "n", HostIP: netip.MustParseAddr("10.244.0.1"), PodIP: netip.MustParseAddr("10.244.0.7"),
	}
}

func pointer[T any](v T) *T { return &v }

func fieldRef(path string) *corev1.EnvVarSource {
	return &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}
}

func TestEnvironment(t *testing.T) {
	objects := kept{
		configMaps: map[string]map[string]string{"settings": {"color": "red", "size": "9"}},
		secrets:    map[string]map[string][]byte{"key": {"password": []byte("x")}},
	}
	settings := corev1.LocalObjectReference{Name: "settings"}
	absent := corev1.LocalObjectReference{Name: "absent"}
	tests := []struct {
		name    string
		c       corev1.Container
		want    []string // beyond what every container has
		missing bool
	}{
		{name: "none"},
		{
			name: "values refer to earlier ones only, and to services",
			c: corev1.Container{Env: []corev1.EnvVar{
				{Name: "A", Value: "1$(B)$$(A)"}, {Name: "B", Value: "2$(A)"}, {Name: "H", Value: "$(KUBERNETES_SERVICE_HOST)"},
			}},
			want: []string{"A=1$(B)$(A)", "B=21$(B)$(A)", "H=10.96.0.1"},
		},
		{
			name: "all of a ConfigMap, with a prefix, and a later value that wins",
			c: corev1.Container{
				EnvFrom: []corev1.EnvFromSource{{Prefix: "S_", ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: settings}}},
				Env:     []corev1.EnvVar{{Name: "S_size", Value: "1"}},
			},
			want: []string{"S_color=red", "S_size=1"},
		},
		{
			name: "keys and fields",
			c: corev1.Container{Env: []corev1.EnvVar{
				{Name: "C", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: settings, Key: "color"}}},
				{Name: "P", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "key"}, Key: "password"}}},
				{Name: "IP", ValueFrom: fieldRef("status.podIP")}, {Name: "NODE", ValueFrom: fieldRef("spec.nodeName")},
				{Name: "NAME", ValueFrom: fieldRef("metadata.name")}, {Name: "APP", ValueFrom: fieldRef("metadata.labels['app']")},
			}},
			want: []string{"C=red", "P=x", "IP=10.244.0.7", "NODE=n", "NAME=web-1", "APP=web"},
		},
		{
			name: "optional sources that are missing set nothing",
			c: corev1.Container{
				EnvFrom: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: absent, Optional: pointer(true)}}},
				Env: []corev1.EnvVar{{Name: "C", ValueFrom: &corev1.EnvVarSource{
					ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: settings, Key: "absent", Optional: pointer(true)},
				}}},
			},
		},
		{
			name: "a missing key is an error",
			c: corev1.Container{Env: []corev1.EnvVar{{Name: "C", ValueFrom: &corev1.EnvVarSource{
				ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: settings, Key: "absent"},
			}}}},
			missing: true,
		},
		{
			name:    "a missing Secret is an error",
			c:       corev1.Container{EnvFrom: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: absent}}}},
			missing: true,
		},
	}
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web-1", Labels: map[string]string{"app": "web"}}}
	base, err := Environment(p, &corev1.Container{}, objects, nil, facts())
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := Environment(p, &test.c, objects, nil, facts())
			if errors.Is(err, ErrMissing) != test.missing {
				t.Fatal(err)
			}
			if test.missing {
				return
			}
			if diff := cmp.Diff(test.want, got[len(base):], cmp.Transformer("empty", func(s []string) string { return strings.Join(s, "\n") })); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestProgram(t *testing.T) {
	tests := []struct {
		image, want string
		ok          bool
	}{
		{"xinhari.local/operator:dev", "operator", true},
		{"xinhari.local/operator", "operator", true},
		{"xinhari.local/operator:dev@sha256:00", "operator", true},
		{"xinhari.local/../etc/passwd:dev", "", false},
		{"xinhari.local/a/b:dev", "", false},
		{"xinhari.local/..", "", false},
		{"nginx", "", false},
	}
	for _, test := range tests {
		if got, err := Program(test.image); got != test.want || (err == nil) != test.ok {
			t.Errorf("%s: %q, %v", test.image, got, err)
		}
	}
}

func TestRights(t *testing.T) {
	all := []string{"CHOWN", "KILL"}
	tests := []struct {
		name string
		pod  *corev1.PodSecurityContext
		c    *corev1.SecurityContext
		want Rights
		err  error
	}{
		{name: "nothing said", want: Rights{UID: NobodyID, GID: NobodyID, Capabilities: all}},
		{
			name: "the container wins over the pod",
			pod:  &corev1.PodSecurityContext{RunAsUser: pointer(int64(1)), FSGroup: pointer(int64(7)), RunAsNonRoot: pointer(true)},
			c:    &corev1.SecurityContext{RunAsUser: pointer(int64(2)), RunAsGroup: pointer(int64(3)), ReadOnlyRootFilesystem: pointer(true)},
			want: Rights{UID: 2, GID: 3, Groups: []int{7}, Capabilities: all, ReadOnlyRoot: true},
		},
		{
			name: "a user without a group is in root's",
			pod:  &corev1.PodSecurityContext{RunAsUser: pointer(int64(1))},
			want: Rights{UID: 1, GID: 0, Capabilities: all},
		},
		{
			name: "the container's user, the pod's group",
			pod:  &corev1.PodSecurityContext{RunAsUser: pointer(int64(1)), RunAsGroup: pointer(int64(3))},
			c:    &corev1.SecurityContext{RunAsUser: pointer(int64(0))},
			want: Rights{UID: 0, GID: 3, Capabilities: all},
		},
		{
			name: "restricted",
			c: &corev1.SecurityContext{
				AllowPrivilegeEscalation: pointer(false), RunAsNonRoot: pointer(true),
				Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}, Add: []corev1.Capability{"NET_BIND_SERVICE"}},
			},
			want: Rights{UID: NobodyID, GID: NobodyID, Capabilities: []string{"NET_BIND_SERVICE"}, NoNewPrivileges: true},
		},
		{name: "root where it must not be", c: &corev1.SecurityContext{RunAsNonRoot: pointer(true), RunAsUser: pointer(int64(0))}, err: ErrRoot},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := &corev1.Pod{Spec: corev1.PodSpec{SecurityContext: test.pod}}
			got, err := RightsOf(p, &corev1.Container{SecurityContext: test.c}, all)
			if !errors.Is(err, test.err) {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestServiceVariables(t *testing.T) {
	services := []*corev1.Service{
		{ObjectMeta: metav1.ObjectMeta{Name: "red-is"}, Spec: corev1.ServiceSpec{ClusterIP: "10.96.0.11", Ports: []corev1.ServicePort{{Port: 6379, Protocol: corev1.ProtocolTCP}}}},
		{ObjectMeta: metav1.ObjectMeta{Name: "headless"}, Spec: corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone}},
	}
	all := []string{
		"RED_IS_SERVICE_HOST=10.96.0.11", "RED_IS_SERVICE_PORT=6379", "RED_IS_PORT=tcp://10.96.0.11:6379", "RED_IS_PORT_6379_TCP=tcp://10.96.0.11:6379",
		"RED_IS_PORT_6379_TCP_PROTO=tcp", "RED_IS_PORT_6379_TCP_PORT=6379", "RED_IS_PORT_6379_TCP_ADDR=10.96.0.11",
	}
	for _, test := range []struct {
		links *bool
		want  []string
	}{{nil, all}, {pointer(true), all}, {pointer(false), nil}} {
		p := &corev1.Pod{Spec: corev1.PodSpec{EnableServiceLinks: test.links}}
		env, err := Environment(p, &corev1.Container{}, kept{}, services, facts())
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, v := range env {
			if strings.HasPrefix(v, "RED") || strings.HasPrefix(v, "HEADLESS") {
				got = append(got, v)
			}
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Error(diff)
		}
	}
}

func TestResolvConf(t *testing.T) {
	const cluster = "nameserver 10.96.0.10\nsearch shop.svc.cluster.local svc.cluster.local cluster.local\n"
	const node = "nameserver 192.0.2.1\nsearch example.com\n"
	ndots := &corev1.PodDNSConfig{Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: pointer("1")}, {Name: "rotate"}}}
	tests := []struct {
		policy corev1.DNSPolicy
		host   bool
		config *corev1.PodDNSConfig
		want   string
	}{
		{policy: corev1.DNSClusterFirst, want: cluster + "options ndots:5\n"},
		{policy: corev1.DNSClusterFirst, config: ndots, want: cluster + "options ndots:1 rotate\n"},
		{policy: corev1.DNSClusterFirst, host: true, want: node},
		{policy: corev1.DNSClusterFirstWithHostNet, host: true, want: cluster + "options ndots:5\n"},
		{policy: corev1.DNSDefault, want: node},
		{
			policy: corev1.DNSDefault, config: &corev1.PodDNSConfig{Nameservers: []string{"192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"}, Searches: []string{"a.b"}},
			want: "nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\nsearch example.com a.b\n",
		},
		{policy: corev1.DNSNone, config: ndots, want: "options ndots:1 rotate\n"},
	}
	for _, test := range tests {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop"}}
		p.Spec.DNSPolicy, p.Spec.HostNetwork, p.Spec.DNSConfig = test.policy, test.host, test.config
		if diff := cmp.Diff(test.want, resolvConf(p, facts())); diff != "" {
			t.Errorf("%s, %t: %s", test.policy, test.host, diff)
		}
	}
}

func TestHostname(t *testing.T) {
	long := strings.Repeat("a", 60)
	tests := []struct {
		name     string
		spec     corev1.PodSpec
		want     string
		hosts    string // the pod's own line
		mustFail bool
	}{
		{name: "the pod's name", want: "web-1", hosts: "web-1"},
		{name: "another", spec: corev1.PodSpec{Hostname: "web"}, want: "web", hosts: "web"},
		{name: "in a subdomain", spec: corev1.PodSpec{Hostname: "web", Subdomain: "sub"}, want: "web", hosts: "web.sub.shop.svc.cluster.local\tweb"},
		{
			name: "as a full name", spec: corev1.PodSpec{Hostname: "web", Subdomain: "sub", SetHostnameAsFQDN: pointer(true)},
			want: "web.sub.shop.svc.cluster.local", hosts: "web.sub.shop.svc.cluster.local\tweb",
		},
		{name: "a full name that is too long", spec: corev1.PodSpec{Hostname: long, Subdomain: "sub", SetHostnameAsFQDN: pointer(true)}, mustFail: true, hosts: long + ".sub.shop.svc.cluster.local\t" + long},
		{name: "on the node's network", spec: corev1.PodSpec{HostNetwork: true}, want: "n", hosts: "n"},
		{name: "overridden", spec: corev1.PodSpec{HostnameOverride: pointer("x.y"), Subdomain: "sub"}, want: "x.y", hosts: "x.y"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web-1", Namespace: "shop"}, Spec: test.spec}
			got, err := Hostname(p, facts())
			if got != test.want || (err != nil) != test.mustFail {
				t.Errorf("%q, %v", got, err)
			}
			if own := "10.244.0.7\t" + test.hosts + "\n"; !strings.HasSuffix(hosts(p, facts()), own) {
				t.Errorf("%q has no %q", hosts(p, facts()), own)
			}
		})
	}
}

func TestBackoff(t *testing.T) {
	var b Backoff
	var got []time.Duration
	for _, ran := range []time.Duration{0, 0, 0, 0, 0, 0, 0, 0, 11 * time.Minute, 0} {
		got = append(got, b.After(ran)/time.Second)
	}
	if diff := cmp.Diff([]time.Duration{0, 10, 20, 40, 80, 160, 300, 300, 0, 10}, got); diff != "" {
		t.Error(diff)
	}
}
