package node

import (
	"context"
	"fmt"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/xinhari/xinhari/hack/devcluster/internal/node/volume"
)

// tokens asks for tokens of a pod's service account, and keeps them until 80 %
// of their life is over; if there is no new one then, until their end.
type tokens struct {
	client kubernetes.Interface
	pod    *corev1.Pod

	mu   sync.Mutex
	kept map[tokenKey]keptToken
}

type tokenKey struct {
	audience string
	seconds  int64
}

type keptToken struct {
	token        string
	renew, until time.Time
}

var _ volume.Tokens = (*tokens)(nil)

func newTokens(client kubernetes.Interface, p *corev1.Pod) *tokens {
	return &tokens{client: client, pod: p, kept: map[tokenKey]keptToken{}}
}

// Token returns a token for the audience, empty for the API server's.
func (t *tokens) Token(ctx context.Context, audience string, seconds int64) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := tokenKey{audience, seconds}
	kept := t.kept[key]
	asked := time.Now()
	if asked.Before(kept.renew) {
		return kept.token, nil
	}
	fresh, err := t.request(ctx, key)
	if err != nil && asked.Before(kept.until) {
		return kept.token, nil
	}
	if err != nil {
		return "", err
	}
	until := fresh.Status.ExpirationTimestamp.Time
	t.kept[key] = keptToken{
		token: fresh.Status.Token,
		renew: asked.Add(until.Sub(asked) * 8 / 10),
		until: until,
	}
	return fresh.Status.Token, nil
}

func (t *tokens) request(ctx context.Context, key tokenKey) (*authenticationv1.TokenRequest, error) {
	ask := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: &key.seconds,
		BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: t.pod.Name, UID: t.pod.UID},
	}}
	if key.audience != "" {
		ask.Spec.Audiences = []string{key.audience}
	}
	account := t.pod.Spec.ServiceAccountName
	api := t.client.CoreV1().ServiceAccounts(t.pod.Namespace)
	got, err := api.CreateToken(ctx, account, ask, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("of service account %s: %w", account, err)
	}
	return got, nil
}

// next is when the first token is to be renewed; zero if there is none.
func (t *tokens) next() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	var first time.Time
	for _, kept := range t.kept {
		if first.IsZero() || kept.renew.Before(first) {
			first = kept.renew
		}
	}
	return first
}
