package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ConfigSource is settings, merged from layers, that Services of its namespace read. No effect yet: it is validated and
// stored.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=configsources,singular=configsource,shortName=xcfg,categories=xinhari
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Revision",type=string,JSONPath=`.status.revision`
// +kubebuilder:printcolumn:name="Pin",type=string,JSONPath=`.spec.pin`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 63 && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="Services name a ConfigSource by a DNS label: use at most 63 lower case letters, digits and hyphens in metadata.name"
type ConfigSource struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the object's name, namespace and labels. The name is a DNS label.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is what the author wants.
	// +required
	Spec ConfigSourceSpec `json:"spec,omitzero"`

	// status is what the operator found and did.
	// +optional
	Status ConfigSourceStatus `json:"status,omitzero"`
}

// ConfigSourceList is a list of ConfigSources.
//
// +kubebuilder:object:root=true
type ConfigSourceList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`

	// Items are the ConfigSources.
	Items []ConfigSource `json:"items"`
}

// ConfigSourceSpec is what the author of a ConfigSource wants. A field that is not listed here is refused, since a
// mistyped schema or pin would publish what should have been held back.
//
// +kubebuilder:pruning:PreserveUnknownFields
type ConfigSourceSpec struct {
	// layers are merged, lowest first: maps deeply, later values win, null deletes. 1 to 16.
	// +required
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Layers []ConfigLayer `json:"layers,omitempty"`

	// schema is a JSON Schema, without references to other documents, that a merge must fulfil to be published.
	// At most 65536 characters. Omitted, every merge is published.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=65536
	Schema string `json:"schema,omitempty"`

	// pin is the revision to stay on, as status.revision shows it. At most 64 characters. Omitted or empty, the newest is
	// published.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[a-z0-9]*$`
	Pin string `json:"pin,omitempty"`
}

// ConfigLayer is one layer of settings, from exactly one source.
//
// +kubebuilder:validation:XValidation:rule="[has(self.inline), has(self.configMap), has(self.secret), has(self.etcd), has(self.http)].filter(x, x).size() == 1",message="a layer has exactly one source: inline, configMap, secret, etcd or http; give each its own layer"
type ConfigLayer struct {
	// name names the layer in status and in where a setting came from: a DNS label. At most 63 characters.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name,omitempty"`

	// inline is a YAML or JSON document with a map at its top. At most 65536 characters.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=65536
	Inline string `json:"inline,omitempty"`

	// configMap is a ConfigMap of this namespace.
	// +optional
	ConfigMap *ObjectKeyReference `json:"configMap,omitempty"`

	// secret is a Secret of this namespace; the installer must have granted the operator its Secrets.
	// +optional
	Secret *ObjectKeyReference `json:"secret,omitempty"`

	// etcd is keys in etcd, read by the workload itself with its own credentials.
	// +optional
	Etcd *EtcdLayer `json:"etcd,omitempty"`

	// http is a document behind a URL, read by the workload itself with its own credentials.
	// +optional
	HTTP *HTTPLayer `json:"http,omitempty"`

	// onFailure says what happens when the layer cannot be read. Fail: nothing is published. Skip: the layer is left out.
	// KeepLast: what was last read of it stays. Omitted, it is Fail.
	// +optional
	OnFailure FailurePolicy `json:"onFailure,omitempty"`
}

// FailurePolicy says what happens when a layer cannot be read.
//
// +kubebuilder:validation:Enum=Fail;Skip;KeepLast
type FailurePolicy string

// Values of FailurePolicy.
const (
	// FailurePolicyFail publishes nothing.
	FailurePolicyFail FailurePolicy = "Fail"
	// FailurePolicySkip leaves the layer out.
	FailurePolicySkip FailurePolicy = "Skip"
	// FailurePolicyKeepLast keeps what was last read.
	FailurePolicyKeepLast FailurePolicy = "KeepLast"
)

// EffectiveOnFailure returns what happens when the layer cannot be read.
func (l *ConfigLayer) EffectiveOnFailure() FailurePolicy {
	if l.OnFailure == "" {
		return FailurePolicyFail
	}
	return l.OnFailure
}

// ObjectKeyReference names a ConfigMap or Secret of the same namespace, or one key of it. A field that is not listed here
// is refused, since a mistyped key would read the whole object.
//
// +kubebuilder:pruning:PreserveUnknownFields
type ObjectKeyReference struct {
	// name is the name of the object. At most 253 characters.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`
	Name string `json:"name,omitempty"`

	// key is the one key to read, a YAML or JSON document. At most 253 characters. Omitted, every key of the object is a
	// setting of that name.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[-._a-zA-Z0-9]+$`
	Key string `json:"key,omitempty"`
}

// EtcdLayer is keys in etcd.
type EtcdLayer struct {
	// endpoints are the URLs of the members. 1 to 16, each at most 512 characters.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=8
	// +kubebuilder:validation:items:MaxLength=512
	// +kubebuilder:validation:items:Pattern=`^https?://[^\s/?#]+$`
	Endpoints []string `json:"endpoints,omitempty"`

	// prefix is the beginning of the keys to read; it begins with a slash. At most 512 characters.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern=`^/\S*$`
	Prefix string `json:"prefix,omitempty"`
}

// HTTPLayer is a document behind a URL.
type HTTPLayer struct {
	// url is where the document is. At most 2048 characters.
	// +required
	// +kubebuilder:validation:MinLength=8
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:Pattern=`^https?://\S+$`
	URL string `json:"url,omitempty"`

	// refresh is how often it is asked for changes. 1s to 24h. Omitted, it is 30s.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('24h')",message="http.refresh must be from 1s to 24h"
	Refresh Duration `json:"refresh,omitempty"`
}

// ConfigSourceStatus is what the operator found and did for a ConfigSource.
type ConfigSourceStatus struct {
	// observedGeneration is the generation of the spec that this status speaks of.
	// +optional
	// +kubebuilder:validation:Minimum=0
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions are Ready always; Reconciling and Stalled only while true.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// revision is the hash of the settings that are published.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Revision string `json:"revision,omitempty"`

	// layers is the state of each layer, in the order of the spec.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Layers []LayerStatus `json:"layers,omitempty"`

	// history are the revisions that were published, the newest first.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	History []ConfigRevision `json:"history,omitempty"`
}

// LayerStatus is the state of a layer.
type LayerStatus struct {
	// name is the name of the layer.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name,omitempty"`

	// state says what became of the layer.
	// +required
	State LayerState `json:"state,omitempty"`

	// message says why, where the state is not Merged or Referenced. At most 1024 characters.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
}

// LayerState says what became of a layer.
//
// +kubebuilder:validation:Enum=Merged;Referenced;Skipped;Kept;Failed
type LayerState string

// Values of LayerState.
const (
	// LayerMerged is a layer that is part of the published settings.
	LayerMerged LayerState = "Merged"
	// LayerReferenced is a layer that the workload reads itself.
	LayerReferenced LayerState = "Referenced"
	// LayerSkipped is a layer that could not be read and was left out.
	LayerSkipped LayerState = "Skipped"
	// LayerKept is a layer that could not be read and stands as it was last read.
	LayerKept LayerState = "Kept"
	// LayerFailed is a layer that could not be read, so that nothing is published.
	LayerFailed LayerState = "Failed"
)

// ConfigRevision is settings that were published.
type ConfigRevision struct {
	// revision is the hash of the settings.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Revision string `json:"revision,omitempty"`

	// published is when they were first published.
	// +required
	Published metav1.Time `json:"published,omitzero"`
}
