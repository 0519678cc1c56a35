package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// installedIn is the namespace that config/ is written for. The chart is installed in any.
const installedIn = "xinhari-system"

// writeAdmission copies the admission policies of config/admission to the chart.
func writeAdmission(root string) error {
	in, err := os.ReadFile(filepath.Join(root, "config", "admission", "requests.yaml"))
	if err != nil {
		return err
	}
	var out bytes.Buffer
	out.WriteString(header)
	for _, doc := range documents(in) {
		var kind metav1.PartialObjectMetadata
		if err := yaml.Unmarshal(doc, &kind); err != nil {
			return fmt.Errorf("reading an admission policy: %w", err)
		}
		var spec any
		switch kind.Kind {
		case "ValidatingAdmissionPolicy":
			var policy admissionregistrationv1.ValidatingAdmissionPolicy
			err, spec = yaml.UnmarshalStrict(doc, &policy), &policy.Spec
		case "ValidatingAdmissionPolicyBinding":
			var binding admissionregistrationv1.ValidatingAdmissionPolicyBinding
			err, spec = yaml.UnmarshalStrict(doc, &binding), &binding.Spec
		default:
			err = fmt.Errorf("a %s stands where an admission policy should", kind.Kind)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", kind.Name, err)
		}
		body, err := yaml.Marshal(map[string]any{"spec": spec})
		if err != nil {
			return err
		}
		if bytes.Contains(body, []byte("{{")) {
			return fmt.Errorf("%s: contains {{, which Helm would evaluate", kind.Name)
		}
		fmt.Fprintf(&out, "---\napiVersion: %s\nkind: %s\nmetadata:\n  name: %s\n  labels:\n    {{- include \"xinhari.labels\" . | nindent 4 }}\n%s",
			kind.APIVersion, kind.Kind, kind.Name,
			strings.ReplaceAll(string(body), ":"+installedIn+":", ":{{ .Release.Namespace }}:"))
	}
	return write(filepath.Join(root, "charts", "xinhari", "templates", "admission.yaml"), out.Bytes())
}
