package kubekinds

import (
	"reflect"
	"strings"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// TestFieldsAreKubernetes holds that every field is one of Kubernetes' own
// type, with the same name in JSON and a type that JSON writes alike.
func TestFieldsAreKubernetes(t *testing.T) {
	for _, pair := range []struct{ ours, kubernetes any }{
		{ConfigMap{}, corev1.ConfigMap{}},
		{ConfigMapList{}, corev1.ConfigMapList{}},
		{EndpointSlice{}, discoveryv1.EndpointSlice{}},
		{EndpointSliceList{}, discoveryv1.EndpointSliceList{}},
		{CertificateSigningRequest{}, certificatesv1.CertificateSigningRequest{}},
	} {
		ours := reflect.TypeOf(pair.ours)
		t.Run(ours.Name(), func(t *testing.T) { compare(t, ours.Name(), ours, reflect.TypeOf(pair.kubernetes)) })
	}
}

func compare(t *testing.T, path string, ours, theirs reflect.Type) {
	t.Helper()
	if ours == theirs {
		return
	}
	if ours.Kind() != theirs.Kind() {
		t.Errorf("%s: a %s, and in Kubernetes a %s", path, ours.Kind(), theirs.Kind())
		return
	}
	switch ours.Kind() {
	case reflect.Pointer, reflect.Slice:
		compare(t, path+"[]", ours.Elem(), theirs.Elem())
	case reflect.Map:
		compare(t, path+"{key}", ours.Key(), theirs.Key())
		compare(t, path+"{}", ours.Elem(), theirs.Elem())
	case reflect.Struct:
		for i := range ours.NumField() {
			f := ours.Field(i)
			g, ok := theirs.FieldByName(f.Name)
			switch {
			case !ok:
				t.Errorf("%s.%s: Kubernetes has no such field", path, f.Name)
			case name(f) != name(g):
				t.Errorf("%s.%s: %q in JSON, and %q in Kubernetes", path, f.Name, name(f), name(g))
			default:
				compare(t, path+"."+f.Name, f.Type, g.Type)
			}
		}
	}
}

// name returns the name of a field in JSON.
func name(f reflect.StructField) string {
	n, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return n
}

func TestConstantsAreKubernetes(t *testing.T) {
	for ours, theirs := range map[string]string{
		LabelServiceName:              discoveryv1.LabelServiceName,
		string(UsageDigitalSignature): string(certificatesv1.UsageDigitalSignature),
		string(UsageClientAuth):       string(certificatesv1.UsageClientAuth),
		string(UsageServerAuth):       string(certificatesv1.UsageServerAuth),
		string(CertificateApproved):   string(certificatesv1.CertificateApproved),
		string(CertificateDenied):     string(certificatesv1.CertificateDenied),
		string(CertificateFailed):     string(certificatesv1.CertificateFailed),
	} {
		if ours != theirs {
			t.Errorf("%q, and in Kubernetes %q", ours, theirs)
		}
	}
	for _, pair := range [][2]schema.GroupVersion{
		{Core(), corev1.SchemeGroupVersion}, {Discovery(), discoveryv1.SchemeGroupVersion}, {Certificates(), certificatesv1.SchemeGroupVersion},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%v, and in Kubernetes %v", pair[0], pair[1])
		}
	}
}

// TestKindsAreKnown holds that Kubernetes knows all kinds of the schemes.
func TestKindsAreKnown(t *testing.T) {
	ours, theirs := runtime.NewScheme(), runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{AddCore, AddDiscovery, AddCertificates} {
		if err := add(ours); err != nil {
			t.Fatal(err)
		}
	}
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, discoveryv1.AddToScheme, certificatesv1.AddToScheme} {
		if err := add(theirs); err != nil {
			t.Fatal(err)
		}
	}
	kinds := ours.AllKnownTypes()
	if len(kinds) != 5 {
		t.Errorf("%d kinds", len(kinds))
	}
	for kind := range kinds {
		if !theirs.Recognizes(kind) {
			t.Errorf("Kubernetes has no %v", kind)
		}
	}
}
