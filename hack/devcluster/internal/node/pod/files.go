package pod

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// NobodyID is the user and group of a program whose pod names none: not root,
// as it is good manners for an image.
const NobodyID = 65532

// Files returns the files in /etc that make the pod's view of the network and
// of users.
func Files(pod *corev1.Pod, facts Facts) (map[string]string, error) {
	hostname, err := Hostname(pod, facts)
	if err != nil {
		return nil, err
	}
	return map[string]string{
		"/etc/hostname":      hostname + "\n",
		"/etc/hosts":         hosts(pod, facts),
		"/etc/resolv.conf":   resolvConf(pod, facts),
		"/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
		"/etc/passwd": fmt.Sprintf("root:x:0:0:root:/tmp:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"+
			"nonroot:x:%[1]d:%[1]d:nonroot:/tmp:/bin/sh\n", NobodyID),
		"/etc/group": fmt.Sprintf("root:x:0:\nnobody:x:65534:\nnonroot:x:%d:\n", NobodyID),
	}, nil
}

// maxHostname is the kernel's bound, in bytes.
const maxHostname = 64

// Hostname is the pod's own name for itself; of a pod on the node's network it
// is the node's.
func Hostname(pod *corev1.Pod, facts Facts) (string, error) {
	if pod.Spec.HostnameOverride != nil {
		return *pod.Spec.HostnameOverride, nil
	}
	if pod.Spec.HostNetwork {
		return facts.NodeName, nil
	}
	full := fullName(pod, facts)
	if full == "" || !isTrue(pod.Spec.SetHostnameAsFQDN) {
		return shortName(pod), nil
	}
	if len(full) > maxHostname {
		return "", fmt.Errorf("spec.setHostnameAsFQDN: %s is longer than a host's name can be, which is %d bytes", full, maxHostname)
	}
	return full, nil
}

func shortName(pod *corev1.Pod) string {
	name := pod.Name
	if pod.Spec.Hostname != "" {
		name = pod.Spec.Hostname
	}
	return strings.TrimRight(name[:min(len(name), 63)], "-.")
}

// fullName is the pod's name in cluster DNS; empty without a subdomain.
func fullName(pod *corev1.Pod, facts Facts) string {
	if pod.Spec.Subdomain == "" || pod.Spec.HostnameOverride != nil {
		return ""
	}
	return fmt.Sprintf("%s.%s.%s.svc.%s", shortName(pod), pod.Spec.Subdomain, pod.Namespace, facts.Domain)
}

func hosts(pod *corev1.Pod, facts Facts) string {
	var b strings.Builder
	b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	names := shortName(pod)
	switch full := fullName(pod, facts); {
	case pod.Spec.HostnameOverride != nil:
		names = *pod.Spec.HostnameOverride
	case pod.Spec.HostNetwork:
		names = facts.NodeName
	case full != "":
		names = full + "\t" + names
	}
	fmt.Fprintf(&b, "%s\t%s\n", facts.PodIP, names)
	for _, alias := range pod.Spec.HostAliases {
		fmt.Fprintf(&b, "%s\t%s\n", alias.IP, strings.Join(alias.Hostnames, "\t"))
	}
	return b.String()
}

// What resolvers read of a resolv.conf; more is left out.
const (
	maxServers = 3
	maxSearch  = 32
)

func resolvConf(pod *corev1.Pod, facts Facts) string {
	var c resolver
	policy := pod.Spec.DNSPolicy
	if policy == corev1.DNSClusterFirst && pod.Spec.HostNetwork || policy == corev1.DNSDefault {
		c.read(facts.NodeDNS)
	} else if policy != corev1.DNSNone && facts.ClusterDNS.IsValid() {
		c.servers = []string{facts.ClusterDNS.String()}
		c.search = []string{pod.Namespace + ".svc." + facts.Domain, "svc." + facts.Domain, facts.Domain}
		c.options = []string{"ndots:5"}
	}
	if own := pod.Spec.DNSConfig; own != nil {
		c.servers = append(c.servers, own.Nameservers...)
		c.search = append(c.search, own.Searches...)
		for _, o := range own.Options {
			c.options = slices.DeleteFunc(c.options, func(s string) bool {
				name, _, _ := strings.Cut(s, ":")
				return name == o.Name
			})
			option := o.Name
			if o.Value != nil {
				option += ":" + *o.Value
			}
			c.options = append(c.options, option)
		}
	}
	return c.String()
}

// resolver is the content of a resolv.conf.
type resolver struct{ servers, search, options []string }

func (c *resolver) read(text string) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "nameserver":
			c.servers = append(c.servers, fields[1])
		case "search", "domain":
			c.search = fields[1:]
		case "options":
			c.options = append(c.options, fields[1:]...)
		}
	}
}

func (c *resolver) String() string {
	var b strings.Builder
	for _, server := range unique(c.servers, maxServers) {
		fmt.Fprintf(&b, "nameserver %s\n", server)
	}
	if len(c.search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(unique(c.search, maxSearch), " "))
	}
	if len(c.options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(c.options, " "))
	}
	return b.String()
}

// unique returns the first words, each once.
func unique(words []string, limit int) []string {
	var once []string
	for _, word := range words {
		if len(once) < limit && !slices.Contains(once, word) {
			once = append(once, word)
		}
	}
	return once
}
