package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupName is the API group of the four kinds.
const GroupName = "xinhari.com"

// Version is the API version of the four kinds.
const Version = "v1alpha1"

// GroupVersion returns the group and version of the four kinds.
func GroupVersion() schema.GroupVersion {
	return schema.GroupVersion{Group: GroupName, Version: Version}
}

// Kind returns the qualified name of one of the four kinds.
func Kind(kind string) schema.GroupVersionKind {
	return GroupVersion().WithKind(kind)
}

// Resource returns the qualified name of one of the four resources, which are lower case plurals.
func Resource(resource string) schema.GroupVersionResource {
	return GroupVersion().WithResource(resource)
}

// AddToScheme registers the four kinds and their lists with a scheme.
func AddToScheme(s *runtime.Scheme) error {
	b := runtime.NewSchemeBuilder(addKnownTypes)
	return b.AddToScheme(s)
}

func addKnownTypes(s *runtime.Scheme) error {
	gv := GroupVersion()
	s.AddKnownTypes(gv,
		&Service{}, &ServiceList{},
		&AccessRule{}, &AccessRuleList{},
		&ConfigSource{}, &ConfigSourceList{},
		&Topic{}, &TopicList{},
	)
	metav1.AddToGroupVersion(s, gv)
	return nil
}
