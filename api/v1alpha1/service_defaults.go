package v1alpha1

import "time"

// What omitted fields of a Service mean.
const (
	// DefaultPortName is the name of the port of a Service that lists none.
	DefaultPortName = "grpc"
	// DefaultPort is the number of the port of a Service that lists none.
	DefaultPort int32 = 8080
	// DefaultIdentityDuration is how long certificates last.
	DefaultIdentityDuration = 24 * time.Hour
	// DefaultRetryBudgetPercent is the share of calls that retries may add.
	DefaultRetryBudgetPercent int32 = 20
	// DefaultConsecutiveFailures is how many failures in a row leave an instance out.
	DefaultConsecutiveFailures int32 = 5
	// DefaultEjection is how long an instance is left out.
	DefaultEjection = 30 * time.Second
	// DefaultMaxEjectedPercent is the share of instances that may be left out at once.
	DefaultMaxEjectedPercent int32 = 50
	// DefaultMaxRequestsPerEndpoint is how many calls a caller has in flight at one instance.
	DefaultMaxRequestsPerEndpoint int32 = 1000
)

// AccountName returns the name of the ServiceAccount that may hold the Service's identity.
func (s *Service) AccountName() string {
	if s.Spec.ServiceAccountName != "" {
		return s.Spec.ServiceAccountName
	}
	return s.Name
}

// EffectivePorts returns the ports that instances listen on: none when clientOnly, else those listed or the default one.
func (s *ServiceSpec) EffectivePorts() []ServicePort {
	switch {
	case s.ClientOnly:
		return nil
	case len(s.Ports) == 0:
		return []ServicePort{{Name: DefaultPortName, Port: DefaultPort}}
	}
	return s.Ports
}

// CreatesCoreService says whether the operator makes the core Service of the Service's name.
func (s *ServiceSpec) CreatesCoreService() bool {
	return !s.ClientOnly && s.CoreService != CoreServiceExisting
}

// EffectiveMode returns what happens to callers without TLS; a nil identity is all defaults.
func (i *ServiceIdentity) EffectiveMode() IdentityMode {
	if i == nil || i.Mode == "" {
		return IdentityStrict
	}
	return i.Mode
}

// EffectiveDuration returns how long certificates last; a nil identity is all defaults.
func (i *ServiceIdentity) EffectiveDuration() (time.Duration, error) {
	if i == nil {
		return DefaultIdentityDuration, nil
	}
	return i.Duration.ValueOr(DefaultIdentityDuration)
}

// EffectiveDefault returns what happens to calls that no rule matches; a nil access is all defaults.
func (a *ServiceAccess) EffectiveDefault() Action {
	if a == nil || a.Default == "" {
		return Deny
	}
	return a.Default
}

// EffectiveMode returns whether decisions take effect; a nil access is all defaults.
func (a *ServiceAccess) EffectiveMode() RuleMode {
	if a == nil {
		return Enforce
	}
	return a.Mode.orEnforce()
}

// EffectivePolicy returns how an instance is chosen; a nil traffic is all defaults.
func (t *ServiceTraffic) EffectivePolicy() BalancerPolicy {
	if t == nil || t.Policy == "" {
		return PeakEWMA
	}
	return t.Policy
}

// EffectiveLocality returns whether the caller's zone is preferred; a nil traffic is all defaults.
func (t *ServiceTraffic) EffectiveLocality() Locality {
	if t == nil || t.Locality == "" {
		return LocalityPreferZone
	}
	return t.Locality
}
