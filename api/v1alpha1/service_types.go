package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Service is a workload that calls, or is called by, other workloads: who it is, which pods it has, who may call it
// and how its callers balance and retry.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=services,singular=service,shortName=xsvc,categories=xinhari
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Endpoints",type=integer,JSONPath=`.status.endpoints.ready`,description="Endpoints that are ready"
// +kubebuilder:printcolumn:name="Of",type=integer,JSONPath=`.status.endpoints.total`,description="Endpoints in all"
// +kubebuilder:printcolumn:name="SPIFFE ID",type=string,JSONPath=`.status.spiffeID`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 63 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$') && !self.metadata.name.contains('--')",message="metadata.name becomes a DNS label: use at most 63 lower case letters, digits and single hyphens, starting with a letter"
// +kubebuilder:validation:XValidation:rule="!has(self.spec.versions) || self.spec.versions.all(v, self.metadata.name.size() + v.name.size() <= 61)",message="the core Service of a version is named <service>--<version>, at most 63 characters: shorten the name of the Service or of the version"
type Service struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the object's name, namespace and labels. The name becomes a DNS label.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is what the author wants.
	// +required
	Spec ServiceSpec `json:"spec,omitzero"`

	// status is what the operator found and did.
	// +optional
	Status ServiceStatus `json:"status,omitzero"`
}

// ServiceList is a list of Services.
//
// +kubebuilder:object:root=true
type ServiceList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`

	// Items are the Services.
	Items []Service `json:"items"`
}

// ServiceSpec is what the author of a Service wants.
//
// +kubebuilder:validation:XValidation:rule="(has(self.clientOnly) && self.clientOnly) || has(self.selector) || has(self.endpoints) || (has(self.coreService) && self.coreService == 'Existing')",message="nothing says where the instances are: set selector to labels of the pods, or endpoints for instances outside the cluster, or coreService: Existing, or clientOnly: true for a workload that is never called"
// +kubebuilder:validation:XValidation:rule="!has(self.clientOnly) || !self.clientOnly || !(has(self.selector) || has(self.ports) || has(self.versions) || has(self.endpoints) || has(self.coreService))",message="clientOnly is for workloads that are never called: remove selector, ports, versions, endpoints and coreService, or remove clientOnly"
// +kubebuilder:validation:XValidation:rule="!has(self.versions) || has(self.selector)",message="versions are subsets of the pods that selector finds: set selector as well"
// +kubebuilder:validation:XValidation:rule="!has(self.versions) || !has(self.selector) || self.versions.all(v, v.selector.all(k, !(k in self.selector) || self.selector[k] == v.selector[k]))",message="no pod can have two values of one label: a version must not ask for another value than selector does"
// +kubebuilder:validation:XValidation:rule="!(has(self.versions) && has(self.endpoints))",message="endpoints have no version and would never be called beside versions: give them a Service of their own"
// +kubebuilder:validation:XValidation:rule="!has(self.endpoints) || !has(self.ports) || self.ports.size() == 1",message="an endpoint has one port: give a Service with endpoints one port, and the other ports a Service of their own"
// +kubebuilder:validation:XValidation:rule="!(has(self.endpoints) && has(self.coreService) && self.coreService == 'Existing')",message="endpoints would be added to a core Service that someone else owns: remove endpoints, or remove coreService: Existing"
type ServiceSpec struct {
	// selector is the set of labels that a pod must all have to be an instance of the Service. 1 to 16 labels.
	// Required unless endpoints, clientOnly or coreService: Existing say where instances are.
	// +optional
	Selector Labels `json:"selector,omitempty"`

	// serviceAccountName names the ServiceAccount of this namespace whose pods may hold this identity. At most 253
	// characters. Omitted, it is the name of the Service. A mistyped field name has the same effect as omitting it:
	// the identity then stays within this namespace, with the account named like the Service.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`
	ServiceAccountName string `json:"serviceAccountName,omitempty"`

	// clientOnly is true for workloads that call and are never called, such as Jobs: they have an identity and
	// permissions, but neither ports nor a core Service. Omitted, it is false.
	// +optional
	ClientOnly bool `json:"clientOnly,omitempty"`

	// ports are the ports that instances listen on. 1 to 16. Omitted, it is one port named grpc with number 8080.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="self.all(a, self.exists_one(b, b.port == a.port))",message="two ports have the same number: give each its own, or remove one"
	Ports []ServicePort `json:"ports,omitempty"`

	// coreService says whose the core Service of this name is. Create: the operator makes it. Existing: someone else
	// made it and the operator only reads it. Omitted, it is Create.
	// +optional
	CoreService CoreServicePolicy `json:"coreService,omitempty"`

	// versions divide the instances into subsets by further labels; a pod belongs to the first version that matches,
	// and pods that match none are not called. 1 to 16. Omitted, all instances are one set.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="self.exists(v, v.weight > 0)",message="every version has weight 0, so no call could go anywhere: give at least one a weight"
	Versions []ServiceVersion `json:"versions,omitempty"`

	// endpoints are instances outside the cluster. 1 to 4000; the same address and port twice count once.
	// Omitted, there are none.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=4000
	Endpoints []ServiceEndpoint `json:"endpoints,omitempty"`

	// identity is how the Service proves who it is. Omitted, certificates last 24h and plaintext is refused.
	// No effect yet: connections are plaintext.
	// +optional
	Identity *ServiceIdentity `json:"identity,omitempty"`

	// access is what happens to calls that no AccessRule speaks of. Omitted, they are denied.
	// Not enforced yet: every call is let in. Callers of other namespaces may find the Service where it allows by default.
	// +optional
	Access *ServiceAccess `json:"access,omitempty"`

	// subscriptions are the names of the Topics of this namespace that the Service consumes; its consumer group is its
	// name. 1 to 64. Omitted, it consumes none. No effect yet.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Subscriptions []string `json:"subscriptions,omitempty"`

	// traffic is how callers of the Service choose among its instances, wait and retry. Omitted, all its defaults hold.
	// So far timeout and the policies RoundRobin and Random have an effect; every other policy is RoundRobin.
	// +optional
	Traffic *ServiceTraffic `json:"traffic,omitempty"`

	// config are the names of the ConfigSources of this namespace that the Service reads; later ones override earlier
	// ones. 1 to 16. Omitted, it reads none. No effect yet.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	// +kubebuilder:validation:XValidation:rule="self.all(a, self.exists_one(b, a == b))",message="a ConfigSource is named twice, so its place is unclear: name each once"
	Config []string `json:"config,omitempty"`
}

// Labels are label keys and the values that a pod must have.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:MaxProperties=16
// +kubebuilder:validation:XValidation:rule="self.all(k, k.size() <= 317 && !format.qualifiedName().validate(k).hasValue())",message="a label key is an optional DNS name and a slash, then at most 63 letters, digits, '-', '_' and '.': mend the key"
type Labels map[string]LabelValue

// LabelValue is the value of a label: at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter
// or digit, or empty.
//
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:Pattern=`^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$`
type LabelValue string

// CoreServicePolicy says whose the core Service of a Service is.
//
// +kubebuilder:validation:Enum=Create;Existing
type CoreServicePolicy string

// Values of CoreServicePolicy.
const (
	// CoreServiceCreate has the operator make the core Service.
	CoreServiceCreate CoreServicePolicy = "Create"
	// CoreServiceExisting has the operator use the core Service that someone else made.
	CoreServiceExisting CoreServicePolicy = "Existing"
)

// ServicePort is a port that every instance listens on.
type ServicePort struct {
	// name is a DNS label with at least one letter, by which callers find the port. At most 15 characters.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=15
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name,omitempty"`

	// port is the number of the TCP port. 1 to 65535.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`
}

// ServiceVersion is a subset of a Service's instances.
type ServiceVersion struct {
	// name is a DNS label without two hyphens in a row. At most 30 characters.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=30
	// +kubebuilder:validation:Pattern=`^[a-z0-9]+(-[a-z0-9]+)*$`
	Name string `json:"name,omitempty"`

	// selector is the set of labels that an instance must have beside those of the Service. 1 to 16 labels.
	// +required
	Selector Labels `json:"selector,omitempty"`

	// weight is the version's share of calls, relative to the other versions' weights. 0 to 1000; 0 is no calls.
	// No effect yet: every instance of a version has the same share.
	// +required
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	Weight *int32 `json:"weight,omitempty"`
}

// ServiceEndpoint is an instance outside the cluster.
type ServiceEndpoint struct {
	// address is an IPv4 or IPv6 address in its usual short form. Loopback, link-local and multicast are refused.
	// +required
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=45
	// +kubebuilder:validation:XValidation:rule="isIP(self) && ip.isCanonical(self)",message="address must be an IP address in its usual form, such as 192.0.2.10 or 2001:db8::10"
	// +kubebuilder:validation:XValidation:rule="!isIP(self) || !(ip(self).isLoopback() || ip(self).isLinkLocalUnicast() || ip(self).isLinkLocalMulticast() || ip(self).isUnspecified())",message="address must be one that every node reaches: not loopback, link-local or unspecified"
	Address string `json:"address,omitempty"`

	// port is the number of the TCP port, for the Service's one port. 1 to 65535.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`

	// zone is the failure zone that the instance is in, for callers that prefer their own. At most 63 characters.
	// Omitted, it is in none.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$`
	Zone string `json:"zone,omitempty"`

	// tls is how callers know the instance.
	// +required
	TLS EndpointTLS `json:"tls,omitzero"`
}

// EndpointTLS is how callers know an instance outside the cluster.
type EndpointTLS struct {
	// spiffeID is the identity that the instance's certificate must carry:
	// spiffe://<trust domain>/ns/<namespace>/sa/<account>. At most 600 characters.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=600
	// +kubebuilder:validation:Pattern=`^spiffe://[a-z0-9._-]{1,255}/ns/[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/sa/[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$`
	SPIFFEID string `json:"spiffeID,omitempty"`
}

// ServiceIdentity is how a Service proves who it is. A field that is not listed here is refused, since a mistyped
// duration would make certificates last longer than meant.
//
// +kubebuilder:pruning:PreserveUnknownFields
// +kubebuilder:validation:MinProperties=1
type ServiceIdentity struct {
	// duration is how long a certificate lasts; it is renewed at half of that. 30s to 72h. Omitted, it is 24h.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('30s') && duration(self) <= duration('72h')",message="identity.duration must be from 30s to 72h"
	Duration Duration `json:"duration,omitempty"`

	// mode says what happens to callers without TLS. Strict: they are refused. Permissive: they are taken as anonymous,
	// while a namespace moves in. Omitted, it is Strict.
	// +optional
	Mode IdentityMode `json:"mode,omitempty"`

	// secretName names a Secret of this namespace that shall hold the key pair (tls.crt, tls.key, ca.crt), for programs that
	// do not link the runtime; the operator makes and renews it. Whoever can read it can be the Service. The namespace must
	// be in the chart's secretNamespaces. At most 253 characters. Omitted, no Secret holds it.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`
	SecretName string `json:"secretName,omitempty"`
}

// IdentityMode says what happens to callers without TLS.
//
// +kubebuilder:validation:Enum=Strict;Permissive
type IdentityMode string

// Values of IdentityMode.
const (
	// IdentityStrict refuses callers without TLS.
	IdentityStrict IdentityMode = "Strict"
	// IdentityPermissive takes callers without TLS as anonymous.
	IdentityPermissive IdentityMode = "Permissive"
)

// ServiceAccess is what happens to calls that no AccessRule speaks of.
//
// +kubebuilder:validation:MinProperties=1
type ServiceAccess struct {
	// default is what happens to a call that no AccessRule matches: Deny or Allow. Omitted, it is Deny.
	// +optional
	Default Action `json:"default,omitempty"`

	// mode says whether decisions take effect. Enforce: they do. Audit: they are only counted and logged.
	// Omitted, it is Enforce.
	// +optional
	Mode RuleMode `json:"mode,omitempty"`
}
