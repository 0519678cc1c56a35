package pod

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// NobodyID is the user and group of a program whose pod names none: not root,
// as it is good manners for an image.
const NobodyID = 65532

// Files returns the files in /etc that make the pod's view of the network and
// of users.
func Files(pod *corev1.Pod, facts Facts, dns netip.Addr, domain string) map[string]string {
	return map[string]string{
		"/etc/hostname":      Hostname(pod) + "\n",
		"/etc/hosts":         hosts(pod, facts, domain),
		"/etc/resolv.conf":   resolvConf(pod, dns, domain),
		"/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
		"/etc/passwd": fmt.Sprintf("root:x:0:0:root:/tmp:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"+
			"nonroot:x:%[1]d:%[1]d:nonroot:/tmp:/bin/sh\n", NobodyID),
		"/etc/group": fmt.Sprintf("root:x:0:\nnobody:x:65534:\nnonroot:x:%d:\n", NobodyID),
	}
}

func hosts(pod *corev1.Pod, facts Facts, domain string) string {
	var b strings.Builder
	b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	names := Hostname(pod)
	if pod.Spec.Subdomain != "" {
		names = fmt.Sprintf("%s.%s.%s.svc.%s\t%s", names, pod.Spec.Subdomain, pod.Namespace, domain, names)
	}
	fmt.Fprintf(&b, "%s\t%s\n", facts.PodIP, names)
	for _, alias := range pod.Spec.HostAliases {
		fmt.Fprintf(&b, "%s\t%s\n", alias.IP, strings.Join(alias.Hostnames, "\t"))
	}
	return b.String()
}

func resolvConf(pod *corev1.Pod, dns netip.Addr, domain string) string {
	var servers, search, options []string
	switch pod.Spec.DNSPolicy {
	case corev1.DNSNone, corev1.DNSDefault: // The node itself asks nobody.
	default:
		if dns.IsValid() {
			servers = []string{dns.String()}
			search = []string{pod.Namespace + ".svc." + domain, "svc." + domain, domain}
			options = []string{"ndots:5"}
		}
	}
	if c := pod.Spec.DNSConfig; c != nil {
		servers = append(servers, c.Nameservers...)
		search = append(search, c.Searches...)
		for _, o := range c.Options {
			options = slices.DeleteFunc(options, func(s string) bool {
				name, _, _ := strings.Cut(s, ":")
				return name == o.Name
			})
			option := o.Name
			if o.Value != nil {
				option += ":" + *o.Value
			}
			options = append(options, option)
		}
	}
	var b strings.Builder
	for _, server := range servers {
		fmt.Fprintf(&b, "nameserver %s\n", server)
	}
	if len(search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(search, " "))
	}
	if len(options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(options, " "))
	}
	return b.String()
}
