// Package kubekinds has of Kubernetes' own kinds the three that programs with
// the runtime use, and of these the fields that they use. The packages that
// have all kinds would add 6 MB to every such program, and to each collection
// of its garbage a tenth of a megabyte to look through.
//
// Fields are as in the API of the same version: the tests hold them to it.
//
// +kubebuilder:object:generate=true
package kubekinds

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// Core returns the group and version of ConfigMap.
func Core() schema.GroupVersion { return schema.GroupVersion{Version: "v1"} }

// AddCore adds the kinds of Core.
func AddCore(s *runtime.Scheme) error {
	s.AddKnownTypes(Core(), &ConfigMap{}, &ConfigMapList{})
	return nil
}

// ConfigMap is text by keys.
//
// +kubebuilder:object:root=true
type ConfigMap struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Data map[string]string `json:"data,omitempty"`
}

// ConfigMapList is a list of ConfigMaps.
//
// +kubebuilder:object:root=true
type ConfigMapList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ConfigMap `json:"items"`
}

// Discovery returns the group and version of EndpointSlice.
func Discovery() schema.GroupVersion {
	return schema.GroupVersion{Group: "discovery.k8s.io", Version: "v1"}
}

// AddDiscovery adds the kinds of Discovery.
func AddDiscovery(s *runtime.Scheme) error {
	s.AddKnownTypes(Discovery(), &EndpointSlice{}, &EndpointSliceList{})
	return nil
}

// LabelServiceName is the label of an EndpointSlice that has the name of its Service.
const LabelServiceName = "kubernetes.io/service-name"

// EndpointSlice is some of the instances of a Service.
//
// +kubebuilder:object:root=true
type EndpointSlice struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Endpoints []Endpoint     `json:"endpoints"`
	Ports     []EndpointPort `json:"ports"`
}

// EndpointSliceList is a list of EndpointSlices.
//
// +kubebuilder:object:root=true
type EndpointSliceList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []EndpointSlice `json:"items"`
}

// Endpoint is an instance.
type Endpoint struct {
	Addresses  []string           `json:"addresses"`
	Conditions EndpointConditions `json:"conditions,omitempty"`
	TargetRef  *ObjectReference   `json:"targetRef,omitempty"`
	Zone       *string            `json:"zone,omitempty"`
}

// EndpointConditions are what an instance is ready for.
type EndpointConditions struct {
	Ready       *bool `json:"ready,omitempty"`
	Serving     *bool `json:"serving,omitempty"`
	Terminating *bool `json:"terminating,omitempty"`
}

// ObjectReference is what object an instance is.
type ObjectReference struct {
	UID types.UID `json:"uid,omitempty"`
}

// EndpointPort is a port of all instances of a slice.
type EndpointPort struct {
	Name *string `json:"name,omitempty"`
	Port *int32  `json:"port,omitempty"`
}

// Certificates returns the group and version of CertificateSigningRequest.
func Certificates() schema.GroupVersion {
	return schema.GroupVersion{Group: "certificates.k8s.io", Version: "v1"}
}

// AddCertificates adds the kinds of Certificates.
func AddCertificates(s *runtime.Scheme) error {
	s.AddKnownTypes(Certificates(), &CertificateSigningRequest{})
	return nil
}

// CertificateSigningRequest asks a signer for a certificate.
//
// +kubebuilder:object:root=true
type CertificateSigningRequest struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   CertificateSigningRequestSpec   `json:"spec"`
	Status CertificateSigningRequestStatus `json:"status,omitempty"`
}

// CertificateSigningRequestSpec is what is asked for.
type CertificateSigningRequestSpec struct {
	Request    []byte     `json:"request"` // PEM
	SignerName string     `json:"signerName"`
	Usages     []KeyUsage `json:"usages,omitempty"`
}

// KeyUsage is what a key is for.
type KeyUsage string

// Usages of the keys of workloads.
const (
	UsageDigitalSignature KeyUsage = "digital signature"
	UsageClientAuth       KeyUsage = "client auth"
	UsageServerAuth       KeyUsage = "server auth"
)

// CertificateSigningRequestStatus is what became of a request.
type CertificateSigningRequestStatus struct {
	Conditions  []CertificateSigningRequestCondition `json:"conditions,omitempty"`
	Certificate []byte                               `json:"certificate,omitempty"` // PEM
}

// CertificateSigningRequestCondition is a verdict.
type CertificateSigningRequestCondition struct {
	Type    RequestConditionType   `json:"type"`
	Status  metav1.ConditionStatus `json:"status"`
	Reason  string                 `json:"reason,omitempty"`
	Message string                 `json:"message,omitempty"`
}

// RequestConditionType is which verdict it is.
type RequestConditionType string

// Verdicts.
const (
	CertificateApproved RequestConditionType = "Approved"
	CertificateDenied   RequestConditionType = "Denied"
	CertificateFailed   RequestConditionType = "Failed"
)
