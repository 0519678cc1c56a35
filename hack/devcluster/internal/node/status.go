package node

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	podutil "k8s.io/kubernetes/pkg/util/pod"

	"github.com/xinhari/xinhari/hack/devcluster/internal/node/pod"
)

// requestTimeout bounds a request to the API server.
const requestTimeout = 10 * time.Second

// reportAll tells the API of each change of the pod's status, until ctx ends.
func (w *worker) reportAll(ctx context.Context) {
	for {
		select {
		case <-w.report:
		case <-ctx.Done():
			return
		}
		w.retry(ctx, "report status", w.reportOnce)
	}
}

// finish tells the API the last status, and has it forget the pod.
func (w *worker) finish(ctx context.Context) {
	w.retry(ctx, "report status", w.reportOnce)
	w.retry(ctx, "delete pod", func(ctx context.Context) error {
		p := w.current()
		now, uid := int64(0), p.UID
		return w.agent.client.CoreV1().Pods(p.Namespace).Delete(ctx, p.Name, metav1.DeleteOptions{
			GracePeriodSeconds: &now,
			Preconditions:      &metav1.Preconditions{UID: &uid},
		})
	})
}

// retry does something with the API until it is done, the pod is gone, or ctx
// ends.
func (w *worker) retry(ctx context.Context, what string, do func(context.Context) error) {
	delay := firstRetry
	for {
		w.mu.Lock()
		absent := w.absent
		w.mu.Unlock()
		if absent || ctx.Err() != nil {
			return
		}
		limited, cancel := context.WithTimeout(ctx, requestTimeout)
		err := do(limited)
		cancel()
		if err == nil || apierrors.IsNotFound(err) {
			return
		}
		if apierrors.IsConflict(err) { // Another pod has the name now.
			return
		}
		w.agent.log.Debug(what, "pod", w.current().Name, "error", err)
		sleep(ctx, delay)
		delay = min(2*delay, lastRetry)
	}
}

// reportOnce patches the status if it is not what it should be.
func (w *worker) reportOnce(ctx context.Context) error {
	w.mu.Lock()
	p := w.pod
	want := pod.Status(p, w.observed, metav1.Now().Rfc3339Copy())
	if terminal(p) { // Of a run before this agent's.
		if len(w.observed.Containers) == 0 {
			w.mu.Unlock()
			return nil
		}
	}
	w.mu.Unlock()
	got, _, unchanged, err := podutil.PatchPodStatus(ctx, w.agent.client, p.Namespace, p.Name, p.UID, p.Status, want)
	if err != nil || unchanged {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if version(got) > version(w.pod) {
		w.pod = got
	}
	return nil
}
