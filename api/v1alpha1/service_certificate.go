package v1alpha1

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// NamingAccount returns the Services that name an account, without those that are being deleted, by name.
func NamingAccount(services []*Service, account string) []*Service {
	var naming []*Service
	for _, s := range services {
		if s.DeletionTimestamp.IsZero() && s.AccountName() == account {
			naming = append(naming, s)
		}
	}
	slices.SortFunc(naming, func(a, b *Service) int { return strings.Compare(a.Name, b.Name) })
	return naming
}

// CertificateBasis returns what of the Services that name an account a certificate of it depends on, as 64 lower case hexadecimal
// digits. Operators and workloads compare it: where releases of them make another of the same Services, every pod asks for its
// certificate again and again, up to nine minutes apart.
func CertificateBasis(services []*Service, account string) string {
	hash := sha256.New()
	for _, s := range NamingAccount(services, account) {
		var life Duration
		if s.Spec.Identity != nil {
			life = s.Spec.Identity.Duration
		}
		// fmt sorts the keys of maps.
		_, _ = fmt.Fprintf(hash, "%q %q %t %q %q\n", s.Name, s.Spec.Selector, s.Spec.ClientOnly, s.Spec.CoreService, life)
	}
	return hex.EncodeToString(hash.Sum(nil))
}
