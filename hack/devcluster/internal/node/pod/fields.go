package pod

import (
	"reflect"

	corev1 "k8s.io/api/core/v1"
)

// Support is what the node makes of a field.
type Support int

// A field is done as Kubernetes documents it, ignored on purpose, or refused.
const (
	Done Support = iota + 1
	Ignored
	Refused
)

// fieldRule says what is made of a field, and why it is not done.
type fieldRule struct {
	support Support
	why     string
	// is tells which values a rule that refuses is about; nil: all but zero
	// and a pointer to false.
	is func(*corev1.PodSpec, reflect.Value) bool
}

// fieldRules has a rule for each field of the types that describe a pod, by
// type and field. Types that are not here are done as a whole with the field
// that has them.
func fieldRules() map[string]map[string]fieldRule {
	const (
		unneeded = "nothing is pulled: images are programs of a folder"
		unbound  = "limits need cgroups, which an ordinary user cannot make; the downward API has them"
		modules  = "the host's security modules are left alone"
		windows  = "the node runs Linux"
		devices  = "the node has no devices"
	)
	done := func(names ...string) map[string]fieldRule {
		rules := map[string]fieldRule{}
		for _, name := range names {
			rules[name] = fieldRule{support: Done}
		}
		return rules
	}
	with := func(rules, more map[string]fieldRule) map[string]fieldRule {
		for name, rule := range more {
			rules[name] = rule
		}
		return rules
	}
	ignored := func(why string) fieldRule { return fieldRule{support: Ignored, why: why} }
	refused := func(why string) fieldRule { return fieldRule{support: Refused, why: why} }
	refusedIf := func(is func(*corev1.PodSpec, reflect.Value) bool, why string) fieldRule {
		return fieldRule{support: Refused, why: why, is: is}
	}

	container := with(done(
		"Name", "Image", "Command", "Args", "WorkingDir", "Ports", "EnvFrom", "Env", "RestartPolicy", "RestartPolicyRules",
		"VolumeMounts", "LivenessProbe", "ReadinessProbe", "StartupProbe", "Lifecycle", "TerminationMessagePath",
		"TerminationMessagePolicy", "ImagePullPolicy", "SecurityContext", "Stdin", "StdinOnce", "TTY",
	), map[string]fieldRule{
		"Resources":     ignored(unbound),
		"ResizePolicy":  ignored(unbound),
		"VolumeDevices": refused(devices),
	})
	return map[string]map[string]fieldRule{
		"PodSpec": with(done(
			"Volumes", "InitContainers", "Containers", "EphemeralContainers", "RestartPolicy", "TerminationGracePeriodSeconds",
			"ActiveDeadlineSeconds", "DNSPolicy", "NodeSelector", "ServiceAccountName", "DeprecatedServiceAccount",
			"AutomountServiceAccountToken", "NodeName", "HostNetwork", "SecurityContext", "Hostname", "Subdomain", "Affinity",
			"SchedulerName", "Tolerations", "HostAliases", "PriorityClassName", "Priority", "DNSConfig", "ReadinessGates",
			"EnableServiceLinks", "PreemptionPolicy", "Overhead", "TopologySpreadConstraints", "SetHostnameAsFQDN",
			"SchedulingGates", "HostnameOverride", "SchedulingGroup",
		), map[string]fieldRule{
			"ImagePullSecrets":      ignored(unneeded),
			"Resources":             ignored(unbound),
			"HostPID":               refused("pods have no sight of the host's processes"),
			"HostIPC":               refused("pods have IPC namespaces of their own"),
			"ShareProcessNamespace": refused("each container has its own processes, since the kernel ends them with its first"),
			"RuntimeClassName":      refused("there is only one runtime"),
			"OS":                    refusedIf(notLinux, windows),
			"HostUsers":             refusedIf(isFalse, "there are no user namespaces per pod"),
			"ResourceClaims":        refused(devices),
		}),
		"EphemeralContainer": done("TargetContainerName"),
		"Container":          container,
		// The same fields by another name.
		"EphemeralContainerCommon": container,
		"ContainerPort": with(done("Name", "ContainerPort", "Protocol"), map[string]fieldRule{
			"HostPort": refusedIf(onOwnNetwork, "pods are reached by their own addresses"),
			"HostIP":   refusedIf(onOwnNetwork, "pods are reached by their own addresses"),
		}),
		"ContainerRestartRule": with(done("ExitCodes"), map[string]fieldRule{
			"Action": refusedIf(restartsAll, "one container's end restarts that one only"),
		}),
		"EnvVar": done("Name", "Value", "ValueFrom"),
		"EnvVarSource": with(done("FieldRef", "ResourceFieldRef", "ConfigMapKeyRef", "SecretKeyRef"), map[string]fieldRule{
			"FileKeyRef": refused("variables are not read from files"),
		}),
		"EnvFromSource": done("Prefix", "ConfigMapRef", "SecretRef"),
		"VolumeMount": with(done("Name", "ReadOnly", "RecursiveReadOnly", "MountPath", "SubPath", "SubPathExpr"), map[string]fieldRule{
			"MountPropagation": refusedIf(bidirectional, "containers cannot mount"),
		}),
		"Probe": done("ProbeHandler", "InitialDelaySeconds", "TimeoutSeconds", "PeriodSeconds", "SuccessThreshold",
			"FailureThreshold", "TerminationGracePeriodSeconds"),
		"ProbeHandler":     done("Exec", "HTTPGet", "TCPSocket", "GRPC"),
		"Lifecycle":        done("PostStart", "PreStop", "StopSignal"),
		"LifecycleHandler": done("Exec", "HTTPGet", "Sleep", "TCPSocket"), // TCPSocket fails when it runs, as documented.
		"SecurityContext": with(done("Capabilities", "RunAsUser", "RunAsGroup", "RunAsNonRoot", "ReadOnlyRootFilesystem",
			"AllowPrivilegeEscalation"), map[string]fieldRule{
			"Privileged":      refused("there are no privileged containers"),
			"ProcMount":       refusedIf(unmasked, "/proc shows the host's kernel"),
			"SELinuxOptions":  ignored(modules),
			"SeccompProfile":  ignored(modules),
			"AppArmorProfile": ignored(modules),
			"WindowsOptions":  refused(windows),
		}),
		"PodSecurityContext": with(done("RunAsUser", "RunAsGroup", "RunAsNonRoot", "SupplementalGroups",
			"SupplementalGroupsPolicy", "FSGroup"), map[string]fieldRule{
			"FSGroupChangePolicy": ignored("volumes are new with each pod"),
			"Sysctls":             refused("kernel parameters are the host's"),
			"SELinuxOptions":      ignored(modules),
			"SELinuxChangePolicy": ignored(modules),
			"SeccompProfile":      ignored(modules),
			"AppArmorProfile":     ignored(modules),
			"WindowsOptions":      refused(windows),
		}),
		"Volume":       done("Name", "VolumeSource"),
		"VolumeSource": volumeRules(done, refused),
		"EmptyDirVolumeSource": with(done("Medium"), map[string]fieldRule{
			"SizeLimit": ignored("nobody is evicted; in memory it is the file system's size"),
		}),
		"ProjectedVolumeSource": done("Sources", "DefaultMode"),
		"VolumeProjection": with(done("Secret", "DownwardAPI", "ConfigMap", "ServiceAccountToken"), map[string]fieldRule{
			"ClusterTrustBundle": refused("trust bundles are not read"),
			"PodCertificate":     refused("pods have no certificates of the node's asking"),
		}),
	}
}

func volumeRules(done func(...string) map[string]fieldRule, refused func(string) fieldRule) map[string]fieldRule {
	rules := done("EmptyDir", "Secret", "DownwardAPI", "ConfigMap", "Projected")
	rules["HostPath"] = refused("a pod would write to the machine that runs the cluster, with its user's rights; use emptyDir")
	rules["Image"] = refused("an image is one program and has no other files")
	rules["PersistentVolumeClaim"] = refused("nothing outlives the cluster; use emptyDir")
	rules["Ephemeral"] = refused("nobody provides storage; use emptyDir")
	rules["CSI"] = refused("there are no storage drivers")
	for _, name := range []string{
		"GCEPersistentDisk", "AWSElasticBlockStore", "GitRepo", "NFS", "ISCSI", "Glusterfs", "RBD", "FlexVolume", "Cinder",
		"CephFS", "Flocker", "FC", "AzureFile", "VsphereVolume", "Quobyte", "AzureDisk", "PhotonPersistentDisk",
		"PortworxVolume", "ScaleIO", "StorageOS",
	} {
		rules[name] = refused("there is no storage beyond this machine")
	}
	return rules
}

func isFalse(_ *corev1.PodSpec, v reflect.Value) bool { return !v.IsNil() && !v.Elem().Bool() }

func notLinux(_ *corev1.PodSpec, v reflect.Value) bool {
	os, _ := v.Interface().(*corev1.PodOS)
	return os != nil && os.Name != corev1.Linux
}

func onOwnNetwork(pod *corev1.PodSpec, v reflect.Value) bool { return !pod.HostNetwork && !v.IsZero() }

func restartsAll(_ *corev1.PodSpec, v reflect.Value) bool {
	return v.String() == string(corev1.ContainerRestartRuleActionRestartAllContainers)
}

func bidirectional(_ *corev1.PodSpec, v reflect.Value) bool {
	mode, _ := v.Interface().(*corev1.MountPropagationMode)
	return mode != nil && *mode == corev1.MountPropagationBidirectional
}

func unmasked(_ *corev1.PodSpec, v reflect.Value) bool {
	mount, _ := v.Interface().(*corev1.ProcMountType)
	return mount != nil && *mount == corev1.UnmaskedProcMount
}
