package signer

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"slices"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
)

// check refuses requests for one reason. It says what is wrong and how to mend it, or nothing.
type check struct {
	reason  Reason
	refuses func(*facts) string
}

// checks are independent of each other: each refuses what it is named for, whatever the others do.
func checks() []check {
	return []check{
		{OtherSigner, otherSigner},
		{OtherPod, otherPod},
		{OtherAccount, otherAccount},
		{OtherNode, otherNode},
		{PodEnded, podEnded},
		{TooLarge, tooLarge},
		{WeakKey, weakKey},
		{BadSignature, badSignature},
		{CertificateOfCA, certificateOfCA},
		{ForeignSubject, foreignSubject},
		{ForeignExtension, foreignExtension},
		{ForeignNames, foreignIdentity},
		{BadUsages, badUsages},
		{BadExpiration, badExpiration},
		{CopiedKey, copiedKey},
		{TooManyRequests, tooManyRequests},
	}
}

func otherSigner(f *facts) string {
	if name := f.in.Request.Spec.SignerName; name != xinhariv1alpha1.SignerName {
		return fmt.Sprintf("signer %s is not %s", name, xinhariv1alpha1.SignerName)
	}
	return ""
}

func otherPod(f *facts) string {
	p := f.in.Pod
	if p.Name != f.claim.Pod || p.Namespace != f.claim.Namespace || string(p.UID) != f.claim.PodUID {
		return fmt.Sprintf("the token is of pod %s with UID %s, which is gone: pod %s has UID %s", f.claim.Pod, f.claim.PodUID, p.Name, p.UID)
	}
	return ""
}

func otherAccount(f *facts) string {
	if f.in.Pod.Spec.ServiceAccountName != f.claim.Account {
		return fmt.Sprintf("pod %s runs under account %s, and the token is of account %s: use the token that is mounted into the pod", f.in.Pod.Name, f.in.Pod.Spec.ServiceAccountName, f.claim.Account)
	}
	return ""
}

func otherNode(f *facts) string {
	if f.claim.Node != "" && f.in.Pod.Spec.NodeName != f.claim.Node {
		return fmt.Sprintf("the token is of node %s, and pod %s is on node %q", f.claim.Node, f.in.Pod.Name, f.in.Pod.Spec.NodeName)
	}
	return ""
}

// podEnded lets a pod pass that is being deleted: while it finishes the calls in hand its certificate may run out.
func podEnded(f *facts) string {
	if p := f.in.Pod; p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		return fmt.Sprintf("pod %s has ended (%s)", p.Name, p.Status.Phase)
	}
	return ""
}

func tooLarge(f *facts) string {
	if n := len(f.in.Request.Spec.Request); n > f.in.Limits.Size {
		return fmt.Sprintf("the request has %d bytes, at most %d are taken", n, f.in.Limits.Size)
	}
	return ""
}

// weakKey takes the two curves that every TLS 1.3 implementation and FIPS 186-5 know. Ed25519 is strong but not
// everywhere, and an RSA key large enough costs the signature of each handshake twenty times the time.
func weakKey(f *facts) string {
	key, ok := f.request.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() && key.Curve != elliptic.P384() {
		return "the key is not of ECDSA P-256 or P-384: make one that is"
	}
	return ""
}

func badSignature(f *facts) string {
	switch f.request.SignatureAlgorithm {
	case x509.ECDSAWithSHA1, x509.SHA1WithRSA, x509.MD5WithRSA, x509.UnknownSignatureAlgorithm:
		return fmt.Sprintf("the request is signed with %v: sign it with SHA-256 or better", f.request.SignatureAlgorithm)
	}
	if err := f.request.CheckSignature(); err != nil {
		return "the request is not signed with the key that it asks a certificate for: " + err.Error()
	}
	return ""
}

func certificateOfCA(f *facts) string {
	for _, e := range f.request.Extensions {
		if e.Id.Equal(oidBasicConstraints()) {
			return "the request asks for basic constraints: this signer makes no CA, and sets them itself"
		}
	}
	return ""
}

func foreignSubject(f *facts) string {
	// An empty name is an empty sequence.
	if !bytes.Equal(f.request.RawSubject, []byte{0x30, 0x00}) {
		return fmt.Sprintf("the request asks for subject %q: the identity is in the URI, leave the subject empty", f.request.Subject)
	}
	return ""
}

// attributes is the part of a CertificationRequestInfo, RFC 2986 section 4.1, that the standard library leaves aside.
type attributes struct {
	Raw           asn1.RawContent
	Version       int
	Subject       asn1.RawValue
	PublicKey     asn1.RawValue
	RawAttributes []struct {
		Type   asn1.ObjectIdentifier
		Values asn1.RawValue
	} `asn1:"tag:0,set"`
}

func foreignExtension(f *facts) string {
	var info attributes
	rest, err := asn1.Unmarshal(f.request.RawTBSCertificateRequest, &info)
	if err != nil || len(rest) > 0 || len(info.RawAttributes) > 1 ||
		len(info.RawAttributes) == 1 && !info.RawAttributes[0].Type.Equal(oidExtensionRequest()) {
		return "the request has attributes other than one extension request: leave them out"
	}
	names := 0
	for _, e := range f.request.Extensions {
		switch {
		case e.Id.Equal(oidBasicConstraints()): // certificateOfCA speaks of these
		case e.Id.Equal(oidSubjectAltName()) && names == 0:
			names++
		default:
			return fmt.Sprintf("the request asks for extension %v: leave extensions out", e.Id)
		}
	}
	return ""
}

// foreignIdentity takes names other than DNS names: none, or exactly the URI of the requester.
func foreignIdentity(f *facts) string {
	r := f.request
	for _, uri := range r.URIs {
		if uri.String() != f.id.String() {
			return fmt.Sprintf("the request asks for %q and its requester is %s: leave the URI out, or ask for that", uri, f.id)
		}
	}
	for _, e := range r.Extensions {
		if !e.Id.Equal(oidSubjectAltName()) {
			continue
		}
		// Names of kinds that the standard library leaves aside count too.
		var all []asn1.RawValue
		if rest, err := asn1.Unmarshal(e.Value, &all); err != nil || len(rest) > 0 || len(r.URIs) > 1 || len(all) != len(r.URIs)+len(r.DNSNames) {
			return "the request asks for names that are neither DNS names nor one URI: leave them out"
		}
	}
	return ""
}

// Usages are the usages that a request must have, in any order.
func Usages() []certificatesv1.KeyUsage {
	return []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth, certificatesv1.UsageServerAuth}
}

func badUsages(f *facts) string {
	asked := slices.Sorted(slices.Values(f.in.Request.Spec.Usages))
	want := slices.Sorted(slices.Values(Usages()))
	if !slices.Equal(asked, want) {
		return fmt.Sprintf("usages are %q: ask for exactly %q", asked, want)
	}
	return ""
}

func badExpiration(f *facts) string {
	seconds := f.in.Request.Spec.ExpirationSeconds
	if seconds == nil {
		return ""
	}
	if d := time.Duration(*seconds) * time.Second; d < f.in.Limits.MinExpiration || d > f.in.Limits.MaxExpiration {
		return fmt.Sprintf("expirationSeconds is %d: ask for %.0f to %.0f, or leave it out", *seconds, f.in.Limits.MinExpiration.Seconds(), f.in.Limits.MaxExpiration.Seconds())
	}
	return ""
}

// copiedKey refuses a key that another pod asked with. The one that was signed first, or asked first, keeps it; of two that
// asked within one second neither does, and its owner asks again with another.
func copiedKey(f *facts) string {
	for i := range f.in.Others {
		other := &f.in.Others[i]
		if other.UID == f.in.Request.UID || extra(other, extraPodUID) == f.claim.PodUID ||
			condition(other, certificatesv1.CertificateDenied) != nil || condition(other, certificatesv1.CertificateFailed) != nil {
			continue
		}
		request, err := parse(other.Spec.Request)
		if err != nil || !bytes.Equal(request.RawSubjectPublicKeyInfo, f.request.RawSubjectPublicKeyInfo) || request.CheckSignature() != nil {
			continue
		}
		if len(other.Status.Certificate) > 0 || !elder(f.in.Request, other) {
			return "another pod asked with the same public key: make a key in the process that uses it, and keep it there"
		}
	}
	return ""
}

func tooManyRequests(f *facts) string {
	count := 0
	for i := range f.in.Others {
		other := &f.in.Others[i]
		if other.UID != f.in.Request.UID && extra(other, extraPodUID) == f.claim.PodUID && !elder(f.in.Request, other) {
			count++
		}
	}
	if count >= f.in.Limits.PerPod {
		return fmt.Sprintf("pod %s has %d requests already: wait until they are removed, some minutes after they were answered", f.claim.Pod, count)
	}
	return ""
}
