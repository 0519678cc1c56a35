// Package v1alpha1 holds the four kinds of the API group xinhari.com: Service, AccessRule, ConfigSource and Topic.
//
// The types depend on apimachinery only. Defaults are not written into objects: what an omitted field means is
// documented on the field and computed by a method or a constant of this package, so that objects stay as their
// authors wrote them. Validation lives in the CustomResourceDefinitions made from these types.
//
// Absence never widens: where a missing optional field would give more than its author meant to give, the object is
// closed, that is, the API server keeps fields it does not know there and refuses the object because of them,
// whatever the client's field validation. Such types carry the marker kubebuilder:pruning:PreserveUnknownFields;
// config/generate adds to their schema the rule that counts fields. It has a case for every subset of the optional fields,
// so objects with many of them (Service.spec, traffic, Topic.spec) cannot be closed, nor can the root of an object, where the
// API server takes no such rule; the tests list the fields for which that matters not, each with the reason.
//
// +kubebuilder:object:generate=true
// +groupName=xinhari.com
package v1alpha1
