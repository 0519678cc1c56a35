package conformance

import (
	"errors"
	"fmt"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

const (
	accountPage = "tasks/configure-pod-container/configure-service-account/"
	boundTokens = "reference/access-authn-authz/service-accounts-admin/#bound-service-account-tokens"
	tokenFile   = "/var/run/secrets/kubernetes.io/serviceaccount/token"
)

// review asks the API server what a token is.
func (s *scene) review(token string, audiences ...string) authenticationv1.TokenReviewStatus {
	s.Helper()
	review, err := s.client.AuthenticationV1().TokenReviews().Create(s.ctx, &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: audiences},
	}, metav1.CreateOptions{})
	s.must(err)
	return review.Status
}

func tokens() []claim {
	return []claim{
		{"A pod's token names its account, and is bound to the pod by name and UID", boundTokens, func(s *scene) {
			p := s.start(idle("bound"))
			status := s.review(s.run("bound", "cat "+tokenFile))
			if want := "system:serviceaccount:" + s.namespace + ":default"; !status.Authenticated || status.User.Username != want {
				s.Errorf("user %q, %s", status.User.Username, status.Error)
			}
			name, id := status.User.Extra["authentication.kubernetes.io/pod-name"], status.User.Extra["authentication.kubernetes.io/pod-uid"]
			if fmt.Sprint(name, id) != fmt.Sprintf("[bound] [%s]", p.UID) {
				s.Errorf("bound to %v, %v", name, id)
			}
		}},
		{"A pod's token is not valid any more when the pod is gone", boundTokens, func(s *scene) {
			s.start(idle("gone"))
			token := s.run("gone", "cat "+tokenFile)
			if !s.review(token).Authenticated {
				s.Error("the token is not valid while the pod is there")
			}
			s.delete("gone", graceful())
			s.podGone("gone")
			s.eventually("the token is refused", func() error { // The API server remembers for seconds.
				if s.review(token).Authenticated {
					return errors.New("it is valid")
				}
				return nil
			})
		}},
		{"A projected token is for the audience it names, and for no other", accountPage + "#launch-a-pod-using-service-account-token-projection", func(s *scene) {
			p := mounted(idle("audience"), "token", corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
				{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "vault", Audience: "vault", ExpirationSeconds: ptr.To[int64](600)}},
			}}}, corev1.VolumeMount{MountPath: "/token"})
			s.start(p)
			token := s.run("audience", "cat /token/vault")
			if status := s.review(token, "vault"); !status.Authenticated || strings.Join(status.Audiences, " ") != "vault" {
				s.Errorf("for vault: %+v", status)
			}
			if status := s.review(token); status.Authenticated {
				s.Errorf("for the API server: %+v", status)
			}
		}},
		{"automountServiceAccountToken: false leaves the token away", accountPage + "#opt-out-of-api-credential-automounting", func(s *scene) {
			p := idle("without")
			p.Spec.AutomountServiceAccountToken = ptr.To(false)
			s.start(p)
			if err := s.try("without", "test", "-e", tokenFile); err == nil {
				s.Error("there is a token")
			}
		}},
		{"Beside the token are the namespace and a CA certificate that the API server is verified by", "tasks/run-application/access-api-from-pod/#directly-accessing-the-rest-api", func(s *scene) {
			s.start(idle("asks"))
			if out := s.run("asks", "cd "+strings.TrimSuffix(tokenFile, "/token")+"; cat namespace; echo; head -1 ca.crt"); out != s.namespace+"\n-----BEGIN CERTIFICATE-----" {
				s.Errorf("%q", out)
			}
		}},
		{"A pod may do what RBAC gives its account, and nothing else", "reference/access-authn-authz/rbac/#service-account-permissions", func(s *scene) {
			_, err := s.client.RbacV1().Roles(s.namespace).Create(s.ctx, &rbacv1.Role{
				ObjectMeta: metav1.ObjectMeta{Name: "reader"},
				Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"list"}}},
			}, metav1.CreateOptions{})
			s.must(err)
			_, err = s.client.RbacV1().RoleBindings(s.namespace).Create(s.ctx, &rbacv1.RoleBinding{
				ObjectMeta: metav1.ObjectMeta{Name: "reader"},
				RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "reader"},
				Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: "default", Namespace: s.namespace}},
			}, metav1.CreateOptions{})
			s.must(err)
			// The actor is also a client, as pods have it: all it knows is what is mounted.
			s.start(idle("asks"))
			ask := func(resource string) string { return s.run("asks", "/actor list "+resource+" || true") }
			s.eventually("the role is known", func() error {
				if out := ask("configmaps"); !strings.Contains(out, "kube-root-ca.crt") {
					return errors.New(out)
				}
				return nil
			})
			if out := ask("secrets"); !strings.Contains(out, "forbidden") {
				s.Error(out)
			}
		}},
	}
}
