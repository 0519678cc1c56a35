package certmanager

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmetav1 "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/xinhari/xinhari/controllers/signer/issuer"
)

// Reasons of events and of the metric.
const (
	ReasonIssued         = "Issued"         // the intermediate is there and can sign
	ReasonNoCertManager  = "NoCertManager"  // the cluster has no Certificates
	ReasonNotOwned       = "NotOwned"       // the Certificate is someone else's
	ReasonRefused        = "Refused"        // the API server, or cert-manager's webhook, did not take the Certificate
	ReasonWaiting        = "Waiting"        // cert-manager has not looked at it
	ReasonNotIssued      = "NotIssued"      // cert-manager has not issued it, and says why
	ReasonUnusable       = "Unusable"       // what cert-manager issued cannot sign
	ReasonRenewalOverdue = "RenewalOverdue" // it can sign, and should have been renewed
)

// overdue is how long cert-manager gets for a renewal before people are told.
const overdue = 10 * time.Minute

// outcome is what became of the intermediate.
type outcome struct {
	reason  string
	message string
	renewal time.Time // when cert-manager renews it, if it says so
}

func (o outcome) ready() bool { return o.reason == ReasonIssued }

func because(reason, format string, args ...any) outcome {
	return outcome{reason: reason, message: fmt.Sprintf(format, args...)}
}

// judgeCertificate says how far cert-manager is with a Certificate, of whose requests these are.
func judgeCertificate(c *certmanagerv1.Certificate, requests []certmanagerv1.CertificateRequest, now time.Time) outcome {
	ready := condition(c, certmanagerv1.CertificateConditionReady)
	switch {
	case ready == nil:
		return because(ReasonWaiting, "cert-manager has not looked at the Certificate: do its controllers run?")
	case ready.ObservedGeneration < c.Generation:
		return because(ReasonWaiting, "the Certificate changed, and cert-manager has not looked at it since: do its controllers run?")
	case ready.Status != cmmetav1.ConditionTrue:
		return because(ReasonNotIssued, "cert-manager has not issued the intermediate: %s", why(c, requests))
	case c.Status.RenewalTime != nil && now.After(c.Status.RenewalTime.Add(overdue)):
		return because(ReasonRenewalOverdue, "cert-manager was to renew the intermediate at %s: %s",
			c.Status.RenewalTime.UTC().Format(time.RFC3339), why(c, requests))
	}
	return because(ReasonIssued, "cert-manager has issued the intermediate")
}

// why returns what cert-manager says about what it is at, or last failed at. That an issuer is missing, or cannot sign, or
// that a request was denied, it tells at the request, not at the Certificate.
func why(c *certmanagerv1.Certificate, requests []certmanagerv1.CertificateRequest) string {
	if r := newest(c, requests); r != nil {
		for _, kind := range []certmanagerv1.CertificateRequestConditionType{
			certmanagerv1.CertificateRequestConditionDenied, certmanagerv1.CertificateRequestConditionInvalidRequest,
		} {
			if is := requestCondition(r, kind); is != nil && is.Status == cmmetav1.ConditionTrue {
				return fmt.Sprintf("request %s: %s: %s", r.Name, is.Reason, is.Message)
			}
		}
		is := requestCondition(r, certmanagerv1.CertificateRequestConditionReady)
		switch {
		case is == nil && requestCondition(r, certmanagerv1.CertificateRequestConditionApproved) == nil:
			return fmt.Sprintf("request %s waits for approval", r.Name)
		case is == nil:
			return fmt.Sprintf("request %s waits for the %s %s of %s to take it up: do its controllers run?",
				r.Name, r.Spec.IssuerRef.Kind, r.Spec.IssuerRef.Name, r.Spec.IssuerRef.Group)
		case is.Status != cmmetav1.ConditionTrue:
			return fmt.Sprintf("request %s: %s: %s", r.Name, is.Reason, is.Message)
		}
	}
	for _, kind := range []certmanagerv1.CertificateConditionType{certmanagerv1.CertificateConditionIssuing, certmanagerv1.CertificateConditionReady} {
		if is := condition(c, kind); is != nil && is.Message != "" {
			return is.Reason + ": " + is.Message
		}
	}
	return "it does not say why"
}

// newest returns the Certificate's request of the last revision, or nil where it has none.
func newest(c *certmanagerv1.Certificate, requests []certmanagerv1.CertificateRequest) *certmanagerv1.CertificateRequest {
	var found *certmanagerv1.CertificateRequest
	for i := range requests {
		r := &requests[i]
		if metav1.IsControlledBy(r, c) && (found == nil || cmp.Or(
			cmp.Compare(revision(r), revision(found)), r.CreationTimestamp.Compare(found.CreationTimestamp.Time)) > 0) {
			found = r
		}
	}
	return found
}

// revision is 0 for what is no number.
func revision(r *certmanagerv1.CertificateRequest) int {
	n, err := strconv.Atoi(r.Annotations[certmanagerv1.CertificateRequestRevisionAnnotationKey])
	if err != nil {
		return 0
	}
	return n
}

func condition(c *certmanagerv1.Certificate, kind certmanagerv1.CertificateConditionType) *certmanagerv1.CertificateCondition {
	i := slices.IndexFunc(c.Status.Conditions, func(is certmanagerv1.CertificateCondition) bool { return is.Type == kind })
	if i < 0 {
		return nil
	}
	return &c.Status.Conditions[i]
}

func requestCondition(r *certmanagerv1.CertificateRequest, kind certmanagerv1.CertificateRequestConditionType) *certmanagerv1.CertificateRequestCondition {
	i := slices.IndexFunc(r.Status.Conditions, func(is certmanagerv1.CertificateRequestCondition) bool { return is.Type == kind })
	if i < 0 {
		return nil
	}
	return &r.Status.Conditions[i]
}

// judgeSecret says whether what cert-manager issued can sign, and until when.
func judgeSecret(data map[string][]byte, now time.Time) outcome {
	if len(data[issuer.KeyRoots]) == 0 {
		// cert-manager writes there what the issuer gives it, and some give nothing.
		return because(ReasonUnusable, "Secret %s has no %s: the issuer does not say what its root is, so nobody would know whom to trust; name one that does",
			SecretName, issuer.KeyRoots)
	}
	i, err := issuer.Parse(data)
	if err != nil {
		return because(ReasonUnusable, "Secret %s: %v", SecretName, err)
	}
	ends, err := i.Verify(now)
	if err != nil {
		return because(ReasonUnusable, "Secret %s: %v", SecretName, err)
	}
	return because(ReasonIssued, "%s, under the root %s, can sign until %s",
		i.Certificate().Subject, i.Roots()[0].Subject, ends.UTC().Format(time.RFC3339))
}
