package v1alpha1

// ServiceTraffic is how callers of a Service choose among its instances, wait and retry.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="(has(self.policy) && self.policy == 'ConsistentHash') == has(self.hashMetadata)",message="hashMetadata and policy: ConsistentHash belong together: set both or neither"
type ServiceTraffic struct {
	// policy is how an instance is chosen for a call. PeakEWMA: of two at random the one with less expected latency.
	// LeastRequest: of two at random the one with fewer calls in flight. RoundRobin: each in turn. Random: any.
	// ConsistentHash: the same one for the same value of hashMetadata. Omitted, it is PeakEWMA.
	// +optional
	Policy BalancerPolicy `json:"policy,omitempty"`

	// hashMetadata is the metadata key whose value chooses the instance under ConsistentHash; a call without it is
	// placed at random. At most 128 lower case characters. Required by ConsistentHash, refused otherwise.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern=`^[a-z0-9_.-]+$`
	HashMetadata string `json:"hashMetadata,omitempty"`

	// timeout is the deadline for unary calls that bring none. 1ms to 24h. Omitted, such calls have no deadline.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1ms') && duration(self) <= duration('24h')",message="traffic.timeout must be from 1ms to 24h"
	Timeout Duration `json:"timeout,omitempty"`

	// retry is which failed calls are tried again. Omitted, only calls that surely did not reach an instance are.
	// +optional
	Retry *RetryPolicy `json:"retry,omitempty"`

	// locality says whether callers prefer instances of their own zone: PreferZone or Ignore. Omitted, it is PreferZone.
	// +optional
	Locality Locality `json:"locality,omitempty"`

	// outlier is when an instance that fails is left out for a while. Omitted, its defaults hold.
	// +optional
	Outlier *OutlierPolicy `json:"outlier,omitempty"`

	// slowStart is how long a new instance's share of calls grows until it is a full one. 1s to 1h.
	// Omitted, new instances get a full share at once.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('1h')",message="traffic.slowStart must be from 1s to 1h"
	SlowStart Duration `json:"slowStart,omitempty"`

	// subset is the number of instances that each caller connects to. 1 to 10000.
	// Omitted, callers connect to all up to 1000 instances, and to 100 of more.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	Subset *int32 `json:"subset,omitempty"`

	// maxRequestsPerEndpoint is the number of calls in flight that one caller has at one instance; further calls go to
	// others, or fail with ResourceExhausted. 1 to 100000. Omitted, it is 1000.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	MaxRequestsPerEndpoint *int32 `json:"maxRequestsPerEndpoint,omitempty"`
}

// BalancerPolicy is how an instance is chosen for a call.
//
// +kubebuilder:validation:Enum=PeakEWMA;LeastRequest;RoundRobin;Random;ConsistentHash
type BalancerPolicy string

// Values of BalancerPolicy.
const (
	// PeakEWMA takes, of two instances at random, the one with less expected latency.
	PeakEWMA BalancerPolicy = "PeakEWMA"
	// LeastRequest takes, of two instances at random, the one with fewer calls in flight.
	LeastRequest BalancerPolicy = "LeastRequest"
	// RoundRobin takes each instance in turn.
	RoundRobin BalancerPolicy = "RoundRobin"
	// Random takes any instance.
	Random BalancerPolicy = "Random"
	// ConsistentHash takes the same instance for the same value of a metadata key.
	ConsistentHash BalancerPolicy = "ConsistentHash"
)

// Locality says whether callers prefer instances of their own zone.
//
// +kubebuilder:validation:Enum=PreferZone;Ignore
type Locality string

// Values of Locality.
const (
	// LocalityPreferZone prefers instances of the caller's zone.
	LocalityPreferZone Locality = "PreferZone"
	// LocalityIgnore treats instances of all zones alike.
	LocalityIgnore Locality = "Ignore"
)

// RetryPolicy is which failed calls are tried again. A field that is not listed here is refused, since a mistyped
// budget would let more retries through than meant.
//
// +kubebuilder:pruning:PreserveUnknownFields
type RetryPolicy struct {
	// attempts is how often a call is tried, counting the first. 1 to 5; 1 is no retries.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=5
	Attempts int32 `json:"attempts,omitempty"`

	// codes are the gRPC codes after which a call is tried again. 1 to 16. Omitted, it is Unavailable alone.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Codes []Code `json:"codes,omitempty"`

	// methods are the methods that may run twice, as package.Service/Method, beside those that their protocol buffers
	// declare idempotent. 1 to 64. Omitted, only the declared ones are tried again.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=3
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:items:Pattern=`^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*/[A-Za-z_][A-Za-z0-9_]*$`
	Methods []string `json:"methods,omitempty"`

	// budgetPercent bounds retries to this share of a caller's calls. In percent, 0 to 100. Omitted, it is 20.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	BudgetPercent *int32 `json:"budgetPercent,omitempty"`
}

// Code is the name of a gRPC status code other than OK.
//
// +kubebuilder:validation:Enum=Canceled;Unknown;InvalidArgument;DeadlineExceeded;NotFound;AlreadyExists;PermissionDenied;ResourceExhausted;FailedPrecondition;Aborted;OutOfRange;Unimplemented;Internal;Unavailable;DataLoss;Unauthenticated
type Code string

// OutlierPolicy is when an instance that fails is left out for a while.
//
// +kubebuilder:validation:MinProperties=1
type OutlierPolicy struct {
	// consecutiveFailures is how many calls in a row must fail in transport, or with Unavailable, for an instance to be
	// left out. 1 to 1000. Omitted, it is 5.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	ConsecutiveFailures *int32 `json:"consecutiveFailures,omitempty"`

	// ejection is how long the instance is left out; it grows when it fails again. 1s to 1h. Omitted, it is 30s.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('1h')",message="outlier.ejection must be from 1s to 1h"
	Ejection Duration `json:"ejection,omitempty"`

	// maxEjectedPercent bounds how many instances are left out at once. In percent of all, 0 to 100; 0 turns it off.
	// Omitted, it is 50.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	MaxEjectedPercent *int32 `json:"maxEjectedPercent,omitempty"`
}
