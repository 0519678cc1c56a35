package pod

import (
	"errors"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Rights are whom a container runs as, and what it may do.
type Rights struct {
	UID, GID        int
	Groups          []int
	Capabilities    []string
	NoNewPrivileges bool
	ReadOnlyRoot    bool
}

// ErrRoot says that a container would run as root although it must not.
var ErrRoot = errors.New("container has runAsNonRoot and would run as root")

// RightsOf returns the rights of a container, given those capabilities that a
// container has that does not say.
func RightsOf(pod *corev1.Pod, c *corev1.Container, capabilities []string) (Rights, error) {
	r := Rights{UID: NobodyID, GID: NobodyID, Capabilities: slices.Clone(capabilities)}
	nonRoot := false
	var user, group *int64
	if sc := pod.Spec.SecurityContext; sc != nil {
		user, group = sc.RunAsUser, sc.RunAsGroup
		nonRoot = isTrue(sc.RunAsNonRoot)
		for _, group := range sc.SupplementalGroups {
			r.Groups = append(r.Groups, int(group))
		}
		if sc.FSGroup != nil {
			r.Groups = append(r.Groups, int(*sc.FSGroup))
		}
	}
	if sc := c.SecurityContext; sc != nil {
		user, group = first(sc.RunAsUser, user), first(sc.RunAsGroup, group)
		if sc.RunAsNonRoot != nil {
			nonRoot = *sc.RunAsNonRoot
		}
		r.ReadOnlyRoot = isTrue(sc.ReadOnlyRootFilesystem)
		r.NoNewPrivileges = sc.AllowPrivilegeEscalation != nil && !*sc.AllowPrivilegeEscalation
		if sc.Capabilities != nil {
			r.change(sc.Capabilities)
		}
	}
	if user != nil { // Its group is root's where none is named.
		r.UID, r.GID = int(*user), 0
	}
	if group != nil {
		r.GID = int(*group)
	}
	if nonRoot && r.UID == 0 {
		return Rights{}, ErrRoot
	}
	return r, nil
}

// AsksForUser reports whether the pod names the user of the container.
func AsksForUser(pod *corev1.Pod, c *corev1.Container) bool {
	return pod.Spec.SecurityContext != nil && pod.Spec.SecurityContext.RunAsUser != nil ||
		c.SecurityContext != nil && c.SecurityContext.RunAsUser != nil
}

// first returns the first that is set.
func first(values ...*int64) *int64 {
	for _, v := range values {
		if v != nil {
			return v
		}
	}
	return nil
}

func (r *Rights) change(c *corev1.Capabilities) {
	for _, drop := range c.Drop {
		r.Capabilities = slices.DeleteFunc(r.Capabilities, func(have string) bool {
			return drop == "ALL" || string(drop) == have
		})
	}
	for _, add := range c.Add {
		if !slices.Contains(r.Capabilities, string(add)) {
			r.Capabilities = append(r.Capabilities, string(add))
		}
	}
}
