package keypair

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
	"github.com/xinhari/xinhari/controllers/internal/conditions"
	"github.com/xinhari/xinhari/controllers/signer/leaf"
	"github.com/xinhari/xinhari/controllers/trust"
	"github.com/xinhari/xinhari/pkg/identity"
)

// observed is what is known of a Service's Secret.
type observed struct {
	uid        types.UID
	generation int64 // of the Service, that problem and inSecret speak of; zero is none
	inSecret   string
	problem    *conditions.Outcome
	swept      int64 // generation of the Service whose other Secrets are gone

	secret string // name of the Secret that what follows is of
	bundle string // hash of the roots in it
	since  time.Time
	chain  []*x509.Certificate
	older  []older
	hidden time.Time // since when it could not be read, of one that never was; zero is not
}

// older is a certificate that stood in a Secret before, and that those who read it may still have.
type older struct {
	chain []*x509.Certificate // empty where it is not known
	until time.Time
}

// memory is what is known of every Secret. It is safe for concurrent use.
//
// It is not written anywhere. What a new leader reads for the first time it takes for just written, so that nobody can
// make a rotation go on too early by what they write into a Secret.
type memory struct {
	sync time.Duration // how long a change takes to reach those who read a Secret

	mu  sync.Mutex
	all map[client.ObjectKey]*observed // by Service
}

func newMemory(sync time.Duration) *memory {
	return &memory{sync: sync, all: map[client.ObjectKey]*observed{}}
}

// of returns what is known of a Service's Secret, from when it was first asked. The caller holds mu.
func (m *memory) of(s *xinhariv1alpha1.Service) *observed {
	key := client.ObjectKeyFromObject(s)
	o := m.all[key]
	if o == nil || o.uid != s.UID {
		o = &observed{uid: s.UID}
		m.all[key] = o
	}
	return o
}

// look notes what a Service's Secret holds now.
func (m *memory) look(s *xinhariv1alpha1.Service, secret *corev1.Secret, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o := m.of(s)
	if o.secret != secret.Name {
		o.secret, o.bundle, o.chain, o.older = secret.Name, "", nil, nil
	}
	o.hidden = time.Time{}
	p := parse(secret.Data)
	bundle := ""
	if len(p.roots) > 0 {
		bundle = identity.BundleHash(p.roots)
	}
	if bundle != o.bundle || o.since.After(now) { // or the clock was put back
		o.bundle, o.since = bundle, now
	}
	if !slices.EqualFunc(p.chain, o.chain, (*x509.Certificate).Equal) {
		o.older = append(o.older, older{chain: o.chain, until: now.Add(m.sync)})
		o.chain = p.chain
	}
	o.older = slices.DeleteFunc(o.older, func(old older) bool { return !now.Before(old.until) })
}

// kept returns what a rotation has to know of a Service's Secret, if there is anything.
func (m *memory) kept(s *xinhariv1alpha1.Service, now time.Time) (k trust.Kept, known, holds bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o := m.all[client.ObjectKeyFromObject(s)]
	if o == nil || o.uid != s.UID || o.secret != s.Spec.Identity.SecretName {
		return trust.Kept{}, false, false
	}
	k = trust.Kept{Namespace: s.Namespace, Object: "secret/" + o.secret, Chains: [][]*x509.Certificate{o.chain}}
	switch {
	case !o.hidden.IsZero():
		k.Until = o.hidden.Add(leaf.MaxLife)
		return k, true, true
	case len(o.chain) == 0:
		return trust.Kept{}, true, false
	}
	if !now.Before(o.since.Add(m.sync)) {
		k.Bundle = o.bundle
	}
	for _, old := range o.older {
		if now.Before(old.until) {
			k.Chains = append(k.Chains, old.chain)
		}
	}
	return k, true, true
}

// report notes what the Service is to say, and returns whether that is something else than before.
func (m *memory) report(s *xinhariv1alpha1.Service, inSecret string, problem *conditions.Outcome) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	o := m.of(s)
	same := o.generation == s.Generation && o.inSecret == inSecret && (o.problem == nil) == (problem == nil) &&
		(problem == nil || *o.problem == *problem)
	o.generation, o.inSecret, o.problem = s.Generation, inSecret, problem
	return !same
}

// reported returns what report noted of the Service's generation.
func (m *memory) reported(s *xinhariv1alpha1.Service) (inSecret string, problem *conditions.Outcome, known bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o := m.all[client.ObjectKeyFromObject(s)]
	if o == nil || o.uid != s.UID || o.generation != s.Generation {
		return "", nil, false
	}
	return o.inSecret, o.problem, true
}

// swept says whether the Secrets that the Service does not want are gone.
func (m *memory) swept(s *xinhariv1alpha1.Service) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.of(s).swept == s.Generation
}

// sweep notes that they are.
func (m *memory) sweep(s *xinhariv1alpha1.Service) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.of(s).swept = s.Generation
}

// forget drops what is known of a Service.
func (m *memory) forget(key client.ObjectKey) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.all, key)
}

// ends calls visit with when the certificate in each Secret ends.
func (m *memory) ends(visit func(service client.ObjectKey, ends time.Time)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, o := range m.all {
		if len(o.chain) > 0 {
			visit(key, o.chain[0].NotAfter)
		}
	}
}

// missing notes that there is no Secret of the name that the Service wants. Whoever read it before has what it held.
func (m *memory) missing(s *xinhariv1alpha1.Service) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o := m.of(s)
	if o.secret != secretName(s) {
		o.secret, o.bundle, o.chain, o.older = secretName(s), "", nil, nil
	}
	o.hidden = time.Time{}
}

// hide notes that the Secret could not be read. What was known of it stays.
func (m *memory) hide(s *xinhariv1alpha1.Service, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if o := m.of(s); o.secret != secretName(s) {
		o.secret, o.bundle, o.chain, o.older, o.hidden = secretName(s), "", nil, nil, now
	}
}

// clear notes that a Service has no Secret any more.
func (m *memory) clear(s *xinhariv1alpha1.Service) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o := m.of(s)
	o.secret, o.bundle, o.chain, o.older = "", "", nil, nil
}

// Kept returns what a rotation of roots has to know of the Secrets. What was not looked at since the start it reads; one that
// cannot be read holds up a rotation, and nothing else.
func (c *Controller) Kept(ctx context.Context) ([]trust.Kept, error) {
	if len(c.namespaces) == 0 {
		return nil, nil
	}
	var all []trust.Kept
	for namespace := range c.namespaces {
		var services xinhariv1alpha1.ServiceList
		if err := c.client.List(ctx, &services, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
			return nil, err
		}
		for i := range services.Items {
			s := &services.Items[i]
			if secretName(s) == "" {
				continue
			}
			k, known, holds := c.memory.kept(s, c.now())
			if !known {
				if _, err := c.read(ctx, s); err != nil {
					log.FromContext(ctx).Info("what its readers trust is not known", "service", client.ObjectKeyFromObject(s), "problem", err.Error())
				}
				k, _, holds = c.memory.kept(s, c.now())
			}
			if holds {
				all = append(all, k)
			}
		}
	}
	return all, nil
}

// read reads the Service's Secret, or returns nil where there is none.
func (c *Controller) read(ctx context.Context, s *xinhariv1alpha1.Service) (*corev1.Secret, error) {
	secret := new(corev1.Secret)
	err := c.live.Get(ctx, client.ObjectKey{Namespace: s.Namespace, Name: secretName(s)}, secret)
	if apierrors.IsNotFound(err) {
		c.memory.missing(s)
		return nil, nil
	}
	if err != nil {
		c.memory.hide(s, c.now())
		return nil, fmt.Errorf("secret %s: %w", secretName(s), err)
	}
	if ours(secret, s) {
		c.memory.look(s, secret, c.now())
	} else {
		c.memory.look(s, &corev1.Secret{ObjectMeta: secret.ObjectMeta}, c.now())
	}
	return secret, nil
}
