// Package leaf says what the certificate of a workload holds: it is the one place that does, for whoever has one signed.
//
// A certificate follows from an account, the Services that give it out and the time. Nothing else is in it but a public key.
package leaf

import (
	"crypto"
	"crypto/x509"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
	"github.com/xinhari/xinhari/pkg/identity"
)

// Backdate is how long before its making a certificate begins, for peers whose clock is behind.
const Backdate = 2 * time.Minute

// Life that the API of Services allows a certificate. What lies outside of it, from before a rule was tightened, is moved
// to its nearer end.
const (
	minLife = 30 * time.Second
	MaxLife = 72 * time.Hour
)

// Bounds are what limits the time of a certificate.
type Bounds struct {
	Now        time.Time     // when it is made
	IssuerEnds time.Time     // when the issuer's chain ends
	Asked      time.Duration // the life that was asked for; zero is none
}

// Template returns the certificate of an identity for a public key, without serial number. Its DNS names and its life are
// those of the Services. The error says, for people, what has to be mended first.
func Template(id identity.ID, services []xinhariv1alpha1.Service, key crypto.PublicKey, b Bounds) (*x509.Certificate, error) {
	life, err := shortest(services)
	if err != nil {
		return nil, err
	}
	if b.Asked > 0 {
		life = min(life, b.Asked)
	}
	now := b.Now.UTC().Truncate(time.Second)
	ends := now.Add(life)
	if issuer := b.IssuerEnds.UTC().Truncate(time.Second); issuer.Before(ends) {
		ends = issuer
	}
	if !ends.After(now) {
		return nil, fmt.Errorf("the issuer ended at %s: replace it", b.IssuerEnds.UTC().Format(time.RFC3339))
	}
	return &x509.Certificate{
		NotBefore:             now.Add(-Backdate),
		NotAfter:              ends,
		URIs:                  []*url.URL{id.URL()},
		DNSNames:              DNSNames(services),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		PublicKey:             key,
	}, nil
}

// Issued returns when a certificate of a template was made.
func Issued(cert *x509.Certificate) time.Time { return cert.NotBefore.Add(Backdate) }

// DNSNames returns the names by which clients verify servers: one for each Service.
func DNSNames(services []xinhariv1alpha1.Service) []string {
	names := make([]string, 0, len(services))
	for i := range services {
		names = append(names, identity.ServiceName(services[i].Namespace, services[i].Name))
	}
	return names
}

// shortest returns the shortest life that the Services give their certificates.
func shortest(services []xinhariv1alpha1.Service) (time.Duration, error) {
	life := MaxLife
	for i := range services {
		d, err := services[i].Spec.Identity.EffectiveDuration()
		if err != nil {
			return 0, fmt.Errorf("identity.duration of Service %s: %w: correct it", services[i].Name, err)
		}
		life = min(life, d)
	}
	return max(life, minLife), nil
}

// Selecting returns the Services that give a pod of an account, in a namespace and with labels, the account's identity, by
// name.
func Selecting(services []xinhariv1alpha1.Service, namespace, account string, labels map[string]string) []xinhariv1alpha1.Service {
	var all []xinhariv1alpha1.Service
	for i := range services {
		s := &services[i]
		if s.Namespace == namespace && s.DeletionTimestamp.IsZero() && s.AccountName() == account && selects(s, labels) {
			all = append(all, *s)
		}
	}
	slices.SortFunc(all, func(a, b xinhariv1alpha1.Service) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// selects says whether a pod with the labels is one of the Service's. A Service that is never called has no selector: every
// pod of its account is its own. So is, of the others, none without one: their instances are outside of the cluster or
// someone else's to select.
func selects(s *xinhariv1alpha1.Service, labels map[string]string) bool {
	if len(s.Spec.Selector) == 0 {
		return s.Spec.ClientOnly || s.Spec.CoreService == xinhariv1alpha1.CoreServiceExisting
	}
	for key, want := range s.Spec.Selector {
		if got, ok := labels[key]; !ok || got != string(want) {
			return false
		}
	}
	return true
}
