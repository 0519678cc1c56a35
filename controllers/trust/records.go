package trust

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
)

// Recorded says whether what a signed request tells is in the records, so that the request may go. It is so on the leader
// alone, since the others record nothing.
func (c *Controller) Recorded(r *certificatesv1.CertificateSigningRequest) bool {
	return c.ledger.recorded(r.UID)
}

// restore reads the records that there are.
func (c *Controller) restore(ctx context.Context) error {
	for i := range shards {
		page := new(corev1.ConfigMap)
		if err := c.live.Get(ctx, c.shard(i), page); err != nil {
			if apierrors.IsNotFound(err) {
				continue
			}
			return fmt.Errorf("records: %w", err)
		}
		c.pages[i] = page
		c.takeUp(ctx, page)
	}
	return nil
}

func (c *Controller) takeUp(ctx context.Context, page *corev1.ConfigMap) {
	for key, value := range page.Data {
		h, err := parseRecord(key, value)
		if err != nil {
			log.FromContext(ctx).Info("a record is left out", "configMap", page.Name, "problem", err.Error())
			continue
		}
		if h.Ends.After(c.now()) {
			c.ledger.restore(h)
		}
	}
}

func (c *Controller) shard(i int) client.ObjectKey {
	return client.ObjectKey{Namespace: c.namespace, Name: shardName(i)}
}

// fold takes up the requests that were signed since it was called last.
func (c *Controller) fold(ctx context.Context, w *world) error {
	var list certificatesv1.CertificateSigningRequestList
	if err := c.client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return err
	}
	roots := w.roots()
	there := make(map[types.UID]bool, len(list.Items))
	for i := range list.Items {
		r := &list.Items[i]
		if len(r.Status.Certificate) == 0 || r.Spec.SignerName != xinhariv1alpha1.SignerName {
			continue
		}
		there[r.UID] = true
		if !c.ledger.knows(r.UID) {
			c.ledger.fold(r.UID, holderOf(r, roots), c.now())
		}
	}
	c.ledger.keep(there)
	return nil
}

// flush writes the records that changed, each ConfigMap at once.
func (c *Controller) flush(ctx context.Context) error {
	var errs []error
	for i, data := range c.ledger.pages(c.now()) {
		if err := c.writePage(ctx, i, data); err != nil {
			errs = append(errs, fmt.Errorf("records %s: %w", shardName(i), err))
			continue
		}
		c.ledger.written(i)
	}
	if len(errs) == 0 {
		c.ledger.flushed()
	}
	return errors.Join(errs...)
}

func (c *Controller) writePage(ctx context.Context, i int, data map[string]string) error {
	page := c.pages[i]
	if page == nil {
		if len(data) == 0 {
			return nil
		}
		page = &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: shardName(i), Namespace: c.namespace}}
	}
	if page.ResourceVersion != "" && maps.Equal(page.Data, data) {
		return nil
	}
	page = page.DeepCopy()
	page.Data = data
	err := c.put(ctx, page)
	switch {
	case err == nil:
		c.pages[i] = page
		return nil
	case apierrors.IsNotFound(err):
		c.pages[i] = nil
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err):
		// Someone else wrote it, perhaps the leader before: what it knew is taken up, and written with the next flush.
		live := new(corev1.ConfigMap)
		if err := c.live.Get(ctx, c.shard(i), live); err != nil {
			return err
		}
		c.pages[i] = live
		c.takeUp(ctx, live)
	}
	return err
}

// visit asks after the pods of some of those who are waited for: who is gone is not waited for. That is recorded before
// anything follows from it, or a leader that took over would wait again.
func (c *Controller) visit(ctx context.Context, waiting []*Holder) (anyGone bool, err error) {
	const most = 50
	if len(waiting) == 0 || time.Until(c.looked.Add(5*c.pace)) > 0 {
		return false, nil
	}
	c.looked = time.Now()
	seen := map[string]bool{}
	waiting = slices.DeleteFunc(slices.Clone(waiting), func(h *Holder) bool { return h.UID == "" }) // an object's readers are in no one pod
	slices.SortFunc(waiting, func(a, b *Holder) int { return cmp.Compare(a.key(), b.key()) })
	next, _ := slices.BinarySearchFunc(waiting, c.visited, func(h *Holder, key string) int { return cmp.Compare(h.key(), key) })
	for i := range waiting {
		h := waiting[(next+i)%len(waiting)]
		if seen[h.UID] {
			continue
		}
		if c.visited = h.key(); len(seen) == most {
			break
		}
		seen[h.UID] = true
		pod := new(corev1.Pod)
		err := c.live.Get(ctx, client.ObjectKey{Namespace: h.Namespace, Name: h.Pod}, pod)
		if err != nil && !apierrors.IsNotFound(err) {
			return false, fmt.Errorf("pod %s/%s: %w", h.Namespace, h.Pod, err)
		}
		if err != nil || string(pod.UID) != h.UID || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
			c.ledger.gone(h.UID)
			anyGone = true
		}
	}
	if !anyGone {
		return false, nil
	}
	return true, c.flush(ctx)
}
