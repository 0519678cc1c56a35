package conformance

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
)

// label gives the case's namespace a label.
func (s *scene) label(key, value string) {
	s.Helper()
	_, err := s.client.CoreV1().Namespaces().Patch(s.ctx, s.namespace, types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"labels":{%q:%q}}}`, key, value), metav1.PatchOptions{})
	s.must(err)
}

// refuses fails the case unless the pod is refused with words.
func (s *scene) refuses(p *corev1.Pod, words string) {
	s.Helper()
	_, err := s.client.CoreV1().Pods(s.namespace).Create(s.ctx, p, metav1.CreateOptions{})
	s.refused(err, words)
}

// request makes a signing request for a client certificate of user with a signer.
func (s *scene) request(signer, user string, usages ...certificatesv1.KeyUsage) string {
	s.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	s.must(err)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: user}}, key)
	s.must(err)
	made, err := s.client.CertificatesV1().CertificateSigningRequests().Create(s.ctx, &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "case-"},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			Request: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), SignerName: signer, Usages: usages,
		},
	}, metav1.CreateOptions{})
	s.must(err)
	return made.Name
}

func policies() []claim {
	return []claim{
		{"A ResourceQuota refuses what exceeds it, and counts what there is", "concepts/policy/resource-quotas/", func(s *scene) {
			quotas := s.client.CoreV1().ResourceQuotas(s.namespace)
			_, err := quotas.Create(s.ctx, &corev1.ResourceQuota{
				ObjectMeta: metav1.ObjectMeta{Name: "quota"},
				Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("1")}},
			}, metav1.CreateOptions{})
			s.must(err)
			used := func(want int64) func(*corev1.ResourceQuota) error {
				return func(q *corev1.ResourceQuota) error {
					if pods, ok := q.Status.Used[corev1.ResourcePods]; !ok || pods.Value() != want {
						return fmt.Errorf("used %v", q.Status.Used)
					}
					return nil
				}
			}
			await(s, quotas, "quota", used(0))
			s.start(idle("one"))
			s.refuses(idle("two"), "exceeded quota: quota")
			s.delete("one", graceful())
			await(s, quotas, "quota", used(0))
		}},
		{"A LimitRange gives defaults to containers and refuses what is beyond its bounds", "concepts/policy/limit-range/", func(s *scene) {
			_, err := s.client.CoreV1().LimitRanges(s.namespace).Create(s.ctx, &corev1.LimitRange{
				ObjectMeta: metav1.ObjectMeta{Name: "range"},
				Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{
					Type: corev1.LimitTypeContainer, DefaultRequest: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m")},
					Max: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")},
				}}},
			}, metav1.CreateOptions{})
			s.must(err)
			s.eventually("the range is known", func() error { // The API server learns of it from a watch.
				p := idle("probe")
				p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2")}
				_, err := s.client.CoreV1().Pods(s.namespace).Create(s.ctx, p, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
				if err == nil {
					return errors.New("a pod beyond it is admitted")
				}
				s.refused(err, "maximum cpu usage per Container is 1")
				return nil
			})
			p := s.start(idle("default"))
			got := p.Spec.Containers[0].Resources
			want := corev1.ResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m")},
				Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")},
			}
			if diff := cmp.Diff(want, got); diff != "" {
				s.Error(diff)
			}
		}},
		{"Pod security admission refuses in a restricted namespace what is not restricted", "concepts/security/pod-security-admission/", func(s *scene) {
			s.label("pod-security.kubernetes.io/enforce", "restricted")
			s.refuses(idle("open"), `violates PodSecurity "restricted`)
			p := idle("restricted")
			p.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsNonRoot: ptr.To(true), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}}
			p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{
				AllowPrivilegeEscalation: ptr.To(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			}
			s.start(p)
		}},
		{"A ValidatingAdmissionPolicy refuses by a CEL expression, with its message", "reference/access-authn-authz/validating-admission-policy/", func(s *scene) {
			policies := s.client.AdmissionregistrationV1()
			_, err := policies.ValidatingAdmissionPolicies().Create(s.ctx, &admissionv1.ValidatingAdmissionPolicy{
				ObjectMeta: metav1.ObjectMeta{Name: s.namespace},
				Spec: admissionv1.ValidatingAdmissionPolicySpec{
					MatchConstraints: &admissionv1.MatchResources{
						NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: s.namespace}},
						ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
							Operations: []admissionv1.OperationType{admissionv1.Create},
							Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
						}}},
					},
					Validations: []admissionv1.Validation{{Expression: "!object.metadata.name.startsWith('bad')", Message: "no bad names"}},
				},
			}, metav1.CreateOptions{})
			s.must(err)
			s.Cleanup(func() {
				ctx := context.Background()
				_ = policies.ValidatingAdmissionPolicies().Delete(ctx, s.namespace, metav1.DeleteOptions{})
				_ = policies.ValidatingAdmissionPolicyBindings().Delete(ctx, s.namespace, metav1.DeleteOptions{})
			})
			_, err = policies.ValidatingAdmissionPolicyBindings().Create(s.ctx, &admissionv1.ValidatingAdmissionPolicyBinding{
				ObjectMeta: metav1.ObjectMeta{Name: s.namespace},
				Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
					PolicyName: s.namespace, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny},
				},
			}, metav1.CreateOptions{})
			s.must(err)
			s.eventually("the policy is known", func() error {
				_, err := s.client.CoreV1().ConfigMaps(s.namespace).Create(s.ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "bad-"}}, metav1.CreateOptions{})
				if err == nil {
					return errors.New("a bad name is admitted")
				}
				s.refused(err, "no bad names")
				return nil
			})
			s.configMap("good", nil)
		}},
		{"A client certificate that was asked for and approved is one the API server accepts", "reference/access-authn-authz/certificate-signing-requests/#kubernetes-signers", func(s *scene) {
			name := s.request(certificatesv1.KubeAPIServerClientSignerName, "jane", certificatesv1.UsageClientAuth)
			requests := s.client.CertificatesV1().CertificateSigningRequests()
			made, err := requests.Get(s.ctx, name, metav1.GetOptions{})
			s.must(err)
			if len(made.Status.Certificate) > 0 {
				s.Error("signed before the approval")
			}
			s.succeeds("certificate", "approve", name)
			signed := await(s, requests, name, func(r *certificatesv1.CertificateSigningRequest) error {
				if len(r.Status.Certificate) == 0 {
					return fmt.Errorf("conditions %+v", r.Status.Conditions)
				}
				return nil
			})
			block, _ := pem.Decode(signed.Status.Certificate)
			leaf, err := x509.ParseCertificate(block.Bytes)
			s.must(err)
			if leaf.Subject.CommonName != "jane" || leaf.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth {
				s.Errorf("certificate of %s for %v", leaf.Subject, leaf.ExtKeyUsage)
			}
		}},
		{"A request that was denied is not signed", "reference/access-authn-authz/certificate-signing-requests/#request-signing-process", func(s *scene) {
			name := s.request(certificatesv1.KubeAPIServerClientSignerName, "jane", certificatesv1.UsageClientAuth)
			s.succeeds("certificate", "deny", name)
			out, code := s.kubectl("", "certificate", "approve", name)
			denied, err := s.client.CertificatesV1().CertificateSigningRequests().Get(s.ctx, name, metav1.GetOptions{})
			s.must(err)
			if code == 0 || len(denied.Status.Certificate) > 0 {
				s.Errorf("approved after the denial: %s", out)
			}
		}},
		{"A node may not change another node, or pods that are not its own", "reference/access-authn-authz/node/", func(s *scene) {
			config := rest.CopyConfig(s.config)
			config.Impersonate = rest.ImpersonationConfig{UserName: "system:node:node-1", Groups: []string{"system:nodes", "system:authenticated"}}
			node, err := kubernetes.NewForConfig(config)
			s.must(err)
			_, err = s.client.CoreV1().Nodes().Create(s.ctx, &corev1.Node{
				ObjectMeta: metav1.ObjectMeta{Name: s.namespace}, Spec: corev1.NodeSpec{Unschedulable: true},
			}, metav1.CreateOptions{})
			s.must(err)
			s.removeNode()
			patch := []byte(`{"metadata":{"annotations":{"a":"b"}}}`)
			_, err = node.CoreV1().Nodes().Patch(s.ctx, s.namespace, types.MergePatchType, patch, metav1.PatchOptions{})
			s.refused(err, "not allowed")
			s.secret("secret", map[string]string{"key": "value"})
			_, err = node.CoreV1().Secrets(s.namespace).Get(s.ctx, "secret", metav1.GetOptions{})
			s.refused(err, "no relationship found")
			uses := mounted(idle("uses"), "secret", corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "secret"}}, corev1.VolumeMount{MountPath: "/secret"})
			uses.Spec.NodeSelector = map[string]string{corev1.LabelHostname: "node-1"}
			s.start(uses)
			_, err = node.CoreV1().Secrets(s.namespace).Get(s.ctx, "secret", metav1.GetOptions{})
			s.must(err) // now that its pod uses it
		}},
		{"Who may not do something is told so by kubectl auth can-i", "reference/access-authn-authz/authorization/#checking-api-access", func(s *scene) {
			out, code := s.kubectl("", "auth", "can-i", "delete", "pods", "--as=system:serviceaccount:"+s.namespace+":default")
			if out != "no" || code != 1 {
				s.Errorf("exit code %d: %s", code, out)
			}
			review, err := s.client.AuthorizationV1().SubjectAccessReviews().Create(s.ctx, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
				User: "system:serviceaccount:" + s.namespace + ":default", ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: s.namespace, Verb: "delete", Resource: "pods"},
			}}, metav1.CreateOptions{})
			s.must(err)
			if review.Status.Allowed {
				s.Error("allowed")
			}
		}},
	}
}
