package envtest

import (
	"maps"
	"slices"
	"sort"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// harmless lists the fields whose absence an API server may not notice, with the reason why that widens nothing.
// Everything else must be refused when its name is mistyped.
var harmless = map[string]string{
	"Service.spec.serviceAccountName": "the identity stays in the namespace, which is the boundary of trust, with the account named like the Service",
	"Service.spec.ports":              "the default port: callers reach another port of the same instances, or none",
	"Service.spec.coreService":        "Create: someone else's core Service is left alone and reported",
	"Service.spec.versions":           "all instances are called alike; who may call or be called does not change",
	"Service.spec.identity":           "Strict, no key in a Secret; a certificate lasts 24h, within the bound that anyone may ask for",
	"Service.spec.access":             "Deny and Enforce, the strictest",
	"Service.spec.access.default":     "Deny, the strictest",
	"Service.spec.access.mode":        "Enforce, the strictest",
	"Service.spec.subscriptions":      "fewer rights, and no group that publishers wait for",
	"Service.spec.config":             "fewer settings are read",
	"Service.spec.endpoints[].zone":   "only which instance is preferred",

	"Service.spec.traffic":                             "which instance, when and how often; never who",
	"Service.spec.traffic.timeout":                     "a call's own deadline holds",
	"Service.spec.traffic.retry":                       "fewer retries",
	"Service.spec.traffic.locality":                    "only which instance is preferred",
	"Service.spec.traffic.outlier":                     "the default outlier ejection",
	"Service.spec.traffic.outlier.consecutiveFailures": "the default outlier ejection",
	"Service.spec.traffic.outlier.ejection":            "the default outlier ejection",
	"Service.spec.traffic.outlier.maxEjectedPercent":   "the default outlier ejection",
	"Service.spec.traffic.slowStart":                   "new instances get a full share",
	"Service.spec.traffic.subset":                      "more connections, to the same instances",
	"Service.spec.traffic.maxRequestsPerEndpoint":      "the default bound",

	"ConfigSource.spec.layers[].onFailure":    "Fail, the strictest",
	"ConfigSource.spec.layers[].http.refresh": "the default interval",

	"Topic.spec.provider":            "the installer's choice",
	"Topic.spec.retention":           "messages are kept, none is lost",
	"Topic.spec.replicas":            "the default; who may publish or subscribe does not change",
	"Topic.spec.storage":             "File, the more durable",
	"Topic.spec.dedupeWindow":        "the default window",
	"Topic.spec.delivery":            "the default delivery",
	"Topic.spec.delivery.ackWait":    "the default wait",
	"Topic.spec.delivery.maxDeliver": "the default number",
	"Topic.spec.delivery.backoff":    "the default waits",
	"Topic.spec.deadLetter":          "no second stream; who may read does not change",
	"Topic.spec.contentType":         "the default type",
	"Topic.spec.deletionPolicy":      "Retain: messages are kept",
}

func TestMistypedFieldsWidenNothing(t *testing.T) {
	accepted := map[string]bool{}
	for _, o := range validObjects() {
		for _, path := range fields(o.unstructured(t).Object["spec"], o.kind+".spec", nil) {
			u := o.unstructured(t)
			mistype(u.Object["spec"], path.steps)
			_, err := dryRun(t, u, metav1.FieldValidationIgnore)
			switch reason := harmless[path.name]; {
			case err != nil:
			case reason == "":
				t.Errorf("%s (%s): accepted although %s was mistyped", o.kind, o.name, path.name)
			default:
				accepted[path.name] = true
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(harmless)) {
		if !accepted[name] {
			t.Errorf("%s is listed as harmless and was never accepted mistyped: remove it from the list", name)
		}
	}
}

// TestMisplacedFieldsOfRulesAreRefused moves each field within the spec of an AccessRule one level up, as a slip of
// indentation does. Out of the spec is another matter: beside a status subresource, the API server takes no rule that could
// close the root, so there it is the client's field validation that finds the slip.
func TestMisplacedFieldsOfRulesAreRefused(t *testing.T) {
	moved := 0
	for _, o := range validObjects() {
		if o.kind != "AccessRule" {
			continue
		}
		for _, path := range fields(o.unstructured(t).Object["spec"], o.kind+".spec", nil) {
			if len(path.steps) < 2 {
				continue
			}
			if _, isField := path.steps[len(path.steps)-2].(string); !isField { // an item of a list has nothing above
				continue
			}
			moved++
			u := o.unstructured(t)
			raise(u.Object["spec"], path.steps)
			if _, err := dryRun(t, u, metav1.FieldValidationIgnore); err == nil {
				t.Errorf("%s: accepted although %s was one level too high", o.name, path.name)
			}
		}
	}
	if moved == 0 {
		t.Error("no field was moved")
	}
}

// raise moves the field at the end of steps to the object above its own.
func raise(v any, steps []any) {
	for _, step := range steps[:len(steps)-2] {
		switch step := step.(type) {
		case string:
			v = v.(map[string]any)[step]
		case int:
			v = v.([]any)[step]
		}
	}
	above := v.(map[string]any)
	inner := above[steps[len(steps)-2].(string)].(map[string]any)
	name := steps[len(steps)-1].(string)
	above[name] = inner[name]
	delete(inner, name)
}

// TestValidObjectsUseEveryField holds that the test above mistypes every field there is.
func TestValidObjectsUseEveryField(t *testing.T) {
	used := map[string]bool{}
	for _, o := range validObjects() {
		for _, path := range fields(o.unstructured(t).Object["spec"], o.kind+".spec", nil) {
			used[path.name] = true
		}
	}
	for _, crd := range readCRDs(t) {
		spec := crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
		walk(&spec, crd.Spec.Names.Kind+".spec", func(path string, _ *apiextensionsv1.JSONSchemaProps) {
			if strings.HasSuffix(path, "[]") || strings.HasSuffix(path, "{}") || strings.HasSuffix(path, ".spec") {
				return
			}
			if !used[path] {
				t.Errorf("no valid object sets %s", path)
			}
		})
	}
}

// field is a field of an object: its name in the schema, and the steps to it.
type field struct {
	name  string
	steps []any
}

// fields lists the fields that are set below v. The keys of selectors are the author's own and no fields.
func fields(v any, name string, steps []any) []field {
	var all []field
	switch v := v.(type) {
	case map[string]any:
		if strings.HasSuffix(name, ".selector") {
			return nil
		}
		keys := slices.Collect(maps.Keys(v))
		sort.Strings(keys)
		for _, key := range keys {
			at := append(slices.Clone(steps), key)
			all = append(all, field{name: name + "." + key, steps: at})
			all = append(all, fields(v[key], name+"."+key, at)...)
		}
	case []any:
		for i := range v {
			all = append(all, fields(v[i], name+"[]", append(slices.Clone(steps), i))...)
		}
	}
	return all
}

// mistype renames the field at the end of steps.
func mistype(v any, steps []any) {
	for _, step := range steps[:len(steps)-1] {
		switch step := step.(type) {
		case string:
			v = v.(map[string]any)[step]
		case int:
			v = v.([]any)[step]
		}
	}
	last := steps[len(steps)-1].(string)
	m := v.(map[string]any)
	m[last+"x"] = m[last]
	delete(m, last)
}
