package signer

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
	"github.com/xinhari/xinhari/controllers/signer/leaf"
	"github.com/xinhari/xinhari/pkg/identity"
)

// What the API server notes about the token of a requester, KEP 2799 and 4193.
const (
	extraPodName  = "authentication.kubernetes.io/pod-name"
	extraPodUID   = "authentication.kubernetes.io/pod-uid"
	extraNodeName = "authentication.kubernetes.io/node-name"
)

// pemType is the type of the PEM block of a request, RFC 7468 section 7.
const pemType = "CERTIFICATE REQUEST"

// Claim is whom the API server says that a request came from.
type Claim struct {
	Namespace string // namespace of the account and the pod
	Account   string // name of the ServiceAccount
	Pod       string // name of the pod that the token is bound to
	PodUID    string // UID of that pod
	Node      string // node of that pod, or empty where the API server does not say
}

// ClaimOf returns whom a request came from, or why that cannot hold an identity.
func ClaimOf(r *certificatesv1.CertificateSigningRequest) (Claim, *Denial) {
	account, ok := strings.CutPrefix(r.Spec.Username, "system:serviceaccount:")
	namespace, name, both := strings.Cut(account, ":")
	if !ok || !both || namespace == "" || name == "" || strings.Contains(name, ":") {
		return Claim{}, &Denial{Reason: NotAServiceAccount, Message: fmt.Sprintf("%q is not a ServiceAccount: ask with the token that Kubernetes mounts into the pod", r.Spec.Username)}
	}
	c := Claim{Namespace: namespace, Account: name, Pod: extra(r, extraPodName), PodUID: extra(r, extraPodUID), Node: extra(r, extraNodeName)}
	if c.Pod == "" || c.PodUID == "" {
		return Claim{}, &Denial{Reason: NoPod, Message: "the token of account " + name + " is not bound to a pod: ask with the projected token that Kubernetes mounts into the pod, not with one from a Secret or from kubectl create token"}
	}
	return c, nil
}

// extra returns the one value of a key, or nothing where there are several.
func extra(r *certificatesv1.CertificateSigningRequest, key string) string {
	if values := r.Spec.Extra[key]; len(values) == 1 {
		return values[0]
	}
	return ""
}

// facts is what checks look at.
type facts struct {
	in       Input
	claim    Claim
	id       identity.ID
	request  *x509.CertificateRequest
	services []xinhariv1alpha1.Service // those that give the pod this identity
}

// read finds what the checks look at, and refuses what leaves nothing to look at.
func read(in Input) (*facts, *Denial) {
	r := in.Request
	if r == nil {
		return nil, &Denial{Reason: Unreadable, Message: "there is no request"}
	}
	f := &facts{in: in}
	var denial *Denial
	if f.claim, denial = ClaimOf(r); denial != nil {
		return nil, denial
	}
	var err error
	if f.id, err = identity.NewID(in.TrustDomain, f.claim.Namespace, f.claim.Account); err != nil {
		return nil, &Denial{Reason: NotAServiceAccount, Message: err.Error()}
	}
	if in.Pod == nil {
		return nil, &Denial{Reason: PodGone, Message: fmt.Sprintf("pod %s is gone", f.claim.Pod)}
	}
	if f.request, err = parse(r.Spec.Request); err != nil {
		return nil, &Denial{Reason: Unreadable, Message: err.Error()}
	}
	f.services = leaf.Selecting(in.Services, in.Pod.Namespace, f.claim.Account, in.Pod.Labels)
	return f, nil
}

// parse reads exactly one request in PEM, with nothing before, in or after it.
func parse(in []byte) (*x509.CertificateRequest, error) {
	block, rest := pem.Decode(in)
	if block == nil || block.Type != pemType || len(block.Headers) > 0 || len(bytes.TrimSpace(rest)) > 0 ||
		!bytes.HasPrefix(in, []byte("-----BEGIN "+pemType+"-----")) {
		return nil, fmt.Errorf("spec.request is not exactly one PEM block of type %s", pemType)
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("spec.request: %w", err)
	}
	return request, nil
}

// foreignNames says what the request's DNS names have that the certificate would not. It stands apart from the checks since
// Services that come later can mend what it finds.
func (f *facts) foreignNames() string {
	asked := slices.Sorted(slices.Values(f.request.DNSNames))
	names := leaf.DNSNames(f.services)
	slices.Sort(names)
	if len(asked) == 0 || slices.Equal(asked, names) {
		return ""
	}
	return fmt.Sprintf("the request asks for DNS names %q and would get %q: leave names out of requests, or ask for those", asked, names)
}

// Object identifiers of RFC 5280 and RFC 2986.
func oidSubjectAltName() asn1.ObjectIdentifier   { return asn1.ObjectIdentifier{2, 5, 29, 17} }
func oidBasicConstraints() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 5, 29, 19} }
func oidExtensionRequest() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 14}
}
