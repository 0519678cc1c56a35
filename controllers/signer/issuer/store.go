package issuer

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
)

// SecretName is the name of the Secret, in the operator's namespace.
const SecretName = "xinhari-ca"

// +kubebuilder:rbac:groups="",namespace=xinhari-system,resources=secrets,verbs=create
// +kubebuilder:rbac:groups="",namespace=xinhari-system,resources=secrets,resourceNames=xinhari-ca,verbs=get;list;watch

// Store reads the issuer from its Secret, and makes one where there is none. It is safe for concurrent use.
type Store struct {
	client      client.Client
	live        client.Reader
	namespace   string
	trustDomain string
	now         func() time.Time

	mu     sync.Mutex
	sum    string // of what is parsed
	parsed *Issuer
}

// NewStore returns a store of the Secret in a namespace. It reads by c, whose cache may be behind, and by live where c finds
// nothing.
func NewStore(c client.Client, live client.Reader, namespace, trustDomain string) *Store {
	return &Store{client: c, live: live, namespace: namespace, trustDomain: trustDomain, now: time.Now}
}

// Issuer returns the issuer that the Secret holds now, which can sign at this time, and when its chain ends. Errors name the
// Secret; those that match ErrUnusable say what only people can mend.
func (s *Store) Issuer(ctx context.Context) (*Issuer, time.Time, error) {
	secret, err := s.secret(ctx)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("secret %s/%s: %w", s.namespace, SecretName, err)
	}
	i, err := s.parse(secret.Data)
	if err == nil {
		var ends time.Time
		if ends, err = i.Verify(s.now()); err == nil {
			return i, ends, nil
		}
	}
	return nil, time.Time{}, fmt.Errorf("secret %s/%s: %w; mend the Secret, or delete it to have a new root made, which every workload must then learn to trust", s.namespace, SecretName, err)
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

// secret returns the Secret, and creates it where there surely is none. Who loses a race for that takes the winner's.
func (s *Store) secret(ctx context.Context) (*corev1.Secret, error) {
	key := client.ObjectKey{Namespace: s.namespace, Name: SecretName}
	found := new(corev1.Secret)
	err := s.client.Get(ctx, key, found)
	if apierrors.IsNotFound(err) {
		err = s.live.Get(ctx, key, found)
	}
	if !apierrors.IsNotFound(err) {
		return found, err
	}
	data, err := New(s.trustDomain, s.now())
	if err != nil {
		return nil, err
	}
	made := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name: key.Name, Namespace: key.Namespace, Labels: map[string]string{xinhariv1alpha1.LabelManagedBy: xinhariv1alpha1.ManagedBy},
		},
		Type: corev1.SecretTypeTLS,
		Data: data,
	}
	err = s.client.Create(ctx, made)
	if apierrors.IsAlreadyExists(err) {
		found = new(corev1.Secret)
		return found, s.live.Get(ctx, key, found)
	}
	return made, err
}
