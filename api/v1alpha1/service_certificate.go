package v1alpha1

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// CertificateBasis returns the Services that name an account, without those that are being deleted, by name; and what of them a
// certificate of the account depends on, as 64 lower case hexadecimal digits to compare.
func CertificateBasis(services []*Service, account string) (naming []*Service, basis string) {
	for _, s := range services {
		if s.DeletionTimestamp.IsZero() && s.AccountName() == account {
			naming = append(naming, s)
		}
	}
	slices.SortFunc(naming, func(a, b *Service) int { return strings.Compare(a.Name, b.Name) })
	hash := sha256.New()
	for _, s := range naming {
		var life Duration
		if s.Spec.Identity != nil {
			life = s.Spec.Identity.Duration
		}
		// fmt sorts the keys of maps.
		_, _ = fmt.Fprintf(hash, "%q %q %t %q %q\n", s.Name, s.Spec.Selector, s.Spec.ClientOnly, s.Spec.CoreService, life)
	}
	return naming, hex.EncodeToString(hash.Sum(nil))
}
