package pod

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/api/v1/resource"
	"k8s.io/kubernetes/pkg/fieldpath"
	"k8s.io/kubernetes/pkg/kubelet/envvars"
	"k8s.io/kubernetes/third_party/forked/golang/expansion"
)

// Objects gives the ConfigMaps and Secrets of the pod's namespace; nil for one
// that does not exist.
type Objects interface {
	ConfigMap(name string) (*corev1.ConfigMap, error)
	Secret(name string) (*corev1.Secret, error)
}

// Facts are what a pod learns of where it runs.
type Facts struct {
	// Domain ends the names of Services, such as cluster.local.
	Domain string
	// ClusterDNS is the cluster's name server; none if zero.
	ClusterDNS netip.Addr
	// NodeDNS is what the node itself has as resolv.conf.
	NodeDNS     string
	NodeName    string
	HostIP      netip.Addr
	PodIP       netip.Addr
	Allocatable corev1.ResourceList
}

// ErrMissing says that an object, or a key of one, does not exist (yet).
var ErrMissing = errors.New("not found")

// Environment returns the variables of a container, in order, as NAME=VALUE.
// The services are those of the pod's namespace.
func Environment(pod *corev1.Pod, c *corev1.Container, objects Objects, services []*corev1.Service, facts Facts) ([]string, error) {
	env := environment{values: map[string]string{}}
	env.set("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	hostname, err := Hostname(pod, facts)
	if err != nil {
		return nil, err
	}
	env.set("HOSTNAME", hostname)
	env.set("HOME", "/tmp")
	if pod.Spec.EnableServiceLinks == nil || *pod.Spec.EnableServiceLinks {
		for _, v := range envvars.FromServices(services) {
			env.set(v.Name, v.Value)
		}
	}
	for _, v := range serviceVariables() {
		env.set(v[0], v[1])
	}
	for _, from := range c.EnvFrom {
		if err := env.from(from, objects); err != nil {
			return nil, err
		}
	}
	// References see what was set before them, and the service variables.
	expand := expansion.MappingFuncFor(env.values)
	for _, v := range c.Env {
		value := expansion.Expand(v.Value, expand)
		if v.ValueFrom != nil {
			var ok bool
			var err error
			if value, ok, err = valueFrom(pod, c, v.ValueFrom, objects, facts); err != nil {
				return nil, fmt.Errorf("variable %s: %w", v.Name, err)
			}
			if !ok {
				continue
			}
		}
		env.set(v.Name, value)
	}
	return env.list(), nil
}

// Expand replaces $(NAME) in the words of a command line by the variables of
// env.
func Expand(words, env []string) []string {
	values := map[string]string{}
	for _, entry := range env {
		name, value, _ := strings.Cut(entry, "=")
		values[name] = value
	}
	expanded := make([]string, len(words))
	for i, word := range words {
		expanded[i] = expansion.Expand(word, expansion.MappingFuncFor(values))
	}
	return expanded
}

type environment struct {
	names  []string
	values map[string]string
}

func (e *environment) set(name, value string) {
	if _, ok := e.values[name]; !ok {
		e.names = append(e.names, name)
	}
	e.values[name] = value
}

func (e *environment) list() []string {
	list := make([]string, len(e.names))
	for i, name := range e.names {
		list[i] = name + "=" + e.values[name]
	}
	return list
}

func (e *environment) from(from corev1.EnvFromSource, objects Objects) error {
	data := map[string]string{}
	switch {
	case from.ConfigMapRef != nil:
		object, err := objects.ConfigMap(from.ConfigMapRef.Name)
		if err != nil {
			return err
		}
		if object == nil && !isTrue(from.ConfigMapRef.Optional) {
			return fmt.Errorf("configmap %q: %w", from.ConfigMapRef.Name, ErrMissing)
		}
		if object != nil {
			data = object.Data
		}
	case from.SecretRef != nil:
		object, err := objects.Secret(from.SecretRef.Name)
		if err != nil {
			return err
		}
		if object == nil && !isTrue(from.SecretRef.Optional) {
			return fmt.Errorf("secret %q: %w", from.SecretRef.Name, ErrMissing)
		}
		if object != nil {
			for key, value := range object.Data {
				data[key] = string(value)
			}
		}
	}
	for _, key := range sortedKeys(data) {
		e.set(from.Prefix+key, data[key])
	}
	return nil
}

// valueFrom reports false where an optional source is missing: the variable
// is then not set.
func valueFrom(pod *corev1.Pod, c *corev1.Container, from *corev1.EnvVarSource, objects Objects, facts Facts) (string, bool, error) {
	switch {
	case from.FieldRef != nil:
		value, err := Field(pod, from.FieldRef.FieldPath, facts)
		return value, true, err
	case from.ResourceFieldRef != nil:
		value, err := Resource(pod, c.Name, from.ResourceFieldRef, facts)
		return value, true, err
	case from.ConfigMapKeyRef != nil:
		ref := from.ConfigMapKeyRef
		object, err := objects.ConfigMap(ref.Name)
		if err != nil {
			return "", false, err
		}
		if object != nil {
			if value, ok := object.Data[ref.Key]; ok {
				return value, true, nil
			}
		}
		return missing("configmap", ref.Name, ref.Key, isTrue(ref.Optional))
	case from.SecretKeyRef != nil:
		ref := from.SecretKeyRef
		object, err := objects.Secret(ref.Name)
		if err != nil {
			return "", false, err
		}
		if object != nil {
			if value, ok := object.Data[ref.Key]; ok {
				return string(value), true, nil
			}
		}
		return missing("secret", ref.Name, ref.Key, isTrue(ref.Optional))
	}
	return "", false, errors.New("its source is not known here")
}

func missing(kind, name, key string, optional bool) (string, bool, error) {
	if optional {
		return "", false, nil
	}
	return "", false, fmt.Errorf("key %q of %s %q: %w", key, kind, name, ErrMissing)
}

// Field returns a field of the pod by its path, as the downward API names it.
func Field(pod *corev1.Pod, path string, facts Facts) (string, error) {
	switch path {
	case "spec.nodeName":
		return facts.NodeName, nil
	case "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName, nil
	case "status.hostIP", "status.hostIPs":
		return facts.HostIP.String(), nil
	case "status.podIP", "status.podIPs":
		return facts.PodIP.String(), nil
	}
	return fieldpath.ExtractFieldPathAsString(pod, path)
}

// Resource returns a request or limit of a container; a missing limit is what
// the node has.
func Resource(pod *corev1.Pod, container string, ref *corev1.ResourceFieldSelector, facts Facts) (string, error) {
	if ref.ContainerName != "" {
		container = ref.ContainerName
	}
	return resource.ExtractResourceValueByContainerNameAndNodeAllocatable(ref, pod, container, facts.Allocatable)
}

// serviceVariables tell where the API server is, in every namespace.
func serviceVariables() [][2]string {
	const host, port = "10.96.0.1", "443"
	url := "tcp://" + host + ":" + port
	return [][2]string{
		{"KUBERNETES_SERVICE_HOST", host},
		{"KUBERNETES_SERVICE_PORT", port},
		{"KUBERNETES_SERVICE_PORT_HTTPS", port},
		{"KUBERNETES_PORT", url},
		{"KUBERNETES_PORT_443_TCP", url},
		{"KUBERNETES_PORT_443_TCP_PROTO", "tcp"},
		{"KUBERNETES_PORT_443_TCP_PORT", port},
		{"KUBERNETES_PORT_443_TCP_ADDR", host},
	}
}

func isTrue(b *bool) bool { return b != nil && *b }

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
