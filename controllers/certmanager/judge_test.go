package certmanager

import (
	"strings"
	"testing"
	"time"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmetav1 "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/xinhari/xinhari/controllers/signer/issuer"
)

var now = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

const (
	yes = cmmetav1.ConditionTrue
	no  = cmmetav1.ConditionFalse
)

// with returns a Certificate of generation 2 with conditions of it.
func with(conditions ...certmanagerv1.CertificateCondition) *certmanagerv1.Certificate {
	c := &certmanagerv1.Certificate{ObjectMeta: metav1.ObjectMeta{Name: Name, UID: "ours", Generation: 2}}
	for _, is := range conditions {
		is.ObservedGeneration = 2
		c.Status.Conditions = append(c.Status.Conditions, is)
	}
	return c
}

func is(kind certmanagerv1.CertificateConditionType, status cmmetav1.ConditionStatus, reason, message string) certmanagerv1.CertificateCondition {
	return certmanagerv1.CertificateCondition{Type: kind, Status: status, Reason: reason, Message: message}
}

// requested returns a request of a Certificate, with conditions.
func requested(by types.UID, revision string, conditions ...certmanagerv1.CertificateRequestCondition) certmanagerv1.CertificateRequest {
	return certmanagerv1.CertificateRequest{
		ObjectMeta: metav1.ObjectMeta{
			Name: "request-" + revision, Annotations: map[string]string{certmanagerv1.CertificateRequestRevisionAnnotationKey: revision},
			OwnerReferences: []metav1.OwnerReference{{UID: by, Controller: new(true)}},
		},
		Spec:   certmanagerv1.CertificateRequestSpec{IssuerRef: cmmetav1.IssuerReference{Name: "root", Kind: "ClusterIssuer", Group: "cert-manager.io"}},
		Status: certmanagerv1.CertificateRequestStatus{Conditions: conditions},
	}
}

func requestIs(kind certmanagerv1.CertificateRequestConditionType, status cmmetav1.ConditionStatus, reason, message string) certmanagerv1.CertificateRequestCondition {
	return certmanagerv1.CertificateRequestCondition{Type: kind, Status: status, Reason: reason, Message: message}
}

func TestJudgeCertificate(t *testing.T) {
	missing := is(certmanagerv1.CertificateConditionReady, no, "DoesNotExist", "no Secret")
	ready := is(certmanagerv1.CertificateConditionReady, yes, "Ready", "up to date")
	failed := is(certmanagerv1.CertificateConditionIssuing, no, "Failed", "Vault is sealed")
	approved := requestIs(certmanagerv1.CertificateRequestConditionApproved, yes, "cert-manager.io", "approved")
	pending := requestIs(certmanagerv1.CertificateRequestConditionReady, no, "Pending", "not found")
	renewing := func(c *certmanagerv1.Certificate, at time.Time) *certmanagerv1.Certificate {
		c.Status.RenewalTime = &metav1.Time{Time: at}
		return c
	}
	older := with(ready)
	older.Generation = 3
	for _, test := range []struct {
		name     string
		cert     *certmanagerv1.Certificate
		requests []certmanagerv1.CertificateRequest
		reason   string
		message  string
	}{
		{"nobody looked", with(), nil, ReasonWaiting, "do its controllers run?"},
		{"nobody looked since it changed", older, nil, ReasonWaiting, "has not looked at it since"},
		{"no request yet", with(missing), nil, ReasonNotIssued, "DoesNotExist: no Secret"},
		{"an issuer that is not there", with(missing), []certmanagerv1.CertificateRequest{requested("ours", "1", approved, pending)}, ReasonNotIssued, "request request-1: Pending: not found"},
		{"nobody approved", with(missing), []certmanagerv1.CertificateRequest{requested("ours", "1")}, ReasonNotIssued, "request-1 waits for approval"},
		{"nobody signs", with(missing), []certmanagerv1.CertificateRequest{requested("ours", "1", approved)}, ReasonNotIssued, "ClusterIssuer root of cert-manager.io to take it up"},
		{"denied", with(missing), []certmanagerv1.CertificateRequest{requested("ours", "1",
			requestIs(certmanagerv1.CertificateRequestConditionDenied, yes, "Policy", "no CAs"), requestIs(certmanagerv1.CertificateRequestConditionReady, no, "Denied", "denied"))},
			ReasonNotIssued, "Policy: no CAs"},
		{"invalid", with(missing), []certmanagerv1.CertificateRequest{requested("ours", "1", approved,
			requestIs(certmanagerv1.CertificateRequestConditionInvalidRequest, yes, "Invalid", "no such usage"), pending)}, ReasonNotIssued, "Invalid: no such usage"},
		{"failed, and the request is gone", with(failed, missing), nil, ReasonNotIssued, "Failed: Vault is sealed"},
		{"the last request counts", with(missing), []certmanagerv1.CertificateRequest{requested("ours", "9", approved), requested("ours", "10", approved, pending)},
			ReasonNotIssued, "request-10: Pending"},
		{"another's request does not", with(missing), []certmanagerv1.CertificateRequest{requested("theirs", "1", approved, pending)}, ReasonNotIssued, "DoesNotExist"},
		{"ready", with(ready), nil, ReasonIssued, ""},
		{"to be renewed now", renewing(with(ready), now.Add(-overdue)), nil, ReasonIssued, ""},
		{"not renewed", renewing(with(ready), now.Add(-overdue-time.Second)), []certmanagerv1.CertificateRequest{requested("ours", "2", approved, pending)},
			ReasonRenewalOverdue, "at 2026-05-04T02:52:00Z: request request-2: Pending: not found"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := judgeCertificate(test.cert, test.requests, now)
			if got.reason != test.reason || !strings.Contains(got.message, test.message) {
				t.Errorf("%s: %s, want %s: …%s", got.reason, got.message, test.reason, test.message)
			}
		})
	}
}

func TestJudgeSecret(t *testing.T) {
	made := func(change func(map[string][]byte)) map[string][]byte {
		data, err := issuer.New("cluster.local", now)
		if err != nil {
			t.Fatal(err)
		}
		change(data)
		return data
	}
	other, err := issuer.New("cluster.local", now)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name    string
		data    map[string][]byte
		at      time.Time
		reason  string
		message string
	}{
		{"a CA", made(func(map[string][]byte) {}), now, ReasonIssued, "can sign until " + now.Add(issuer.Life).Format(time.RFC3339)},
		{"nothing", nil, now, ReasonUnusable, "no ca.crt"},
		{"no root", made(func(d map[string][]byte) { delete(d, issuer.KeyRoots) }), now, ReasonUnusable, "no ca.crt"},
		{"another's key", made(func(d map[string][]byte) { d[corev1.TLSPrivateKeyKey] = other[corev1.TLSPrivateKeyKey] }), now, ReasonUnusable, "does not match"},
		{"a root that it is not under", made(func(d map[string][]byte) { d[issuer.KeyRoots] = other[issuer.KeyRoots] }), now, ReasonUnusable, "does not verify"},
		{"one that ended", made(func(map[string][]byte) {}), now.Add(issuer.Life + time.Hour), ReasonUnusable, "expired"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := judgeSecret(test.data, test.at)
			if got.reason != test.reason || !strings.Contains(got.message, test.message) {
				t.Errorf("%s: %s, want %s: …%s", got.reason, got.message, test.reason, test.message)
			}
		})
	}
}
