package certmanager

import (
	"strings"
	"time"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	certmanagerv1ac "github.com/cert-manager/cert-manager/pkg/client/applyconfigurations/certmanager/v1"
	cmmetav1ac "github.com/cert-manager/cert-manager/pkg/client/applyconfigurations/meta/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
)

// desired returns the Certificate that is asked for. It goes with owner, if there is one.
func desired(namespace, trustDomain string, o Options, owner *rbacv1.Role) *certmanagerv1ac.CertificateApplyConfiguration {
	o = o.withDefaults()
	labels := map[string]string{xinhariv1alpha1.LabelManagedBy: xinhariv1alpha1.ManagedBy}
	// cert-manager copies usages into the certificate as they are; those of a CA are these.
	usages := []certmanagerv1.KeyUsage{certmanagerv1.UsageCertSign, certmanagerv1.UsageCRLSign, certmanagerv1.UsageDigitalSignature}
	if !o.Unconstrained {
		// Of an intermediate, these limit what it may sign for.
		usages = append(usages, certmanagerv1.UsageServerAuth, certmanagerv1.UsageClientAuth)
	}
	spec := certmanagerv1ac.CertificateSpec().
		WithSecretName(SecretName).
		WithSecretTemplate(certmanagerv1ac.CertificateSecretTemplate().WithLabels(labels)).
		WithIssuerRef(cmmetav1ac.IssuerReference().WithName(o.Issuer).WithKind(o.Kind).WithGroup(o.Group)).
		WithIsCA(true).
		WithCommonName(short("Xinhari issuer of " + trustDomain)).
		WithSubject(certmanagerv1ac.X509Subject().WithOrganizations(short(trustDomain))).
		WithDuration(metav1.Duration{Duration: o.Duration}).
		WithRenewBefore(metav1.Duration{Duration: o.RenewBefore}).
		WithUsages(usages...).
		WithPrivateKey(certmanagerv1ac.CertificatePrivateKey().
			WithAlgorithm(certmanagerv1.ECDSAKeyAlgorithm).WithSize(256).
			WithEncoding(certmanagerv1.PKCS8).
			WithRotationPolicy(certmanagerv1.RotationPolicyAlways))
	if !o.Unconstrained {
		spec.WithNameConstraints(constraints(trustDomain))
	}
	c := certmanagerv1ac.Certificate(Name, namespace).WithLabels(labels).WithSpec(spec)
	if owner != nil {
		c.WithOwnerReferences(metav1ac.OwnerReference().
			WithAPIVersion(rbacv1.SchemeGroupVersion.String()).WithKind("Role").WithName(owner.Name).WithUID(owner.UID))
	}
	return c
}

// constraints keep the intermediate to what the operator signs: identities of the trust domain, and names of Services in the
// cluster. Where its root is known beyond the cluster, its key, if stolen, vouches for nothing there.
func constraints(trustDomain string) *certmanagerv1ac.NameConstraintsApplyConfiguration {
	return certmanagerv1ac.NameConstraints().WithCritical(true).
		WithPermitted(certmanagerv1ac.NameConstraintItem().WithURIDomains(trustDomain).WithDNSDomains("svc")).
		// Kinds of names that no constraint speaks of are all permitted.
		WithExcluded(certmanagerv1ac.NameConstraintItem().WithIPRanges("0.0.0.0/0", "::/0"))
}

// short returns what fits into a common name and an organization's, RFC 5280 appendix A.
func short(s string) string { return s[:min(len(s), 64)] }

// event tells an outcome at the Certificate, which may not be there.
func event(namespace string, is outcome, now time.Time) *eventsv1.Event {
	e := &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: Name + "-"},
		EventTime:  metav1.NewMicroTime(now), ReportingController: xinhariv1alpha1.FieldOwner, ReportingInstance: xinhariv1alpha1.FieldOwner,
		Regarding: corev1.ObjectReference{
			APIVersion: certmanagerv1.SchemeGroupVersion.String(), Kind: certmanagerv1.CertificateKind, Namespace: namespace, Name: Name,
		},
		Type: corev1.EventTypeWarning, Action: "Issue", Reason: is.reason, Note: is.message,
	}
	if is.ready() {
		e.Type = corev1.EventTypeNormal
	}
	const most = 1000 // the API server takes 1024
	if len(e.Note) > most {
		e.Note = strings.ToValidUTF8(e.Note[:most], "") + "…"
	}
	return e
}
