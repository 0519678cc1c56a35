package kubesource

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
	"github.com/xinhari/xinhari/internal/kubekinds"
	"github.com/xinhari/xinhari/internal/pemfile"
	"github.com/xinhari/xinhari/pkg/identity"
)

const (
	resource = "certificatesigningrequests"

	// tooManyRequests is the signer's reason to deny what a later request may get.
	tooManyRequests = "TooManyRequests"

	maxHint = 63 // of the pod's name in that of a request, which may have 128 characters in all
)

// Issue asks once and waits for the verdict. The Source asks again when there
// is none, or a bad one.
func (d *driver) Issue(ctx context.Context, r identity.Request) (identity.Issued, error) {
	text, err := encodeRequest(r.Key)
	if err != nil {
		return identity.Issued{}, err
	}
	asked, err := d.create(ctx, text, r.BundleHash)
	if err != nil {
		r.Waiting(err)
		d.holdBack(ctx, err)
		return identity.Issued{}, err
	}
	chain, basis, err := d.await(ctx, asked, r)
	if err != nil {
		return identity.Issued{}, err
	}
	id, err := d.check(chain[0])
	if err != nil {
		return identity.Issued{}, err
	}
	d.mu.Lock()
	d.account = id.ServiceAccount
	d.mu.Unlock()
	d.services.issued(id, basis)
	return identity.Issued{Chain: chain}, nil
}

// holdBack waits as long as an API server asks its clients to.
func (d *driver) holdBack(ctx context.Context, err error) {
	seconds, asked := apierrors.SuggestsClientDelay(err)
	if !asked && apierrors.IsTooManyRequests(err) {
		seconds = 1
	}
	if seconds > 0 {
		sleep(ctx, min(time.Duration(seconds)*time.Second, d.timing.excess))
	}
}

// encodeRequest returns a request that says nothing but which key is meant: the
// signer knows the rest better.
func encodeRequest(key crypto.Signer) ([]byte, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), nil
}

// create makes a request object. It does not try again: when an answer is lost
// nobody knows what became of the request, and the next one has another name.
func (d *driver) create(ctx context.Context, text []byte, bundle string) (*kubekinds.CertificateSigningRequest, error) {
	annotations := map[string]string{xinhariv1alpha1.AnnotationSource: d.source}
	if bundle != "" {
		annotations[xinhariv1alpha1.AnnotationBundleHash] = bundle
	}
	host, _ := os.Hostname() // a hint for people only
	wanted := &kubekinds.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{Name: requestName(host), Annotations: annotations},
		Spec: kubekinds.CertificateSigningRequestSpec{
			Request:    text,
			SignerName: xinhariv1alpha1.SignerName,
			Usages:     []kubekinds.KeyUsage{kubekinds.UsageDigitalSignature, kubekinds.UsageClientAuth, kubekinds.UsageServerAuth},
		},
	}
	bounded, cancel := context.WithTimeout(ctx, d.timing.answer)
	defer cancel()
	made := new(kubekinds.CertificateSigningRequest)
	err := d.requests.Post().Resource(resource).VersionedParams(&metav1.CreateOptions{}, d.parameter).MaxRetries(0).Body(wanted).Do(bounded).Into(made)
	return made, d.explain(ctx, "create", err)
}

// requestName returns a new name that begins with the pod's, as far as it can.
func requestName(pod string) string {
	hint := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '-'
	}, pod)
	hint = strings.Trim(hint[:min(len(hint), maxHint)], "-")
	if hint != "" {
		hint += "-"
	}
	return xinhariv1alpha1.RequestPrefix + hint + strings.ToLower(rand.Text())
}

// await looks at a request until there is a verdict, or the request is gone. It
// returns the certificate and what it was made of.
func (d *driver) await(ctx context.Context, asked *kubekinds.CertificateSigningRequest, r identity.Request) ([]*x509.Certificate, basis, error) {
	began := time.Now()
	var p pace
	var took time.Duration
	version := asked.ResourceVersion
	for {
		if !sleep(ctx, p.next(took)) {
			return nil, "", ctx.Err()
		}
		looked := time.Now()
		live, err := d.get(ctx, asked.Name, version)
		took = time.Since(looked)
		switch {
		case ctx.Err() != nil:
			return nil, "", ctx.Err()
		case apierrors.IsNotFound(err), err == nil && live.UID != asked.UID:
			return nil, "", fmt.Errorf("request %s was deleted before there was a verdict: another one follows", asked.Name)
		case err != nil:
			r.Waiting(fmt.Errorf("request %s: %w", asked.Name, err))
			d.holdBack(ctx, err)
			version = "" // a database that was restored may never reach it again
			continue
		}
		chain, err := verdict(live)
		if denied := new(denial); errors.As(err, &denied) && denied.reason == tooManyRequests {
			r.Waiting(err)
			sleep(ctx, d.timing.excess)
		}
		if chain != nil || err != nil {
			return chain, basisOf(live), err
		}
		if time.Since(began) < d.timing.quiet {
			r.Waiting(nil)
		} else {
			r.Waiting(fmt.Errorf("request %s: %s", asked.Name, d.pending()))
		}
	}
}

// get reads a request as it is or was since version, which may come from the API
// server's memory and costs its database nothing; "" is as it is.
func (d *driver) get(ctx context.Context, name, version string) (*kubekinds.CertificateSigningRequest, error) {
	bounded, cancel := context.WithTimeout(ctx, d.timing.answer)
	defer cancel()
	live := new(kubekinds.CertificateSigningRequest)
	err := d.requests.Get().Resource(resource).Name(name).
		VersionedParams(&metav1.GetOptions{ResourceVersion: version}, d.parameter).MaxRetries(0).Do(bounded).Into(live)
	return live, d.explain(ctx, "get", err)
}

// denial is a verdict against a request.
type denial struct{ name, verb, reason, message string }

// Error implements error.
func (d *denial) Error() string {
	return fmt.Sprintf("request %s %s (%s): %s", d.name, d.verb, d.reason, d.message)
}

// verdict returns the certificate of a request, or why there will be none; nil
// and nil while it is pending.
func verdict(r *kubekinds.CertificateSigningRequest) ([]*x509.Certificate, error) {
	for _, c := range r.Status.Conditions {
		switch {
		case c.Status != metav1.ConditionTrue:
		case c.Type == kubekinds.CertificateDenied:
			return nil, fmt.Errorf("%w: %w", identity.ErrRefused, &denial{r.Name, "was denied", c.Reason, c.Message})
		case c.Type == kubekinds.CertificateFailed:
			return nil, fmt.Errorf("%w: %w", identity.ErrRefused, &denial{r.Name, "failed", c.Reason, c.Message})
		}
	}
	if len(r.Status.Certificate) == 0 {
		return nil, nil
	}
	chain, err := pemfile.Certificates(r.Status.Certificate)
	if err != nil {
		return nil, fmt.Errorf("%w: request %s: %w", identity.ErrRefused, r.Name, err)
	}
	return chain, nil
}

// basisOf returns what the certificate of a request was made of.
func basisOf(r *kubekinds.CertificateSigningRequest) basis {
	for _, c := range r.Status.Conditions {
		if c.Type == xinhariv1alpha1.ConditionBasis && c.Status == metav1.ConditionTrue {
			return basis(c.Message)
		}
	}
	return ""
}

// check holds a certificate to what is known of this process; the Source does
// the rest.
func (d *driver) check(leaf *x509.Certificate) (identity.ID, error) {
	id, err := identity.IDOf(leaf)
	if err != nil {
		return identity.ID{}, err
	}
	d.mu.Lock()
	trustDomain, account := d.trustDomain, d.account
	d.mu.Unlock()
	switch {
	case trustDomain != "" && id.TrustDomain != trustDomain:
		return identity.ID{}, fmt.Errorf("%w: %s is not of trust domain %s, which %s of ConfigMap %s/%s names: has the operator been installed anew with another one? restart it, and then this pod",
			identity.ErrRefused, id, trustDomain, xinhariv1alpha1.KeyTrustDomain, d.namespace, xinhariv1alpha1.RuntimeConfigMap)
	case id.Namespace != d.namespace, account != "" && id.ServiceAccount != account:
		return identity.ID{}, fmt.Errorf("%w: %s is not this pod's, which is of account %q of namespace %s", identity.ErrRefused, id, account, d.namespace)
	}
	return id, nil
}

// explain says of an API server's answer what a person can do about it.
func (d *driver) explain(ctx context.Context, verb string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
		return fmt.Errorf("the API server does not answer within %s: %w", d.timing.answer, err)
	case apierrors.IsUnauthorized(err):
		return badToken(err)
	case apierrors.IsForbidden(err):
		return fmt.Errorf("no permission to %s %s.%s: the chart gives it to every ServiceAccount, by ClusterRole and ClusterRoleBinding xinhari-requester: install it: %w",
			verb, resource, kubekinds.Certificates().Group, err)
	case verb == "create" && apierrors.IsNotFound(err):
		return fmt.Errorf("the API server has no %s.%s: %w", resource, kubekinds.Certificates().Group, err)
	}
	return fmt.Errorf("%s %s: %w", verb, resource, err)
}

// badToken says of an answer 401 what may be the matter.
func badToken(err error) error {
	return fmt.Errorf("the API server does not take this pod's token: has the pod or its ServiceAccount been deleted, or is the token not the one that Kubernetes mounts? %w", err)
}
