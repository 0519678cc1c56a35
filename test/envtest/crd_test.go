package envtest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
)

// resources maps kinds to resources.
var resources = map[string]string{
	"Service": "services", "AccessRule": "accessrules", "ConfigSource": "configsources", "Topic": "topics",
}

func (o object) unstructured(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	spec := map[string]any{}
	if err := yaml.UnmarshalStrict([]byte(o.spec), &spec); err != nil {
		t.Fatalf("the case's YAML: %v", err)
	}
	u := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	u.SetGroupVersionKind(xinhariv1alpha1.Kind(o.kind))
	u.SetName("sample")
	if o.as != "" {
		u.SetName(o.as)
	}
	u.SetNamespace(metav1.NamespaceDefault)
	return u
}

// dryRun asks the API server to create the object without keeping it.
func dryRun(t *testing.T, u *unstructured.Unstructured, validation string) (*unstructured.Unstructured, error) {
	t.Helper()
	c, err := dynamic.NewForConfig(admin)
	if err != nil {
		t.Fatal(err)
	}
	return c.Resource(xinhariv1alpha1.Resource(resources[u.GetKind()])).Namespace(u.GetNamespace()).Create(
		context.Background(), u, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldValidation: validation})
}

var validations = []string{metav1.FieldValidationStrict, metav1.FieldValidationIgnore}

func TestValidObjectsAreAcceptedUnchanged(t *testing.T) {
	for _, o := range validObjects() {
		for _, validation := range validations {
			t.Run(o.kind+"/"+o.name+"/"+validation, func(t *testing.T) {
				u := o.unstructured(t)
				got, err := dryRun(t, u.DeepCopy(), validation)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(u.Object["spec"], got.Object["spec"], numbers()); diff != "" {
					t.Errorf("the API server changed the spec (-sent +kept):\n%s", diff)
				}
			})
		}
	}
}

// numbers makes whole numbers equal whatever type the decoder chose.
func numbers() cmp.Option {
	return cmp.FilterValues(func(a, b any) bool {
		_, oka := asFloat(a)
		_, okb := asFloat(b)
		return oka && okb
	}, cmp.Comparer(func(a, b any) bool {
		x, _ := asFloat(a)
		y, _ := asFloat(b)
		return x == y
	}))
}

func asFloat(v any) (float64, bool) {
	switch n := v.(type) {
	case int64:
		return float64(n), true
	case float64:
		return n, true
	}
	return 0, false
}

func TestInvalidObjectsAreRefused(t *testing.T) {
	for _, o := range invalidObjects() {
		for _, validation := range validations {
			t.Run(o.kind+"/"+o.name+"/"+validation, func(t *testing.T) {
				_, err := dryRun(t, o.unstructured(t), validation)
				if err == nil {
					t.Fatal("accepted")
				}
				if !strings.Contains(err.Error(), o.want) {
					t.Errorf("refused with %q, want it to say %q", err, o.want)
				}
			})
		}
	}
}

func TestEveryRuleRefusesACase(t *testing.T) {
	refusals := new(strings.Builder)
	for _, o := range invalidObjects() {
		if _, err := dryRun(t, o.unstructured(t), metav1.FieldValidationStrict); err != nil {
			fmt.Fprintln(refusals, err)
		}
	}
	rules := 0
	for _, crd := range readCRDs(t) {
		for _, v := range crd.Spec.Versions {
			walk(v.Schema.OpenAPIV3Schema, crd.Spec.Names.Kind, func(path string, s *apiextensionsv1.JSONSchemaProps) {
				for _, rule := range s.XValidations {
					rules++
					if rule.Message == "" {
						t.Errorf("%s: rule %q has no message", path, rule.Rule)
					}
					if !strings.Contains(refusals.String(), rule.Message) {
						t.Errorf("%s: no case is refused with %q", path, rule.Message)
					}
				}
			})
		}
	}
	if rules == 0 {
		t.Error("the CRDs hold no rules at all")
	}
}

func TestCRDsAreSmall(t *testing.T) {
	const limit = 200_000
	for name, data := range crdFiles(t) {
		if len(data) >= limit {
			t.Errorf("%s has %d bytes, want less than %d", name, len(data), limit)
		}
	}
}

// TestEveryFieldIsBounded holds that no author can make an object without bound, and that every field is explained.
func TestEveryFieldIsBounded(t *testing.T) {
	for _, crd := range readCRDs(t) {
		spec := crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
		walk(&spec, crd.Spec.Names.Kind+".spec", func(path string, s *apiextensionsv1.JSONSchemaProps) {
			switch {
			case s.Type == "string" && s.Enum == nil && s.Format == "" && s.MaxLength == nil:
				t.Errorf("%s: a string without maxLength", path)
			case s.Type == "array" && s.MaxItems == nil:
				t.Errorf("%s: a list without maxItems", path)
			case s.Type == "array" && s.XListType == nil:
				t.Errorf("%s: a list without a list type", path)
			case s.AdditionalProperties != nil && s.MaxProperties == nil:
				t.Errorf("%s: a map without maxProperties", path)
			case s.Type == "integer" && (s.Minimum == nil || s.Maximum == nil):
				t.Errorf("%s: a number without minimum and maximum", path)
			case s.Default != nil:
				t.Errorf("%s: has a default in its schema", path)
			case s.Description == "" && !strings.HasSuffix(path, "[]") && !strings.HasSuffix(path, "{}"):
				t.Errorf("%s: is not explained", path)
			}
		})
	}
}

func walk(s *apiextensionsv1.JSONSchemaProps, path string, visit func(string, *apiextensionsv1.JSONSchemaProps)) {
	if s == nil {
		return
	}
	visit(path, s)
	names := make([]string, 0, len(s.Properties))
	for name := range s.Properties {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		child := s.Properties[name]
		walk(&child, path+"."+name, visit)
	}
	if s.Items != nil {
		walk(s.Items.Schema, path+"[]", visit)
	}
	if s.AdditionalProperties != nil {
		walk(s.AdditionalProperties.Schema, path+"{}", visit)
	}
}

func crdFiles(t *testing.T) map[string][]byte {
	t.Helper()
	names, err := filepath.Glob(filepath.Join("..", "..", "config", "crd", "*.yaml"))
	if err != nil || len(names) != len(resources) {
		t.Fatalf("config/crd holds %d files (%v), want one for each of the %d kinds", len(names), err, len(resources))
	}
	files := make(map[string][]byte, len(names))
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = data
	}
	return files
}

func readCRDs(t *testing.T) []*apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	var crds []*apiextensionsv1.CustomResourceDefinition
	for name, data := range crdFiles(t) {
		crd := new(apiextensionsv1.CustomResourceDefinition)
		if err := yaml.UnmarshalStrict(data, crd); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		crds = append(crds, crd)
	}
	return crds
}
