package envtest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

func TestSamplesAreValid(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "config", "samples", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]bool{}
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		decoder := utilyaml.NewYAMLOrJSONDecoder(f, 4096)
		for {
			u := new(unstructured.Unstructured)
			if err := decoder.Decode(u); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			u.SetNamespace(metav1.NamespaceDefault)
			if _, err := dryRun(t, u, metav1.FieldValidationStrict); err != nil {
				t.Errorf("%s: %v", filepath.Base(file), err)
			}
			kinds[u.GetKind()] = true
		}
	}
	for kind := range resources {
		if !kinds[kind] {
			t.Errorf("config/samples has no %s", kind)
		}
	}
}

func TestChartRefusesBadValues(t *testing.T) {
	for _, test := range []struct{ name, set, want string }{
		{"a trust domain in capitals", "trustDomain=Cluster.Local", "trustDomain"},
		{"an empty trust domain", "trustDomain=", "trustDomain"},
		{"no replicas", "replicas=0", "replicas"},
		{"a password in a URL", "nats.url=nats://user:secret@nats:4222", "nats"},
		{"a URL of another kind", "nats.url=http://nats:4222", "nats"},
		{"an etcd endpoint without a scheme", "etcd.endpoints[0]=etcd:2379", "etcd"},
		{"a namespace that is none", "secretNamespaces[0]=*", "secretNamespaces"},
		{"a mistyped value", "trustdomain=cluster.local", "trustdomain"},
		{"a mistyped inner value", "image.tagg=v1", "tagg"},
		{"an unknown level", "logLevel=verbose", "logLevel"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := render(t, "--set", test.set)
			if err == nil {
				t.Fatal("rendered")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("refused with %v, want it to name %s", err, test.want)
			}
		})
	}
}

func TestChartHoldsTheCRDs(t *testing.T) {
	objects, err := render(t)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]any{}
	for _, o := range objects {
		if o.GetKind() != "CustomResourceDefinition" {
			continue
		}
		annotations := o.GetAnnotations()
		if annotations["helm.sh/resource-policy"] != "keep" {
			t.Errorf("%s goes with the release", o.GetName())
		}
		got[o.GetName()] = o.Object["spec"]
	}
	want := map[string]any{}
	for name, data := range crdFiles(t) {
		crd := new(unstructured.Unstructured)
		if err := yaml.Unmarshal(data, &crd.Object); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want[crd.GetName()] = crd.Object["spec"]
	}
	if diff := cmp.Diff(want, got, numbers()); diff != "" {
		t.Errorf("the chart's CRDs are not those of config/crd: run `make generate` (-config +chart):\n%s", diff)
	}
}

func deployment(t *testing.T, args ...string) *appsv1.Deployment {
	t.Helper()
	objects, err := render(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		if o.GetKind() == "Deployment" {
			d := new(appsv1.Deployment)
			if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(o.Object, d, true); err != nil {
				t.Fatal(err)
			}
			return d
		}
	}
	t.Fatal("the chart has no Deployment")
	return nil
}

func TestChartTellsTheOperatorItsValues(t *testing.T) {
	d := deployment(t, "--set", "trustDomain=example.org,nats.url=nats://nats:4222,etcd.endpoints={https://a:2379,https://b:2379},secretNamespaces={shop,finance},logLevel=debug")
	want := []string{
		"-trust-domain=example.org", "-log-level=debug", "-nats-url=nats://nats:4222", "-etcd-endpoints=https://a:2379,https://b:2379",
		"-secret-namespaces=shop,finance",
	}
	if diff := cmp.Diff(want, d.Spec.Template.Spec.Containers[0].Args); diff != "" {
		t.Errorf("arguments (-want +got):\n%s", diff)
	}
}

// TestChartGrantsSecretsWhereTold holds that the operator gets rights to Secrets in the namespaces that the installer lists, to
// do no more than it does there, and in its own namespace to those of its issuers.
func TestChartGrantsSecretsWhereTold(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		want []string
	}{
		{"nowhere", nil, nil},
		{"in two namespaces", []string{"--set", "secretNamespaces={shop,finance}"}, []string{
			"Role finance/xinhari-operator-secrets: [get list create update delete] [secrets] []",
			"Role shop/xinhari-operator-secrets: [get list create update delete] [secrets] []",
			"RoleBinding finance/xinhari-operator-secrets of Role xinhari-operator-secrets to xinhari-system/xinhari-operator",
			"RoleBinding shop/xinhari-operator-secrets of Role xinhari-operator-secrets to xinhari-system/xinhari-operator",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			objects, err := render(t, test.args...)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, o := range objects {
				where := o.GetKind() + " " + o.GetNamespace() + "/" + o.GetName()
				switch o.GetKind() {
				case "RoleBinding":
					var b rbacv1.RoleBinding
					if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &b); err != nil {
						t.Fatal(err)
					}
					if o.GetNamespace() != operatorNamespace {
						for _, s := range b.Subjects {
							got = append(got, fmt.Sprintf("%s of %s %s to %s/%s", where, b.RoleRef.Kind, b.RoleRef.Name, s.Namespace, s.Name))
						}
					}
				case "Role", "ClusterRole":
					var r rbacv1.ClusterRole
					if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &r); err != nil {
						t.Fatal(err)
					}
					for _, rule := range r.Rules {
						if o.GetNamespace() != operatorNamespace && (slices.Contains(rule.Resources, "secrets") || slices.Contains(rule.Resources, "*")) {
							got = append(got, fmt.Sprintf("%s: %v %v %v", where, rule.Verbs, rule.Resources, rule.ResourceNames))
						}
					}
				}
			}
			slices.Sort(got)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("rights to Secrets (-want +got):\n%s", diff)
			}
		})
	}
	d := deployment(t)
	for _, arg := range d.Spec.Template.Spec.Containers[0].Args {
		if strings.HasPrefix(arg, "-secret-namespaces") {
			t.Errorf("without namespaces the operator is told %s", arg)
		}
	}
}

// TestOperatorIsRestricted holds that the API server takes the operator's pod where it demands the restricted profile, and
// that it takes every other object of the chart.
func TestOperatorIsRestricted(t *testing.T) {
	c := adminClient(t)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		GenerateName: "restricted-", Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"},
	}}
	if err := c.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "xinhari-operator", Namespace: ns.Name}}
	if err := c.Create(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	d := deployment(t, "--set", "replicas=2")
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "operator", Namespace: ns.Name}, Spec: d.Spec.Template.Spec}
	if err := c.Create(t.Context(), pod, client.DryRunAll); err != nil {
		t.Error(err)
	}
	pod.Spec.SecurityContext.RunAsNonRoot = new(false)
	if err := c.Create(t.Context(), pod.DeepCopy(), client.DryRunAll); err == nil {
		t.Error("the namespace demands nothing of pods, so this test shows nothing")
	}
	objects, err := render(t, "--set", "replicas=2")
	if err != nil {
		t.Fatal(err)
	}
	ensure(t, c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: operatorNamespace}})
	kinds := map[string]bool{}
	for _, o := range objects {
		kinds[o.GetKind()] = true
		err := c.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(o), client.DryRunAll, client.ForceOwnership, client.FieldOwner("helm"))
		if err != nil {
			t.Errorf("%s %s: %v", o.GetKind(), o.GetName(), err)
		}
	}
	if !kinds["PodDisruptionBudget"] {
		t.Error("two operators have no PodDisruptionBudget")
	}
}

// TestOperatorHoldsNoSecretElsewhere holds that no role of the chart gives a right to Secrets but those of the operator, in
// its namespace, which name each.
func TestOperatorHoldsNoSecretElsewhere(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		want []string
	}{
		{"an own CA", nil, []string{"xinhari-ca", "xinhari-signing"}},
		{"cert-manager's", []string{"--set", "certManager.issuer=company"}, []string{"xinhari-ca", "xinhari-issuer", "xinhari-signing"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			objects, err := render(t, test.args...)
			if err != nil {
				t.Fatal(err)
			}
			named := []string{}
			for _, o := range objects {
				if o.GetKind() == "Role" || o.GetKind() == "ClusterRole" {
					named = append(named, secretsNamed(t, o)...)
				}
			}
			slices.Sort(named)
			if diff := cmp.Diff(test.want, slices.Compact(named)); diff != "" {
				t.Errorf("Secrets that are named (-want +got):\n%s", diff)
			}
		})
	}
}

// secretsNamed returns the Secrets that a role names. One that gives more fails the test.
func secretsNamed(t *testing.T, o *unstructured.Unstructured) []string {
	t.Helper()
	var role rbacv1.Role // a ClusterRole has the same rules
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &role); err != nil {
		t.Fatal(err)
	}
	var named []string
	for _, rule := range role.Rules {
		if !slices.ContainsFunc(rule.Resources, func(r string) bool { return r == "secrets" || strings.HasPrefix(r, "*") }) {
			continue
		}
		switch {
		case o.GetKind() != "Role" || o.GetNamespace() != operatorNamespace:
			t.Errorf("%s %s/%s gives a right to Secrets: %v", o.GetKind(), o.GetNamespace(), o.GetName(), rule)
		case slices.Equal(rule.Verbs, []string{"create"}): // which has no name yet
		case len(rule.ResourceNames) == 0 || slices.Contains(rule.Verbs, "*"):
			t.Errorf("%s %s gives a right to all Secrets of the namespace, or every right to one: %v", o.GetKind(), o.GetName(), rule)
		default:
			named = append(named, rule.ResourceNames...)
		}
	}
	return named
}
