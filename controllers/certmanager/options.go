package certmanager

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/cert-manager/cert-manager/pkg/apis/certmanager"
	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
)

// Life is how long an intermediate lasts unless Options say otherwise: 90 days. It is renewed without anyone noticing, so it
// need not be long, and a leaf of three days, the longest there is, fits into the third of it that is left then.
const Life = 90 * 24 * time.Hour

// Bounds that cert-manager sets.
const (
	leastLife        = time.Hour
	leastRenewBefore = 5 * time.Minute
)

// Options say of whom the intermediate is asked, and how it is to be. The zero value asks nobody.
type Options struct {
	// Issuer is the name of cert-manager's issuer. Empty is none: the controller does nothing and needs no cert-manager.
	Issuer string
	// Kind is the issuer's kind. Empty is ClusterIssuer; an Issuer is one in the operator's namespace.
	Kind string
	// Group is the API group of the issuer's kind. Empty is cert-manager.io.
	Group string
	// Duration is how long the intermediate lasts, an hour at least. Zero is Life.
	Duration time.Duration
	// RenewBefore is how long before its end the intermediate is renewed, 5 minutes at least. Zero is a third of Duration.
	RenewBefore time.Duration
	// Unconstrained leaves out the constraints that keep the intermediate to our identities, for issuers that refuse them.
	Unconstrained bool
}

// On says whether an intermediate is asked for.
func (o Options) On() bool { return o.Issuer != "" }

// Validate returns what is wrong with the options.
func (o Options) Validate() error {
	full := o.withDefaults()
	switch {
	case !o.On():
		if o != (Options{}) {
			return errors.New("an issuer is described and not named: give its name, or nothing")
		}
		return nil
	case full.Duration < leastLife:
		return fmt.Errorf("the intermediate is to last %s: cert-manager takes %s or more", full.Duration, leastLife)
	case full.RenewBefore < leastRenewBefore:
		return fmt.Errorf("the intermediate is to be renewed %s before its end: cert-manager takes %s or more", full.RenewBefore, leastRenewBefore)
	case full.RenewBefore >= full.Duration:
		return fmt.Errorf("the intermediate is to be renewed %s before its end, and lasts %s: renew it later", full.RenewBefore, full.Duration)
	case full.Group == certmanager.GroupName && full.Kind != certmanagerv1.ClusterIssuerKind && full.Kind != certmanagerv1.IssuerKind:
		return fmt.Errorf("group %s has no issuers of kind %s: want ClusterIssuer, Issuer, or the group of that kind", full.Group, full.Kind)
	}
	return nil
}

func (o Options) withDefaults() Options {
	o.Kind = cmp.Or(o.Kind, certmanagerv1.ClusterIssuerKind)
	o.Group = cmp.Or(o.Group, certmanager.GroupName)
	o.Duration = cmp.Or(o.Duration, Life)
	o.RenewBefore = cmp.Or(o.RenewBefore, o.Duration/3)
	return o
}
