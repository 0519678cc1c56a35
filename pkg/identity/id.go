package identity

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"strings"
)

// Bounds of the parts of an ID. Together they stay far below the 2048 bytes
// that the SPIFFE ID standard grants to a whole ID.
const (
	maxTrustDomain    = 255 // the SPIFFE ID standard, section 2.1
	maxNamespace      = 63  // a DNS label, RFC 1123
	maxServiceAccount = 253 // a DNS subdomain, RFC 1123
)

// An ID names one Kubernetes ServiceAccount of one trust domain. Its written
// form is the SPIFFE ID
//
//	spiffe://<trust domain>/ns/<namespace>/sa/<service account>
//
// IDs are comparable, and two IDs are the same identity exactly when they are
// equal. The zero ID is nobody's.
type ID struct {
	// TrustDomain names who vouches for the identity: the authority of the
	// SPIFFE ID, lower case.
	TrustDomain string

	// Namespace is the account's namespace, a DNS label.
	Namespace string

	// ServiceAccount is the account's name, a DNS subdomain.
	ServiceAccount string
}

// NewID returns the ID of these parts. The error matches ErrInvalidID.
func NewID(trustDomain, namespace, serviceAccount string) (ID, error) {
	id := ID{TrustDomain: trustDomain, Namespace: namespace, ServiceAccount: serviceAccount}
	if err := id.Validate(); err != nil {
		return ID{}, err
	}
	return id, nil
}

// ParseID reads the written form of an ID, and takes no other spelling of it:
// what it takes, String gives back. The error matches ErrInvalidID.
func ParseID(s string) (ID, error) {
	rest, ok := strings.CutPrefix(s, "spiffe://")
	if !ok {
		return ID{}, invalidID(s, "it does not begin with spiffe://")
	}
	if i := strings.IndexAny(rest, "?#%@"); i >= 0 {
		return ID{}, invalidID(s, fmt.Sprintf("it has a %q: a SPIFFE ID has no query, fragment, escape or user", rest[i]))
	}
	parts := strings.Split(rest, "/")
	if len(parts) != 5 || parts[1] != "ns" || parts[3] != "sa" {
		return ID{}, invalidID(s, "its path is not /ns/<namespace>/sa/<service account>")
	}
	return NewID(parts[0], parts[2], parts[4])
}

// IDOf returns the ID in the certificate's one URI SAN. A certificate without
// a URI, with several, or with one of another form gives an error that matches
// ErrInvalidID. IDOf does not verify the certificate.
func IDOf(cert *x509.Certificate) (ID, error) {
	if cert == nil {
		return ID{}, fmt.Errorf("%w: there is no certificate", ErrInvalidID)
	}
	switch n := len(cert.URIs); n {
	case 1:
		return ParseID(cert.URIs[0].String())
	case 0:
		return ID{}, fmt.Errorf("%w: the certificate has no URI SAN", ErrInvalidID)
	default:
		return ID{}, fmt.Errorf("%w: the certificate has %d URI SANs instead of one", ErrInvalidID, n)
	}
}

// Validate says what is wrong with the ID, nil for a good one. The error
// matches ErrInvalidID.
func (id ID) Validate() error {
	switch {
	case !validTrustDomain(id.TrustDomain):
		return invalidID(id.String(), "the trust domain is not 1 to 255 of a-z 0-9 . - _, beginning and ending with a letter or digit")
	case !validLabel(id.Namespace, maxNamespace):
		return invalidID(id.String(), "the namespace is not a DNS label")
	case !validSubdomain(id.ServiceAccount):
		return invalidID(id.String(), "the service account is not a DNS subdomain")
	}
	return nil
}

// IsZero reports whether the ID is nobody's.
func (id ID) IsZero() bool { return id == ID{} }

// String returns the written form, empty for the zero ID.
func (id ID) String() string {
	if id.IsZero() {
		return ""
	}
	return "spiffe://" + id.TrustDomain + id.path()
}

// URL returns the written form as a URL of the caller's own, as a certificate
// request's URI SAN wants it.
func (id ID) URL() *url.URL {
	return &url.URL{Scheme: "spiffe", Host: id.TrustDomain, Path: id.path()}
}

func (id ID) path() string { return "/ns/" + id.Namespace + "/sa/" + id.ServiceAccount }

func invalidID(s, why string) error {
	const shown = 300 // a peer chooses this string, and it ends in logs
	if len(s) > shown {
		s = s[:shown] + "…"
	}
	return fmt.Errorf("%w %q: %s", ErrInvalidID, s, why)
}

// validTrustDomain follows the SPIFFE ID standard, section 2.1, and takes
// only names that begin and end as a DNS name does, so that no spelling of
// dots alone is a trust domain.
func validTrustDomain(s string) bool {
	if len(s) == 0 || len(s) > maxTrustDomain || !alphanumeric(s[0]) || !alphanumeric(s[len(s)-1]) {
		return false
	}
	for i := range len(s) {
		if !alphanumeric(s[i]) && s[i] != '.' && s[i] != '-' && s[i] != '_' {
			return false
		}
	}
	return true
}

func validSubdomain(s string) bool {
	if len(s) > maxServiceAccount {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if !validLabel(label, maxServiceAccount) {
			return false
		}
	}
	return true
}

func validLabel(s string, limit int) bool {
	if len(s) == 0 || len(s) > limit || !alphanumeric(s[0]) || !alphanumeric(s[len(s)-1]) {
		return false
	}
	for i := range len(s) {
		if !alphanumeric(s[i]) && s[i] != '-' {
			return false
		}
	}
	return true
}

func alphanumeric(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }
