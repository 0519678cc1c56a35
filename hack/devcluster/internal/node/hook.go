package node

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	httpprobe "k8s.io/kubernetes/pkg/probe/http"

	"github.com/xinhari/xinhari/hack/devcluster/internal/node/runtime"
)

// hook runs a lifecycle hook. What an HTTP hook is answered does not matter,
// only that it is.
func (c *containerRun) hook(ctx context.Context, h *corev1.LifecycleHandler, running *runtime.Container) error {
	switch {
	case h.Sleep != nil:
		timer := time.NewTimer(time.Duration(h.Sleep.Seconds) * time.Second)
		defer timer.Stop()
		select {
		case <-running.Done():
		case <-ctx.Done():
		case <-timer.C:
		}
		return nil
	case h.Exec != nil:
		var output bytes.Buffer
		code, err := executor(running)(ctx, h.Exec.Command, &output)
		if err != nil {
			return err
		}
		if code != 0 {
			return fmt.Errorf("hook %q ended with exit code %d: %s", h.Exec.Command, code, output.String())
		}
		return nil
	case h.HTTPGet != nil:
		req, err := httpprobe.NewRequestForHTTPGetAction(h.HTTPGet, c.spec, c.sources.Facts.PodIP.String(), "lifecycle")
		if err != nil {
			return err
		}
		client := &http.Client{Transport: &http.Transport{
			DisableKeepAlives: true,
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // As documented.
		}}
		res, err := client.Do(req.WithContext(ctx))
		if err != nil {
			return err
		}
		return res.Body.Close()
	}
	return errors.New("hook is none that containers have: exec, httpGet and sleep are")
}
