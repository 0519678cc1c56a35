package signer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
	"github.com/xinhari/xinhari/controllers/internal/collector"
)

// workers is how many requests are in work at a time. Each is three round trips to the API server and half a millisecond of arithmetic.
const workers = 16

// Names of the cache's indexes of requests.
const (
	relatedIndex = "related" // by pod, and by public key
	pendingIndex = "pending" // those not finished, by namespace, and all under the empty one
)

// Register adds the controller to a manager.
func (c *Controller) Register(ctx context.Context, m ctrl.Manager) error {
	request := new(certificatesv1.CertificateSigningRequest)
	for name, index := range map[string]client.IndexerFunc{
		relatedIndex: func(o client.Object) []string { return indexed(o.(*certificatesv1.CertificateSigningRequest)) },
		pendingIndex: func(o client.Object) []string { return pendingIn(o.(*certificatesv1.CertificateSigningRequest)) },
	} {
		if err := m.GetFieldIndexer().IndexField(ctx, request, name, index); err != nil {
			return fmt.Errorf("indexing requests: %w", err)
		}
	}
	var err error
	if c.meter, err = collector.Register(metrics.Registry, c.meter); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	if err := m.Add(&gauge{c}); err != nil {
		return err
	}
	everyReplica := controller.Options{NeedLeaderElection: new(false), MaxConcurrentReconciles: workers}
	all := func(ctx context.Context) []reconcile.Request { return c.pending(ctx, "") }
	b := ctrl.NewControllerManagedBy(m)
	if c.signing != nil {
		b.WatchesRawSource(source.Kind(c.signing, &corev1.Secret{}, handler.TypedEnqueueRequestsFromMapFunc(
			func(ctx context.Context, _ *corev1.Secret) []reconcile.Request { return all(ctx) })))
	}
	return b.
		Named(c.Name()).
		Watches(request, &handler.EnqueueRequestForObject{}).
		Watches(&xinhariv1alpha1.Service{}, handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
			return c.pending(ctx, o.GetNamespace())
		}), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, _ client.Object) []reconcile.Request { return all(ctx) })).
		WithOptions(everyReplica).
		Complete(c)
}

// pending lists requests that are not finished from the cache, which cannot fail once it runs.
func (c *Controller) pending(ctx context.Context, namespace string) []reconcile.Request {
	var list certificatesv1.CertificateSigningRequestList
	if err := c.client.List(ctx, &list, client.MatchingFields{pendingIndex: namespace}); err != nil {
		return nil
	}
	requests := make([]reconcile.Request, 0, len(list.Items))
	for i := range list.Items {
		requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
	}
	return requests
}

// SourceOf returns what names the requester among those of its pod, or nothing where it named none.
func SourceOf(r *certificatesv1.CertificateSigningRequest) string {
	return digits(r.Annotations[xinhariv1alpha1.AnnotationSource], 16)
}

// BundleHashOf returns the hash of the trust bundle that the requester uses, or nothing where it named none.
func BundleHashOf(r *certificatesv1.CertificateSigningRequest) string {
	return digits(r.Annotations[xinhariv1alpha1.AnnotationBundleHash], 64)
}

// digits returns s if it is so many lower case hexadecimal digits. The admission policy lets nothing else in, where it was
// installed already.
func digits(s string, n int) string {
	if len(s) != n || strings.Trim(s, "0123456789abcdef") != "" {
		return ""
	}
	return s
}

// indexed returns the pod that a request came from and the public key that it holds, as keys of an index.
func indexed(r *certificatesv1.CertificateSigningRequest) []string {
	var keys []string
	if uid := extra(r, extraPodUID); uid != "" {
		keys = append(keys, "pod/"+uid)
	}
	if request, err := parse(r.Spec.Request); err == nil {
		sum := sha256.Sum256(request.RawSubjectPublicKeyInfo)
		keys = append(keys, "key/"+hex.EncodeToString(sum[:]))
	}
	return keys
}

func pendingIn(r *certificatesv1.CertificateSigningRequest) []string {
	if Finished(r) {
		return nil
	}
	claim, denial := ClaimOf(r)
	if denial != nil {
		return []string{""}
	}
	return []string{"", claim.Namespace}
}

// unique leaves each request once.
func unique(all []certificatesv1.CertificateSigningRequest) []certificatesv1.CertificateSigningRequest {
	seen := map[types.UID]bool{}
	var out []certificatesv1.CertificateSigningRequest
	for i := range all {
		if !seen[all[i].UID] {
			seen[all[i].UID] = true
			out = append(out, all[i])
		}
	}
	return out
}

// gauge keeps the metrics of the issuer current, also while nobody asks for anything.
type gauge struct{ *Controller }

// NeedLeaderElection says that every replica does this.
func (g *gauge) NeedLeaderElection() bool { return false }

// Start looks at the issuer from time to time until ctx ends.
func (g *gauge) Start(ctx context.Context) error {
	told := ""
	_ = wait.PollUntilContextCancel(ctx, lookAgain, true, func(ctx context.Context) (bool, error) {
		current, err := g.issuers.Issuer(ctx)
		g.meter.issuer(current)
		switch {
		case err == nil:
			told = ""
		case ctx.Err() == nil && err.Error() != told:
			told = err.Error()
			log.FromContext(ctx).WithName(g.Name()).Error(err, "no issuer")
		}
		return false, nil
	})
	return nil
}
