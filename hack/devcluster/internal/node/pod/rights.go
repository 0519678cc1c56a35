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
	if sc := pod.Spec.SecurityContext; sc != nil {
		r.identity(sc.RunAsUser, sc.RunAsGroup)
		nonRoot = isTrue(sc.RunAsNonRoot)
		for _, group := range sc.SupplementalGroups {
			r.Groups = append(r.Groups, int(group))
		}
		if sc.FSGroup != nil {
			r.Groups = append(r.Groups, int(*sc.FSGroup))
		}
	}
	if sc := c.SecurityContext; sc != nil {
		r.identity(sc.RunAsUser, sc.RunAsGroup)
		if sc.RunAsNonRoot != nil {
			nonRoot = *sc.RunAsNonRoot
		}
		r.ReadOnlyRoot = isTrue(sc.ReadOnlyRootFilesystem)
		r.NoNewPrivileges = sc.AllowPrivilegeEscalation != nil && !*sc.AllowPrivilegeEscalation
		if sc.Capabilities != nil {
			r.change(sc.Capabilities)
		}
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

func (r *Rights) identity(user, group *int64) {
	if user != nil {
		r.UID = int(*user)
		if r.UID == 0 && group == nil {
			r.GID = 0
		}
	}
	if group != nil {
		r.GID = int(*group)
	}
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
