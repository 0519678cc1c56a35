package trust

import (
	"context"
	"crypto/x509"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
	"github.com/xinhari/xinhari/controllers/signer/issuer"
	"github.com/xinhari/xinhari/internal/pemfile"
	"github.com/xinhari/xinhari/pkg/identity"
)

// world is the objects that a step is about, as they were read. What there was not has no resource version.
type world struct {
	wanted  *corev1.Secret
	signing *corev1.Secret
	object  *corev1.ConfigMap
	state   State
	parsed  *issuer.Issuer // the wanted issuer, nil where it cannot be read
	current issuer.Signing
	bundle  []*x509.Certificate
	known   map[string]*x509.Certificate // every root that a step may name
	facts   Facts                        // but for the holders
}

// read reads the objects from the API server: a step on what a cache was late with would be on another world.
func (c *Controller) read(ctx context.Context) (*world, error) {
	w := &world{wanted: new(corev1.Secret), signing: new(corev1.Secret), object: new(corev1.ConfigMap), known: map[string]*x509.Certificate{}}
	for name, into := range map[string]client.Object{
		c.wanted.Name(): w.wanted, issuer.SigningSecret: w.signing, xinhariv1alpha1.TrustConfigMap: w.object,
	} {
		if err := c.live.Get(ctx, client.ObjectKey{Namespace: c.namespace, Name: name}, into); err != nil && !apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		into.SetName(name)
		into.SetNamespace(c.namespace)
	}
	now := c.now()
	f := &w.facts
	f.Now, f.Settle, f.MayMake, f.Secret = now, c.settle, !c.wanted.Brought, c.namespace+"/"+c.wanted.Name()
	f.Request = w.object.Annotations[xinhariv1alpha1.AnnotationRotation]
	// What cannot be read follows from the rest again.
	w.state, w.facts.State = State{}, State{}
	if state, err := parseState(w.object.Data[KeyState]); err == nil {
		w.state, f.State = state, state
	}
	if w.wanted.ResourceVersion != "" {
		var err error
		w.parsed, err = issuer.Parse(w.wanted.Data)
		f.Wanted = describe(w.parsed, err, now)
		f.Wanted.Own = !c.wanted.Brought && w.wanted.Labels[xinhariv1alpha1.LabelManagedBy] == xinhariv1alpha1.ManagedBy &&
			w.parsed != nil && w.parsed.Made(c.trustDomain)
	}
	if w.signing.ResourceVersion != "" {
		var err error
		w.current, err = issuer.ParseSigning(w.signing.Data)
		f.Signing, f.Damaged = describe(w.current.Issuer, err, now), w.current.Damaged
	}
	w.bundle = w.current.Bundle()
	f.Next, f.Retired, f.Hash = names(w.current.Next), names(w.current.Retiring), identity.BundleHash(w.bundle)
	published, err := pemfile.Certificates([]byte(w.object.Data[xinhariv1alpha1.KeyTrustBundle]))
	if err == nil && identity.BundleHash(published) == w.state.BundleHash {
		f.Known = names(published)
	} else {
		published = nil
	}
	if w.parsed != nil {
		w.learn(w.parsed.Roots())
	}
	w.learn(w.bundle)
	w.learn(published)
	return w, nil
}

func (w *world) learn(roots []*x509.Certificate) {
	for _, root := range roots {
		w.known[name(root)] = root
	}
}

// roots returns every root that is known.
func (w *world) roots() []*x509.Certificate { return slices.Collect(maps.Values(w.known)) }

func (w *world) certificates(names []string) []*x509.Certificate {
	all := make([]*x509.Certificate, 0, len(names))
	for _, n := range names {
		if cert := w.known[n]; cert != nil {
			all = append(all, cert)
		}
	}
	return all
}

func names(roots []*x509.Certificate) []string {
	var all []string
	for _, root := range roots {
		all = append(all, name(root))
	}
	return union(all)
}

// describe returns what a step knows of an issuer that was read, or could not be.
func describe(i *issuer.Issuer, err error, now time.Time) *Issuer {
	var ends time.Time
	if err == nil {
		ends, err = i.Verify(now)
	}
	d := &Issuer{Ends: ends.UTC()}
	if err != nil {
		d.Problem = cause(err)
	}
	if i == nil {
		return d
	}
	cert := i.Certificate()
	d.ID, d.Subject, d.Roots, d.Began = i.ID(), cert.Subject.String(), names(i.Roots()), cert.NotBefore.UTC()
	if d.Ends.IsZero() {
		d.Ends = cert.NotAfter.UTC()
	}
	return d
}

// cause says what is wrong, without that it is the issuer.
func cause(err error) string {
	return strings.TrimPrefix(err.Error(), issuer.ErrUnusable.Error()+": ")
}

// do does what a step says. It returns whether anything was written.
func (c *Controller) do(ctx context.Context, w *world, out Outcome) (bool, error) {
	switch out.Action {
	case Make:
		data, err := issuer.New(c.trustDomain, c.now())
		if err != nil {
			return false, err
		}
		w.wanted.Data = data
		return true, c.put(ctx, w.wanted)
	case Sign:
		w.signing.Data = issuer.SigningData(w.wanted.Data, w.parsed, w.certificates(out.Next), w.certificates(out.Retired))
		return true, c.put(ctx, w.signing)
	case Trust:
		w.signing.Data = issuer.SigningData(w.signing.Data, w.current.Issuer, w.certificates(out.Next), w.certificates(out.Retired))
		return true, c.put(ctx, w.signing)
	}
	return c.publish(ctx, w, out)
}

// publish writes the state object, unless it says so already. That only a message changed is written from time to time.
func (c *Controller) publish(ctx context.Context, w *world, out Outcome) (bool, error) {
	text, err := out.State.text()
	if err != nil {
		return false, err
	}
	data := map[string]string{KeyState: text}
	if len(w.bundle) > 0 {
		data[xinhariv1alpha1.KeyTrustBundle] = string(pemfile.EncodeCertificates(w.bundle...))
	} else if old := w.object.Data[xinhariv1alpha1.KeyTrustBundle]; old != "" {
		data[xinhariv1alpha1.KeyTrustBundle] = old // nothing else is known that workloads could trust
	}
	if id := out.State.Signing.ID; id != "" {
		data[xinhariv1alpha1.KeyIssuer] = id
	}
	c.owes = false
	if !out.Acted && w.object.ResourceVersion != "" && w.object.Labels[xinhariv1alpha1.LabelManagedBy] == xinhariv1alpha1.ManagedBy {
		if maps.Equal(data, w.object.Data) {
			return false, nil
		}
		same := func(key string) bool { return data[key] == w.object.Data[key] }
		if same(xinhariv1alpha1.KeyTrustBundle) && same(xinhariv1alpha1.KeyIssuer) && sameButMessages(w.state, out.State) && time.Since(c.published) < c.pace {
			c.owes = true
			return false, nil
		}
	}
	if out.Anew {
		c.ledger.disown(short(out.State.BundleHash))
		if err := c.flush(ctx); err != nil {
			return false, err
		}
	}
	if out.Acted {
		delete(w.object.Annotations, xinhariv1alpha1.AnnotationRotation)
	}
	w.object.Data = data
	if err := c.put(ctx, w.object); err != nil {
		return false, err
	}
	c.published = time.Now()
	c.tell(w.state, out.State)
	return true, nil
}

// sameButMessages says whether two states differ in nothing but what conditions say in words.
func sameButMessages(a, b State) bool {
	for _, s := range []*State{&a, &b} {
		s.Conditions = slices.Clone(s.Conditions)
		for i := range s.Conditions {
			s.Conditions[i].Message = ""
		}
	}
	left, errLeft := a.text()
	right, errRight := b.text()
	return errLeft == nil && errRight == nil && left == right
}

// put creates or updates an object of the operator's namespace, unless someone else wrote it meanwhile.
func (c *Controller) put(ctx context.Context, o client.Object) error {
	labels := o.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels[xinhariv1alpha1.LabelManagedBy] = xinhariv1alpha1.ManagedBy
	o.SetLabels(labels)
	if o.GetResourceVersion() != "" {
		return c.client.Update(ctx, o)
	}
	if s, ok := o.(*corev1.Secret); ok {
		s.Type = corev1.SecretTypeTLS
	}
	return c.client.Create(ctx, o)
}

// object returns the state object as events name it.
func (c *Controller) object() *corev1.ConfigMap {
	return &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: xinhariv1alpha1.TrustConfigMap},
	}
}
