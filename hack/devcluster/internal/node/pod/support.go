// Package pod says what a Pod asks for, as pure functions: what of it the node
// cannot do, the environment and rights of its processes, and its status.
package pod

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// imagePrefix begins the names of all images that there are.
const imagePrefix = "xinhari.local/"

// Unsupported says which fields of the pod this node does not know how to
// honour; nil when it knows all.
func Unsupported(pod *corev1.Pod) error {
	var errs []error
	refuse := func(field string, is bool, why string) {
		if is {
			errs = append(errs, fmt.Errorf("%s: %s", field, why))
		}
	}
	spec := &pod.Spec
	refuse("spec.hostPID", spec.HostPID, "pods have no sight of the host's processes")
	refuse("spec.hostIPC", spec.HostIPC, "pods have IPC namespaces of their own")
	refuse("spec.shareProcessNamespace", spec.ShareProcessNamespace != nil && *spec.ShareProcessNamespace,
		"each container has its own processes")
	refuse("spec.hostUsers", spec.HostUsers != nil && !*spec.HostUsers, "there are no user namespaces per pod")
	refuse("spec.runtimeClassName", spec.RuntimeClassName != nil, "there is only one runtime")
	refuse("spec.os", spec.OS != nil && spec.OS.Name != corev1.Linux, "the node runs Linux")
	refuse("spec.resourceClaims", len(spec.ResourceClaims) > 0, "the node has no devices")
	if sc := spec.SecurityContext; sc != nil {
		refuse("spec.securityContext.sysctls", len(sc.Sysctls) > 0, "kernel parameters are the host's")
	}
	for i := range spec.Volumes {
		if !volumeSupported(&spec.Volumes[i]) {
			refuse("spec.volumes["+spec.Volumes[i].Name+"]", true,
				"only configMap, secret, projected, downwardAPI and emptyDir volumes exist here")
		}
	}
	for _, c := range allContainers(spec) {
		field := "spec.containers[" + c.Name + "]"
		refuse(field+".volumeDevices", len(c.VolumeDevices) > 0, "the node has no devices")
		refuse(field+".restartPolicyRules", len(c.RestartPolicyRules) > 0, "restart rules per exit code are not known")
		if sc := c.SecurityContext; sc != nil {
			refuse(field+".securityContext.privileged", sc.Privileged != nil && *sc.Privileged, "there are no privileged containers")
		}
		for _, p := range c.Ports {
			refuse(field+".ports.hostPort", p.HostPort != 0 && !spec.HostNetwork, "pods are reached by their own addresses")
		}
	}
	return errors.Join(errs...)
}

func volumeSupported(v *corev1.Volume) bool {
	if v.Projected != nil {
		for _, s := range v.Projected.Sources {
			if s.ClusterTrustBundle != nil || s.PodCertificate != nil {
				return false
			}
		}
		return true
	}
	return v.ConfigMap != nil || v.Secret != nil || v.DownwardAPI != nil || v.EmptyDir != nil
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
