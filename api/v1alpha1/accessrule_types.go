package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// AccessRule says who may, or may not, call Services and use Topics of its namespace. Deny beats Allow, and Allow beats
// the default of the Service. Not enforced yet: so far a rule only lets callers of other namespaces find what it allows.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=accessrules,singular=accessrule,shortName=xrule,categories=xinhari
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Action",type=string,JSONPath=`.spec.action`
// +kubebuilder:printcolumn:name="Mode",type=string,JSONPath=`.spec.mode`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Expires",type=string,JSONPath=`.spec.expires`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type AccessRule struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the object's name, namespace and labels.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is what the author wants.
	// +required
	Spec AccessRuleSpec `json:"spec,omitzero"`

	// status is what the operator found.
	// +optional
	Status AccessRuleStatus `json:"status,omitzero"`
}

// AccessRuleList is a list of AccessRules.
//
// +kubebuilder:object:root=true
type AccessRuleList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`

	// Items are the AccessRules.
	Items []AccessRule `json:"items"`
}

// AccessRuleSpec is what the author of an AccessRule wants. A field that is not listed here is refused, since a
// mistyped mode, condition or end would let more callers in than meant.
//
// +kubebuilder:pruning:PreserveUnknownFields
type AccessRuleSpec struct {
	// action is what happens to a call that the rule matches: Allow or Deny.
	// +required
	Action Action `json:"action,omitempty"`

	// mode says whether the rule takes effect. Enforce: it does. Audit: it is evaluated, counted and logged, and changes
	// nothing. Omitted, it is Enforce.
	// +optional
	Mode RuleMode `json:"mode,omitempty"`

	// from are the callers that the rule matches; one match is enough. 1 to 64.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	From []Peer `json:"from,omitempty"`

	// to is what the rule protects, in its own namespace; one match is enough. 1 to 64.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	To []Target `json:"to,omitempty"`

	// conditions must all hold for the rule to match. One that fails to evaluate does not match an Allow, and does match
	// a Deny. 1 to 8. Omitted, there are none.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	Conditions []RuleCondition `json:"conditions,omitempty"`

	// expires is the time from which the rule matches nothing any more, as 2027-01-01T00:00:00Z. Omitted, it lasts.
	// +optional
	Expires *metav1.Time `json:"expires,omitempty"`
}

// Action is what happens to a call.
//
// +kubebuilder:validation:Enum=Allow;Deny
type Action string

// Values of Action.
const (
	// Allow lets a call through.
	Allow Action = "Allow"
	// Deny refuses a call.
	Deny Action = "Deny"
)

// RuleMode says whether decisions take effect.
//
// +kubebuilder:validation:Enum=Enforce;Audit
type RuleMode string

// Values of RuleMode.
const (
	// Enforce has decisions take effect.
	Enforce RuleMode = "Enforce"
	// Audit has decisions counted and logged only.
	Audit RuleMode = "Audit"
)

func (m RuleMode) orEnforce() RuleMode {
	if m == "" {
		return Enforce
	}
	return m
}

// EffectiveMode returns whether the rule takes effect.
func (s *AccessRuleSpec) EffectiveMode() RuleMode { return s.Mode.orEnforce() }

// Peer is a caller, or a set of callers. Exactly one field is set, and a field that is not listed here is refused.
//
// +kubebuilder:pruning:PreserveUnknownFields
// +kubebuilder:validation:XValidation:rule="[has(self.service), has(self.serviceAccount), has(self.everyoneIn), has(self.spiffeID), has(self.anyone)].filter(x, x).size() == 1",message="an item of from names callers in exactly one way: service, serviceAccount, everyoneIn, spiffeID or anyone; give each its own item"
type Peer struct {
	// service is the workload of a Service, by the account that the Service names.
	// +optional
	Service *ServiceReference `json:"service,omitempty"`

	// serviceAccount is every workload that runs under a ServiceAccount.
	// +optional
	ServiceAccount *ServiceAccountReference `json:"serviceAccount,omitempty"`

	// everyoneIn is the name of a namespace, for every identity in it. At most 63 characters.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	EveryoneIn string `json:"everyoneIn,omitempty"`

	// spiffeID is one identity of our trust domain: spiffe://<trust domain>/ns/<namespace>/sa/<account>.
	// At most 600 characters.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=600
	// +kubebuilder:validation:Pattern=`^spiffe://[a-z0-9._-]{1,255}/ns/[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/sa/[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$`
	SPIFFEID string `json:"spiffeID,omitempty"`

	// anyone is every caller with an identity (Authenticated), or also those without a certificate (Anonymous).
	// +optional
	Anyone Anyone `json:"anyone,omitempty"`
}

// Anyone is a set of callers that needs no name.
//
// +kubebuilder:validation:Enum=Authenticated;Anonymous
type Anyone string

// Values of Anyone.
const (
	// Authenticated is every caller with an identity.
	Authenticated Anyone = "Authenticated"
	// Anonymous is every caller, with a certificate or without.
	Anonymous Anyone = "Anonymous"
)

// ServiceReference names a Service. A field that is not listed here is refused, since a mistyped namespace would name a
// Service of another namespace than meant.
//
// +kubebuilder:pruning:PreserveUnknownFields
type ServiceReference struct {
	// name is the name of the Service. At most 63 characters.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name,omitempty"`

	// namespace is the namespace of the Service. At most 63 characters. Omitted, it is the rule's own.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Namespace string `json:"namespace,omitempty"`
}

// ServiceAccountReference names a ServiceAccount. A field that is not listed here is refused, since a mistyped namespace
// would name an account of another namespace than meant.
//
// +kubebuilder:pruning:PreserveUnknownFields
type ServiceAccountReference struct {
	// name is the name of the ServiceAccount. At most 253 characters.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`
	Name string `json:"name,omitempty"`

	// namespace is the namespace of the ServiceAccount. At most 63 characters. Omitted, it is the rule's own.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Namespace string `json:"namespace,omitempty"`
}

// Target is what a rule protects. Exactly one field is set, and a field that is not listed here is refused.
//
// +kubebuilder:pruning:PreserveUnknownFields
// +kubebuilder:validation:XValidation:rule="has(self.service) != has(self.topic)",message="an item of to names exactly one of service and topic; give each its own item"
type Target struct {
	// service is methods of a Service.
	// +optional
	Service *ServiceTarget `json:"service,omitempty"`

	// topic is uses of a Topic.
	// +optional
	Topic *TopicTarget `json:"topic,omitempty"`
}

// ServiceTarget is methods of a Service of the rule's namespace. A field that is not listed here is refused.
//
// +kubebuilder:pruning:PreserveUnknownFields
type ServiceTarget struct {
	// name is the name of the Service. At most 63 characters.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name,omitempty"`

	// methods are the methods, as package.Service/Method; a trailing * matches the rest of the method's name, and * alone
	// matches every method of every service. 1 to 64.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:items:Pattern=`^(\*|[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*/(\*|[A-Za-z_][A-Za-z0-9_]*\*?))$`
	Methods []string `json:"methods,omitempty"`
}

// TopicTarget is uses of a Topic of the rule's namespace. A field that is not listed here is refused.
//
// +kubebuilder:pruning:PreserveUnknownFields
type TopicTarget struct {
	// name is the name of the Topic. At most 63 characters.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name,omitempty"`

	// verbs are the uses: Publish, Subscribe or both.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=2
	Verbs []TopicVerb `json:"verbs,omitempty"`
}

// TopicVerb is a use of a Topic.
//
// +kubebuilder:validation:Enum=Publish;Subscribe
type TopicVerb string

// Values of TopicVerb.
const (
	// Publish is sending messages.
	Publish TopicVerb = "Publish"
	// Subscribe is receiving messages.
	Subscribe TopicVerb = "Subscribe"
)

// RuleCondition is a condition on a call. A field that is not listed here is refused.
//
// +kubebuilder:pruning:PreserveUnknownFields
type RuleCondition struct {
	// cel is an expression of the Common Expression Language with a boolean result. At most 1024 characters.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	CEL string `json:"cel,omitempty"`
}

// AccessRuleStatus is what the operator found about an AccessRule. Decisions are counted in metrics, not here.
type AccessRuleStatus struct {
	// observedGeneration is the generation of the spec that this status speaks of.
	// +optional
	// +kubebuilder:validation:Minimum=0
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions are Ready always; Reconciling, Stalled, UnknownTrustDomain and others only while true.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}
