package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Topic is a named flow of messages that Services publish and consume. No effect yet: it is validated and stored.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=topics,singular=topic,shortName=xtopic,categories=xinhari
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Provider",type=string,JSONPath=`.spec.provider`
// +kubebuilder:printcolumn:name="Messages",type=integer,JSONPath=`.status.messages`
// +kubebuilder:printcolumn:name="Bytes",type=integer,JSONPath=`.status.bytes`,priority=1
// +kubebuilder:printcolumn:name="Stream",type=string,JSONPath=`.status.stream`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 63 && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="a Topic's name is part of a subject: use at most 63 lower case letters, digits and hyphens in metadata.name"
type Topic struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the object's name, namespace and labels. The name is a DNS label.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is what the author wants; {} asks for all defaults.
	// +required
	Spec TopicSpec `json:"spec"`

	// status is what the operator found and did.
	// +optional
	Status TopicStatus `json:"status,omitzero"`
}

// TopicList is a list of Topics.
//
// +kubebuilder:object:root=true
type TopicList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`

	// Items are the Topics.
	Items []Topic `json:"items"`
}

// TopicSpec is what the author of a Topic wants.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.deadLetter) && self.deadLetter && has(self.provider) && self.provider == 'HTTP')",message="the HTTP provider keeps no messages, so it has no dead letters: remove deadLetter, or use provider: NATS"
type TopicSpec struct {
	// provider is what carries the messages. NATS: a JetStream stream, durable. HTTP: calls to the subscribers, not
	// durable. Omitted, it is what the operator was installed with: NATS where it was given a NATS URL, else HTTP.
	// +optional
	Provider TopicProvider `json:"provider,omitempty"`

	// retention is how long messages are kept. NATS only. Omitted, its defaults hold.
	// +optional
	Retention *TopicRetention `json:"retention,omitempty"`

	// replicas is on how many servers each message is stored. NATS only. 1 to 5. Omitted, it is 1.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=5
	Replicas *int32 `json:"replicas,omitempty"`

	// storage is where messages are kept: File or Memory. NATS only. Omitted, it is File.
	// +optional
	Storage TopicStorage `json:"storage,omitempty"`

	// dedupeWindow is for how long a message ID that was seen is not taken again. 100ms to 24h. Omitted, it is 2m.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('100ms') && duration(self) <= duration('24h')",message="dedupeWindow must be from 100ms to 24h"
	DedupeWindow Duration `json:"dedupeWindow,omitempty"`

	// delivery is how messages reach their consumers. Omitted, its defaults hold.
	// +optional
	Delivery *TopicDelivery `json:"delivery,omitempty"`

	// deadLetter says whether messages that were delivered in vain as often as delivery.maxDeliver are kept aside.
	// NATS only. Omitted, it is false and they are dropped.
	// +optional
	DeadLetter bool `json:"deadLetter,omitempty"`

	// contentType is the media type of messages that bring none. At most 128 characters. Omitted, it is application/json.
	// +optional
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+(;\s*[A-Za-z0-9_-]+=[A-Za-z0-9_."-]+)*$`
	ContentType string `json:"contentType,omitempty"`

	// deletionPolicy is what happens to the messages when the Topic is deleted: Retain or Delete. Omitted, it is Retain.
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
}

// TopicProvider is what carries the messages of a Topic.
//
// +kubebuilder:validation:Enum=NATS;HTTP
type TopicProvider string

// Values of TopicProvider.
const (
	// TopicProviderNATS carries messages by a JetStream stream.
	TopicProviderNATS TopicProvider = "NATS"
	// TopicProviderHTTP carries messages by calls to the subscribers.
	TopicProviderHTTP TopicProvider = "HTTP"
)

// TopicStorage is where messages are kept.
//
// +kubebuilder:validation:Enum=File;Memory
type TopicStorage string

// Values of TopicStorage.
const (
	// TopicStorageFile keeps messages in files.
	TopicStorageFile TopicStorage = "File"
	// TopicStorageMemory keeps messages in memory.
	TopicStorageMemory TopicStorage = "Memory"
)

// DeletionPolicy is what happens to messages when their Topic is deleted.
//
// +kubebuilder:validation:Enum=Retain;Delete
type DeletionPolicy string

// Values of DeletionPolicy.
const (
	// DeletionPolicyRetain keeps the messages.
	DeletionPolicyRetain DeletionPolicy = "Retain"
	// DeletionPolicyDelete deletes the messages.
	DeletionPolicyDelete DeletionPolicy = "Delete"
)

// TopicRetention is how long messages are kept. The first bound that is reached removes the oldest. A field that is not
// listed here is refused, since a mistyped bound would keep messages longer than meant.
//
// +kubebuilder:pruning:PreserveUnknownFields
// +kubebuilder:validation:MinProperties=1
type TopicRetention struct {
	// maxAge is how old a message becomes. 1s to 99999h. Omitted, age does not matter.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s')",message="retention.maxAge must be at least 1s"
	MaxAge Duration `json:"maxAge,omitempty"`

	// maxBytes is how many bytes of messages are kept. Omitted, size does not matter.
	// +optional
	MaxBytes ByteSize `json:"maxBytes,omitempty"`

	// maxMessages is how many messages are kept. 1 to 1000000000000. Omitted, their number does not matter.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000000000
	MaxMessages *int64 `json:"maxMessages,omitempty"`
}

// TopicDelivery is how messages reach their consumers.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="!has(self.backoff) || !has(self.maxDeliver) || self.backoff.size() < self.maxDeliver",message="backoff has a wait for each delivery after the first: give it fewer items than maxDeliver, or raise maxDeliver"
type TopicDelivery struct {
	// ackWait is how long a consumer may take for a message before it is delivered again. 1s to 24h. Omitted, it is 30s.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('24h')",message="delivery.ackWait must be from 1s to 24h"
	AckWait Duration `json:"ackWait,omitempty"`

	// maxDeliver is how often a message is delivered, counting the first time. 1 to 1000. Omitted, it is 5.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	MaxDeliver *int32 `json:"maxDeliver,omitempty"`

	// backoff are the waits before the second and further deliveries after a consumer failed; the last one repeats.
	// 1 to 16 items, each at most 24h. Omitted, it is 1s, 5s, 30s.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="self.all(d, duration(d) <= duration('24h'))",message="each item of delivery.backoff must be at most 24h"
	Backoff []Duration `json:"backoff,omitempty"`
}

// TopicStatus is what the operator found and did for a Topic.
type TopicStatus struct {
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

	// stream is the name of the stream: x_<namespace>_<topic>.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Stream string `json:"stream,omitempty"`

	// messages is how many messages the stream holds.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Messages *int64 `json:"messages,omitempty"`

	// bytes is how many bytes of messages the stream holds.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Bytes *int64 `json:"bytes,omitempty"`

	// drift are the settings of the stream that differ from the spec and that the operator does not change by itself.
	// +optional
	// +listType=map
	// +listMapKey=field
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	Drift []TopicDrift `json:"drift,omitempty"`
}

// TopicDrift is a setting of a stream that differs from the spec.
type TopicDrift struct {
	// field is the path of the setting in the spec, such as retention.maxAge.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Field string `json:"field,omitempty"`

	// want is what the spec asks for.
	// +required
	// +kubebuilder:validation:MaxLength=256
	Want string `json:"want"`

	// have is what the stream has.
	// +required
	// +kubebuilder:validation:MaxLength=256
	Have string `json:"have"`
}
