// Package pod says what a Pod asks for, as pure functions: what of it the node
// cannot do, the environment and rights of its processes, and its status.
package pod

import (
	"errors"
	"fmt"
	"path"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// imagePrefix begins the names of all images that there are.
const imagePrefix = "xinhari.local/"

// Unsupported says which fields of the pod this node does not know how to
// honour; nil when it knows all.
func Unsupported(pod *corev1.Pod) error {
	c := checker{pod: &pod.Spec, rules: fieldRules()}
	c.check("spec", reflect.ValueOf(pod.Spec))
	return errors.Join(c.errs...)
}

// UnsupportedContainer is Unsupported for a container that the pod has got later.
func UnsupportedContainer(pod *corev1.Pod, container *corev1.EphemeralContainer) error {
	c := checker{pod: &pod.Spec, rules: fieldRules()}
	c.check("spec.ephemeralContainers["+container.Name+"]", reflect.ValueOf(*container))
	return errors.Join(c.errs...)
}

// checker goes through what describes a pod by the rules of its fields.
type checker struct {
	pod   *corev1.PodSpec
	rules map[string]map[string]fieldRule
	errs  []error
}

func (c *checker) check(path string, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			c.check(path, v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			c.check(fmt.Sprintf("%s[%s]", path, itemName(v.Index(i), i)), v.Index(i))
		}
	case reflect.Struct:
		rules := c.rules[v.Type().Name()]
		if rules == nil {
			return
		}
		for i := range v.NumField() {
			field := v.Type().Field(i)
			at := path
			if !field.Anonymous {
				name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
				at += "." + name
			}
			if rule := rules[field.Name]; rule.support == Refused && rule.refuses(c.pod, v.Field(i)) {
				c.errs = append(c.errs, fmt.Errorf("%s: %s", at, rule.why))
				continue
			}
			c.check(at, v.Field(i))
		}
	}
}

func (r fieldRule) refuses(pod *corev1.PodSpec, v reflect.Value) bool {
	if r.is != nil {
		return r.is(pod, v)
	}
	if v.Kind() == reflect.Pointer && !v.IsNil() && v.Elem().Kind() == reflect.Bool {
		return v.Elem().Bool()
	}
	return !v.IsZero()
}

// itemName is the name of an item of a list, or its place.
func itemName(v reflect.Value, i int) string {
	if v.Kind() == reflect.Struct {
		if name := v.FieldByName("Name"); name.IsValid() && name.Kind() == reflect.String && name.String() != "" {
			return name.String()
		}
	}
	return strconv.Itoa(i)
}

func allContainers(spec *corev1.PodSpec) []*corev1.Container {
	var all []*corev1.Container
	for i := range spec.InitContainers {
		all = append(all, &spec.InitContainers[i])
	}
	for i := range spec.Containers {
		all = append(all, &spec.Containers[i])
	}
	for i := range spec.EphemeralContainers {
		all = append(all, (*corev1.Container)(&spec.EphemeralContainers[i].EphemeralContainerCommon))
	}
	return all
}

// ErrImageName says that an image has a name that none can have.
var ErrImageName = errors.New("invalid image name")

var imageName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]*$`)

// Program returns the name of the program that an image holds: NAME for
// xinhari.local/NAME:dev. The tag and a digest are not looked at.
func Program(image string) (string, error) {
	name, ok := strings.CutPrefix(image, imagePrefix)
	if !ok {
		return "", fmt.Errorf("image %s is not here: this cluster downloads nothing and has only images %sNAME:dev, "+
			"NAME being a program in its images folder", image, imagePrefix)
	}
	name, _, _ = strings.Cut(name, "@")
	name, _, _ = strings.Cut(name, ":")
	if !imageName.MatchString(name) || path.Base(name) != name {
		return "", fmt.Errorf("%w: image %s has no program's name: it must be %sNAME:dev", ErrImageName, image, imagePrefix)
	}
	return name, nil
}

// References returns the names of the ConfigMaps and Secrets that the pod's
// containers and volumes use, including optional ones.
func References(pod *corev1.Pod) (configMaps, secrets []string) {
	maps, keys := map[string]bool{}, map[string]bool{}
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.ConfigMap != nil {
			maps[v.ConfigMap.Name] = true
		}
		if v.Secret != nil {
			keys[v.Secret.SecretName] = true
		}
		if v.Projected == nil {
			continue
		}
		for _, s := range v.Projected.Sources {
			if s.ConfigMap != nil {
				maps[s.ConfigMap.Name] = true
			}
			if s.Secret != nil {
				keys[s.Secret.Name] = true
			}
		}
	}
	for _, c := range allContainers(&pod.Spec) {
		for _, from := range c.EnvFrom {
			if from.ConfigMapRef != nil {
				maps[from.ConfigMapRef.Name] = true
			}
			if from.SecretRef != nil {
				keys[from.SecretRef.Name] = true
			}
		}
		for _, env := range c.Env {
			if from := env.ValueFrom; from != nil && from.ConfigMapKeyRef != nil {
				maps[from.ConfigMapKeyRef.Name] = true
			}
			if from := env.ValueFrom; from != nil && from.SecretKeyRef != nil {
				keys[from.SecretKeyRef.Name] = true
			}
		}
	}
	return sortedKeys(maps), sortedKeys(keys)
}
