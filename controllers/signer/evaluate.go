package signer

import (
	"crypto/x509"
	"fmt"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
	"github.com/xinhari/xinhari/controllers/signer/leaf"
)

// Reason is why a request is denied, as its condition and the event at the pod say it.
type Reason string

// Reasons of denials.
const (
	OtherSigner        Reason = "OtherSigner"        // the request is for another signer
	NotAServiceAccount Reason = "NotAServiceAccount" // the requester is a person, a node or a certificate's holder
	NoPod              Reason = "NoPod"              // the requester's token is not bound to a pod
	PodGone            Reason = "PodGone"            // there is no such pod any more
	OtherPod           Reason = "OtherPod"           // the pod of that name has another UID
	OtherAccount       Reason = "OtherAccount"       // the pod runs under another account
	OtherNode          Reason = "OtherNode"          // the token is of another node than the pod
	PodEnded           Reason = "PodEnded"           // the containers of the pod have ended for good
	TooLarge           Reason = "TooLarge"           // the request exceeds Limits.Size
	Unreadable         Reason = "Unreadable"         // the request is not exactly one PKCS#10 request in PEM
	BadSignature       Reason = "BadSignature"       // the request is not signed with its own key, or by a weak hash
	WeakKey            Reason = "WeakKey"            // the key is neither ECDSA P-256 nor P-384
	CertificateOfCA    Reason = "CertificateOfCA"    // the request asks for a CA
	ForeignSubject     Reason = "ForeignSubject"     // the request asks for a subject
	ForeignNames       Reason = "ForeignNames"       // the request asks for names that are not the requester's
	ForeignExtension   Reason = "ForeignExtension"   // the request asks for an extension or attribute
	BadUsages          Reason = "BadUsages"          // the usages are not digital signature, client auth and server auth
	BadExpiration      Reason = "BadExpiration"      // expirationSeconds is out of bounds
	CopiedKey          Reason = "CopiedKey"          // another pod's request has the same public key
	TooManyRequests    Reason = "TooManyRequests"    // the pod has more requests than Limits.PerPod
)

// Limits bound what a requester may ask for.
type Limits struct {
	Size          int           // bytes of a request
	MinExpiration time.Duration // least spec.expirationSeconds
	MaxExpiration time.Duration // greatest spec.expirationSeconds
	PerPod        int           // requests of one pod that exist at a time
}

// DefaultLimits returns the limits of an installed operator. The admission policies of the chart say the first three too.
func DefaultLimits() Limits {
	return Limits{Size: 4096, MinExpiration: 10 * time.Minute, MaxExpiration: leaf.MaxLife, PerPod: 60}
}

// Input is all that a verdict depends on.
type Input struct {
	Request     *certificatesv1.CertificateSigningRequest
	Pod         *corev1.Pod                                // the pod that the requester's token is bound to, as it is now, or nil
	Services    []xinhariv1alpha1.Service                  // Services of the requester's namespace
	Others      []certificatesv1.CertificateSigningRequest // requests of the same pod or with the same public key
	TrustDomain string                                     // trust domain of every identity
	Now         time.Time                                  // when the certificate is made
	IssuerEnds  time.Time                                  // when the issuer's chain ends
	Limits      Limits                                     // what may be asked for
}

// Verdict is what becomes of a request: exactly one of Sign, Deny and Wait is set.
type Verdict struct {
	Sign  *x509.Certificate // template of the certificate, without serial number, to be signed for its PublicKey
	Basis string            // with Sign: the message of the condition xinhari.com/Basis
	Deny  *Denial           // the request can never be signed
	Wait  string            // what has to be there before the request can be signed
}

// Denial is why a request can never be signed.
type Denial struct {
	Reason  Reason
	Message string // says what to do about it, for people
}

// Evaluate says what becomes of a request. It reads nothing but its input, and writes nothing.
//
// The certificate follows from the requester, whom the API server authenticated, and from live objects. The request gives
// the public key; what else it asks for must be exactly what it would get, or be left out.
func Evaluate(in Input) Verdict {
	f, denial := read(in)
	if denial != nil {
		return Verdict{Deny: denial}
	}
	for _, c := range checks() {
		if message := c.refuses(f); message != "" {
			return Verdict{Deny: &Denial{Reason: c.reason, Message: message}}
		}
	}
	return grant(f)
}

// grant makes the template of a request that every check lets pass, once there are Services that name the account.
func grant(f *facts) Verdict {
	if len(f.services) == 0 {
		return Verdict{Wait: fmt.Sprintf("no Service of namespace %s names account %s and selects pod %s: "+
			"make one whose serviceAccountName (or, if omitted, whose name) is %s and whose selector the pod's labels match",
			f.id.Namespace, f.id.ServiceAccount, f.in.Pod.Name, f.id.ServiceAccount)}
	}
	if denial := f.foreignNames(); denial != "" {
		return Verdict{Deny: &Denial{Reason: ForeignNames, Message: denial}}
	}
	b := leaf.Bounds{Now: f.in.Now, IssuerEnds: f.in.IssuerEnds}
	if seconds := f.in.Request.Spec.ExpirationSeconds; seconds != nil {
		b.Asked = time.Duration(*seconds) * time.Second
	}
	template, err := leaf.Template(f.id, f.services, f.request.PublicKey, b)
	if err != nil {
		return Verdict{Wait: err.Error()}
	}
	all := make([]*xinhariv1alpha1.Service, 0, len(f.in.Services))
	for i := range f.in.Services {
		all = append(all, &f.in.Services[i])
	}
	return Verdict{Sign: template, Basis: xinhariv1alpha1.CertificateBasis(all, f.id.ServiceAccount)}
}

// Finished says whether nothing more will become of a request.
func Finished(r *certificatesv1.CertificateSigningRequest) bool {
	return len(r.Status.Certificate) > 0 || condition(r, certificatesv1.CertificateDenied) != nil || condition(r, certificatesv1.CertificateFailed) != nil
}

func condition(r *certificatesv1.CertificateSigningRequest, kind certificatesv1.RequestConditionType) *certificatesv1.CertificateSigningRequestCondition {
	for i := range r.Status.Conditions {
		if c := &r.Status.Conditions[i]; c.Type == kind && c.Status == corev1.ConditionTrue {
			return c
		}
	}
	return nil
}

// elder says whether a came before b, by what the API server wrote; of two of one second it is neither.
func elder(a, b metav1.Object) bool {
	at, bt := a.GetCreationTimestamp(), b.GetCreationTimestamp()
	return at.Before(&bt)
}
