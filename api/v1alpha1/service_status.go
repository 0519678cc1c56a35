package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ServiceStatus is what the operator found and did for a Service.
type ServiceStatus struct {
	// observedGeneration is the generation of the spec that this status speaks of.
	// +optional
	// +kubebuilder:validation:Minimum=0
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions are Ready always; Reconciling, Stalled, SharedIdentity and KeyInSecret only while true.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// endpoints counts the instances. Absent for a clientOnly Service.
	// +optional
	Endpoints *EndpointCount `json:"endpoints,omitempty"`

	// spiffeID is the identity of the Service's instances: spiffe://<trust domain>/ns/<namespace>/sa/<account>.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=600
	SPIFFEID string `json:"spiffeID,omitempty"`
}

// EndpointCount counts the instances of a Service.
type EndpointCount struct {
	// ready is how many instances are ready to be called.
	// +required
	// +kubebuilder:validation:Minimum=0
	Ready *int32 `json:"ready,omitempty"`

	// total is how many instances there are.
	// +required
	// +kubebuilder:validation:Minimum=0
	Total *int32 `json:"total,omitempty"`
}
