package pod

import (
	"flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

func TestUnsupported(t *testing.T) {
	tests := []struct {
		name string
		spec corev1.PodSpec
		want []string
	}{
		{name: "an ordinary pod", spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", SecurityContext: &corev1.SecurityContext{
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}, Privileged: pointer(false),
		}}}}},
		{name: "host's namespaces", spec: corev1.PodSpec{HostPID: true, HostIPC: true}, want: []string{"spec.hostPID", "spec.hostIPC"}},
		{name: "host's folders", spec: corev1.PodSpec{Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{}}}}}, want: []string{"spec.volumes[v].hostPath"}},
		{name: "privileged", spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", SecurityContext: &corev1.SecurityContext{Privileged: pointer(true)}}}}, want: []string{"spec.containers[c].securityContext.privileged"}},
		{name: "ports of the host", spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Ports: []corev1.ContainerPort{{HostPort: 80}}}}}, want: []string{"spec.containers[c].ports[0].hostPort"}},
		{name: "ports of the host, by its network", spec: corev1.PodSpec{HostNetwork: true, Containers: []corev1.Container{{Name: "c", Ports: []corev1.ContainerPort{{HostPort: 80}}}}}},
		{name: "user namespaces", spec: corev1.PodSpec{HostUsers: pointer(false)}, want: []string{"spec.hostUsers"}},
		{name: "the host's users", spec: corev1.PodSpec{HostUsers: pointer(true), ShareProcessNamespace: pointer(false)}},
		{
			name: "in a projected volume", want: []string{"spec.volumes[v].projected.sources[0].podCertificate"},
			spec: corev1.PodSpec{Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
				Sources: []corev1.VolumeProjection{{PodCertificate: &corev1.PodCertificateProjection{}}},
			}}}}},
		},
		{
			name: "in an init container", want: []string{"spec.initContainers[i].restartPolicyRules[0].action"},
			spec: corev1.PodSpec{InitContainers: []corev1.Container{{Name: "i", RestartPolicyRules: []corev1.ContainerRestartRule{{Action: corev1.ContainerRestartRuleActionRestartAllContainers}}}}},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			if err := Unsupported(&corev1.Pod{Spec: test.spec}); err != nil {
				for line := range strings.SplitSeq(err.Error(), "\n") {
					field, _, _ := strings.Cut(line, ":")
					got = append(got, field)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// described calls f for each field of the type, and of those below it that have
// rules.
func described(t reflect.Type, rules map[string]map[string]fieldRule, seen map[string]bool, f func(typ, field, path string)) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || rules[t.Name()] == nil || seen[t.Name()] {
		return
	}
	seen[t.Name()] = true
	for i := range t.NumField() {
		field := t.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if !field.Anonymous {
			f(t.Name(), field.Name, name)
		}
		described(field.Type, rules, seen, f)
	}
}

// TestEveryFieldHasARule fails for a field that a newer Kubernetes brings.
func TestEveryFieldHasARule(t *testing.T) {
	rules := fieldRules()
	unused := map[string]bool{}
	for typ, fields := range rules {
		for field := range fields {
			unused[typ+"."+field] = true
		}
	}
	seen := map[string]bool{}
	described(reflect.TypeFor[corev1.PodSpec](), rules, seen, func(typ, field, _ string) {
		switch rule := rules[typ][field]; {
		case rule.support == 0:
			t.Errorf("%s.%s has no rule", typ, field)
		case (rule.support == Done) != (rule.why == ""):
			t.Errorf("%s.%s: what is not done, and nothing else, has a reason", typ, field)
		}
		delete(unused, typ+"."+field)
	})
	for _, embedded := range []string{"Probe.ProbeHandler", "Volume.VolumeSource"} {
		delete(unused, embedded)
	}
	for name := range unused {
		t.Errorf("there is no field %s", name)
	}
	for typ := range rules {
		if !seen[typ] {
			t.Errorf("no pod has a %s", typ)
		}
	}
}

var update = flag.Bool("update", false, "write the list of fields anew")

func TestFieldsAreListed(t *testing.T) {
	const file = "../FIELDS.md"
	var b strings.Builder
	b.WriteString("# What the node makes of the fields of a pod\n\n" +
		"Fields of Kubernetes v1.36. Refused is what a pod waits for, with the event and the reason `Unsupported`, which name the field.\n")
	rules := fieldRules()
	for _, list := range []struct {
		support Support
		title   string
	}{{Done, "Done"}, {Ignored, "Ignored on purpose"}, {Refused, "Refused"}} {
		fmt.Fprintf(&b, "\n## %s\n", list.title)
		var types []string
		fields := map[string][]string{}
		described(reflect.TypeFor[corev1.PodSpec](), rules, map[string]bool{}, func(typ, field, path string) {
			rule := rules[typ][field]
			if rule.support != list.support {
				return
			}
			if fields[typ] == nil {
				types = append(types, typ)
			}
			text := "`" + path + "`"
			if rule.why != "" {
				text = fmt.Sprintf("- %s: %s", text, rule.why)
			}
			fields[typ] = append(fields[typ], text)
		})
		for _, typ := range types {
			if list.support == Done {
				fmt.Fprintf(&b, "\n**%s**: %s\n", typ, strings.Join(fields[typ], ", "))
				continue
			}
			fmt.Fprintf(&b, "\n**%s**:\n\n%s\n", typ, strings.Join(fields[typ], "\n"))
		}
	}
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(b.String(), string(have)); diff != "" {
		t.Errorf("%s is not what the rules say; go test -update writes it: %s", file, diff)
	}
}
