package issuer

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Names of Secrets in the operator's namespace.
const (
	// WantedSecret is the name of the Secret with the issuer that the installer wants, unless Wanted says another.
	WantedSecret = "xinhari-ca"
	// SigningSecret is the name of the Secret with the issuer that signs now.
	SigningSecret = "xinhari-signing"
)

// +kubebuilder:rbac:groups="",namespace=xinhari-system,resources=secrets,resourceNames=xinhari-ca;xinhari-signing,verbs=get;list;watch

// Wanted says which issuer the installer wants to sign.
type Wanted struct {
	// Secret is the name of its Secret in the operator's namespace. Empty is WantedSecret.
	Secret string
	// Brought says that someone else makes the Secret: the operator neither creates nor replaces it.
	Brought bool
}

// Name returns the name of the Secret.
func (w Wanted) Name() string { return cmp.Or(w.Secret, WantedSecret) }

// Current is an issuer that can sign now.
type Current struct {
	*Issuer
	Ends   time.Time // when its chain ends
	Secret string    // name of the Secret that holds it
}

// Store reads the issuer that signs now from its Secret. It never writes one. It is safe for concurrent use.
type Store struct {
	signing   client.Reader
	wanted    client.Reader
	live      client.Reader
	namespace string
	name      string // of the wanted Secret
	now       func() time.Time

	mu     sync.Mutex
	sum    string // of what is parsed
	parsed *Issuer
}

// NewStore returns a store of the Secrets in a namespace. It reads the one that signs by signing and the wanted one by
// wanted, whose caches may be behind, and by live where they find nothing.
func NewStore(signing, wanted, live client.Reader, namespace string, w Wanted) *Store {
	return &Store{signing: signing, wanted: wanted, live: live, namespace: namespace, name: w.Name(), now: time.Now}
}

// Issuer returns the issuer that signs now. That is the wanted one where there is no other: before the leader made the
// copy, or when the copy was lost, and every workload is better served by a certificate that some do not trust yet than by
// none. Errors name the Secrets; those that match ErrUnusable say what only people can mend.
func (s *Store) Issuer(ctx context.Context) (Current, error) {
	current, err := s.read(ctx, s.signing, SigningSecret)
	if err == nil || !errors.Is(err, ErrUnusable) {
		return current, err
	}
	current, second := s.read(ctx, s.wanted, s.name)
	if second != nil {
		return Current{}, fmt.Errorf("%w; %w", err, second)
	}
	return current, nil
}

// read returns the issuer of a Secret, if it can sign. That there is no Secret matches ErrUnusable.
func (s *Store) read(ctx context.Context, c client.Reader, name string) (Current, error) {
	key := client.ObjectKey{Namespace: s.namespace, Name: name}
	secret := new(corev1.Secret)
	err := c.Get(ctx, key, secret)
	if apierrors.IsNotFound(err) {
		err = s.live.Get(ctx, key, secret)
	}
	if apierrors.IsNotFound(err) {
		err = fmt.Errorf("%w: there is none", ErrUnusable)
	}
	var i *Issuer
	if err == nil {
		i, err = s.parse(secret.Data)
	}
	var ends time.Time
	if err == nil {
		ends, err = i.Verify(s.now())
	}
	if err != nil {
		return Current{}, fmt.Errorf("secret %s/%s: %w", s.namespace, name, err)
	}
	return Current{Issuer: i, Ends: ends, Secret: name}, nil
}

// parse reads again only what changed.
func (s *Store) parse(data map[string][]byte) (*Issuer, error) {
	h := sha256.New()
	for _, key := range []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey, KeyRoots} {
		write(h, data[key])
	}
	sum := string(h.Sum(nil))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.parsed != nil && s.sum == sum {
		return s.parsed, nil
	}
	i, err := Parse(data)
	if err != nil {
		return nil, err
	}
	s.parsed, s.sum = i, sum
	return i, nil
}

// write writes what no other list of values makes the same.
func write(h io.Writer, value []byte) {
	fmt.Fprintf(h, "%d:", len(value))
	_, _ = h.Write(value) // a hash never fails
}
