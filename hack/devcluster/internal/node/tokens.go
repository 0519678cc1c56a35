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
	// request asks the API server for one, and tells its end.
	request func(context.Context, tokenKey) (token string, until time.Time, err error)

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
	request := func(ctx context.Context, key tokenKey) (string, time.Time, error) {
		return requestToken(ctx, client, p, key)
	}
	return &tokens{request: request, kept: map[tokenKey]keptToken{}}
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
	token, until, err := t.request(ctx, key)
	if err != nil && asked.Before(kept.until) {
		return kept.token, nil
	}
	if err != nil {
		return "", err
	}
	t.kept[key] = keptToken{token: token, renew: renewal(asked, until), until: until}
	return token, nil
}

// maxTokenAge is the age at which even a token that lives longer is renewed.
const maxTokenAge = 24 * time.Hour

// renewal is when a token is to be renewed: when 80 % of its life are over.
func renewal(asked, until time.Time) time.Time {
	return asked.Add(min(until.Sub(asked)*8/10, maxTokenAge))
}

func requestToken(ctx context.Context, client kubernetes.Interface, p *corev1.Pod, key tokenKey) (string, time.Time, error) {
	ask := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: &key.seconds,
		BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: p.Name, UID: p.UID},
	}}
	if key.audience != "" {
		ask.Spec.Audiences = []string{key.audience}
	}
	account := p.Spec.ServiceAccountName
	got, err := client.CoreV1().ServiceAccounts(p.Namespace).CreateToken(ctx, account, ask, metav1.CreateOptions{})
	if err != nil {
		return "", time.Time{}, fmt.Errorf("of service account %s: %w", account, err)
	}
	return got.Status.Token, got.Status.ExpirationTimestamp.Time, nil
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
