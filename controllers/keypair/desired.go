package keypair

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
	"github.com/xinhari/xinhari/controllers/signer/issuer"
	"github.com/xinhari/xinhari/controllers/signer/leaf"
	"github.com/xinhari/xinhari/internal/pemfile"
	"github.com/xinhari/xinhari/pkg/identity"
)

// wanted is all that a Secret follows from.
type wanted struct {
	service  *xinhariv1alpha1.Service
	id       identity.ID
	services []xinhariv1alpha1.Service // whose names and life the certificate has
	issuer   issuer.Current
	unusable error               // why there is no issuer
	roots    []*x509.Certificate // that are trusted now
	now      time.Time
}

// givers returns the Services whose names the certificate of a Service's Secret has: those that would give every pod of the
// Service its account's identity. So the certificate is the one that such a pod would get.
func givers(s *xinhariv1alpha1.Service, all []xinhariv1alpha1.Service) []xinhariv1alpha1.Service {
	labels := make(map[string]string, len(s.Spec.Selector))
	for key, value := range s.Spec.Selector {
		labels[key] = string(value)
	}
	// The Service itself is among them by whatever it selects: its instances may be outside of the cluster.
	others := slices.DeleteFunc(slices.Clone(all), func(o xinhariv1alpha1.Service) bool { return o.Name == s.Name })
	services := append(leaf.Selecting(others, s.Namespace, s.AccountName(), labels), *s)
	slices.SortFunc(services, func(a, b xinhariv1alpha1.Service) int { return strings.Compare(a.Name, b.Name) })
	return services
}

// pair is what a Secret holds.
type pair struct {
	chain []*x509.Certificate
	key   *ecdsa.PrivateKey
	roots []*x509.Certificate
}

// parse reads the data of a Secret. What cannot be read is not there.
func parse(data map[string][]byte) pair {
	var p pair
	if chain, err := pemfile.Certificates(data[corev1.TLSCertKey]); err == nil {
		p.chain = chain
	}
	if key, err := pemfile.Key(data[corev1.TLSPrivateKeyKey]); err == nil {
		p.key, _ = key.(*ecdsa.PrivateKey)
	}
	if roots, err := pemfile.Certificates(data[issuer.KeyRoots]); err == nil {
		p.roots = roots
	}
	return p
}

// data returns the data of a Secret that holds the pair.
func (p pair) data() (map[string][]byte, error) {
	key, err := pemfile.EncodeKey(p.key)
	if err != nil {
		return nil, err
	}
	return map[string][]byte{
		corev1.TLSCertKey:       pemfile.EncodeCertificates(p.chain...),
		corev1.TLSPrivateKeyKey: key,
		issuer.KeyRoots:         pemfile.EncodeCertificates(p.roots...),
	}, nil
}

// serves says why a program cannot work with the pair and roots, or nil.
func (p pair) serves(roots []*x509.Certificate, now time.Time) error {
	if p.key == nil {
		return fmt.Errorf("there is no key that could be read")
	}
	_, err := identity.NewCredentials(p.chain, p.key, roots, now)
	return err
}

// stale says why a pair is not the one that is wanted, or nothing.
func (w wanted) stale(p pair) string {
	if err := p.serves(w.roots, w.now); err != nil {
		return err.Error()
	}
	if p.key.Curve != elliptic.P256() {
		return "the key is not on P-256"
	}
	if w.unusable != nil {
		return w.unusable.Error()
	}
	cert := p.chain[0]
	if !w.issuer.Signed(p.chain) {
		return "another issuer signs now"
	}
	issued := leaf.Issued(cert)
	again, err := leaf.Template(w.id, w.services, cert.PublicKey, leaf.Bounds{Now: issued, IssuerEnds: w.issuer.Ends})
	if err != nil {
		return err.Error()
	}
	switch {
	case !slices.EqualFunc(cert.URIs, again.URIs, func(a, b *url.URL) bool { return a.String() == b.String() }):
		return "it is of another account"
	case !slices.Equal(cert.DNSNames, again.DNSNames):
		return "it has other names"
	case !cert.NotAfter.Equal(again.NotAfter):
		return "it has another life"
	case cert.KeyUsage != again.KeyUsage || !slices.Equal(cert.ExtKeyUsage, again.ExtKeyUsage) || len(cert.IPAddresses)+len(cert.EmailAddresses) > 0:
		return "it is for something else"
	case w.now.Before(w.renewal(p)):
		return ""
	}
	// What an issuer near its end would sign ends when this does.
	next, err := leaf.Template(w.id, w.services, cert.PublicKey, leaf.Bounds{Now: w.now, IssuerEnds: w.issuer.Ends})
	if err != nil || !next.NotAfter.After(cert.NotAfter) {
		return ""
	}
	return "half of its life is over"
}

// renewal returns when half of a pair's life is over.
func (w wanted) renewal(p pair) time.Time {
	issued := leaf.Issued(p.chain[0])
	return issued.Add(p.chain[0].NotAfter.Sub(issued) / 2)
}

// make returns a new pair, and never one that its own readers would refuse.
func (w wanted) make() (pair, error) {
	if w.unusable != nil {
		return pair{}, w.unusable
	}
	p := pair{roots: w.roots}
	var err error
	if p.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return pair{}, err
	}
	template, err := leaf.Template(w.id, w.services, p.key.Public(), leaf.Bounds{Now: w.now, IssuerEnds: w.issuer.Ends})
	if err != nil {
		return pair{}, err
	}
	text, err := w.issuer.Sign(template, w.now)
	if err != nil {
		return pair{}, fmt.Errorf("secret %s of the operator's namespace: %w", w.issuer.Secret, err)
	}
	if p.chain, err = pemfile.Certificates(text); err != nil {
		return pair{}, err
	}
	if err := p.serves(w.roots, w.now); err != nil {
		return pair{}, fmt.Errorf("the roots that are distributed do not go with the issuer yet: %w", err)
	}
	return p, nil
}

// ours says whether the labels make a Secret the Service's, and nobody else's ownerReference speaks against it. One of a
// Service that was deleted and made again is taken back.
func ours(o *corev1.Secret, s *xinhariv1alpha1.Service) bool {
	if o.Labels[xinhariv1alpha1.LabelService] != s.Name || o.Labels[xinhariv1alpha1.LabelManagedBy] != xinhariv1alpha1.ManagedBy {
		return false
	}
	by := metav1.GetControllerOf(o)
	return by == nil || mine(*by, s)
}

// mine says whether an ownerReference names the Service, or one before it of the same name.
func mine(r metav1.OwnerReference, s *xinhariv1alpha1.Service) bool {
	kind := xinhariv1alpha1.Kind("Service")
	return r.APIVersion == kind.GroupVersion().String() && r.Kind == kind.Kind && r.Name == s.Name
}

// shape gives a Secret what it has beside its data, and leaves alone what others added. It returns whether that changed
// anything.
func shape(o *corev1.Secret, s *xinhariv1alpha1.Service) bool {
	before := o.DeepCopy()
	if o.Labels == nil {
		o.Labels = map[string]string{}
	}
	o.Labels[xinhariv1alpha1.LabelService], o.Labels[xinhariv1alpha1.LabelManagedBy] = s.Name, xinhariv1alpha1.ManagedBy
	kind := xinhariv1alpha1.Kind("Service")
	o.OwnerReferences = slices.DeleteFunc(o.OwnerReferences, func(r metav1.OwnerReference) bool { return mine(r, s) })
	o.OwnerReferences = append(o.OwnerReferences, *metav1.NewControllerRef(s, kind))
	o.OwnerReferences[len(o.OwnerReferences)-1].BlockOwnerDeletion = nil // that would need a right at the Service
	same := func(a, b metav1.OwnerReference) bool {
		return a.UID == b.UID && a.Name == b.Name && a.Kind == b.Kind && a.APIVersion == b.APIVersion && (a.Controller != nil && *a.Controller) == (b.Controller != nil && *b.Controller)
	}
	return !maps.Equal(before.Labels, o.Labels) || !slices.EqualFunc(before.OwnerReferences, o.OwnerReferences, same)
}

// fixed says whether a Secret is of a form that no write could put right.
func fixed(o *corev1.Secret) bool {
	return o.Type != corev1.SecretTypeTLS || o.Immutable != nil && *o.Immutable
}

func sameData(a, b map[string][]byte) bool { return maps.EqualFunc(a, b, bytes.Equal) }
