package kubesource

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
	"github.com/xinhari/xinhari/internal/kubekinds"
	"github.com/xinhari/xinhari/internal/kubewatch"
	"github.com/xinhari/xinhari/internal/pemfile"
)

// WatchRoots follows the ConfigMap of the namespace. What cannot be read of it
// changes nothing.
func (d *driver) WatchRoots(ctx context.Context, set func([]*x509.Certificate), waiting func(error)) error {
	d.core.Watch(ctx, kubewatch.Query{
		Resource:  "configmaps",
		Namespace: d.namespace,
		Name:      xinhariv1alpha1.RuntimeConfigMap,
		List:      &kubekinds.ConfigMapList{},
		Example:   &kubekinds.ConfigMap{},
	}, func(s kubewatch.State) {
		roots, err := d.roots(s)
		if err != nil {
			waiting(err)
			return
		}
		set(roots)
	})
	return nil
}

// roots returns what the ConfigMap says, and notes the trust domain.
func (d *driver) roots(s kubewatch.State) ([]*x509.Certificate, error) {
	const name, key = xinhariv1alpha1.RuntimeConfigMap, xinhariv1alpha1.KeyTrustBundle
	var denied *kubewatch.PermissionError
	switch {
	case apierrors.IsUnauthorized(s.Err):
		return nil, fmt.Errorf("ConfigMap %s/%s: %w", d.namespace, name, badToken(s.Err))
	case errors.As(s.Err, &denied):
		return nil, fmt.Errorf("ConfigMap %s: the operator gives the right to read it to the accounts that Services name: %s; is the operator installed? %w",
			name, d.wanted(), s.Err)
	case s.Err != nil:
		return nil, fmt.Errorf("ConfigMap %s/%s: %w", d.namespace, name, s.Err)
	case len(s.Objects) != 1:
		return nil, fmt.Errorf("namespace %s has no ConfigMap %s with %s yet: the operator writes it where a Service is: %s; is the operator installed?",
			d.namespace, name, key, d.wanted())
	}
	data := s.Objects[0].(*kubekinds.ConfigMap).Data
	d.mu.Lock()
	d.trustDomain = data[xinhariv1alpha1.KeyTrustDomain]
	before := d.issuer
	if now := data[xinhariv1alpha1.KeyIssuer]; now != "" {
		d.issuer = now
	}
	another := before != "" && before != d.issuer
	d.mu.Unlock()
	if another {
		select {
		case d.reissue <- struct{}{}:
		default:
		}
	}
	text, ok := data[key]
	if !ok {
		return nil, fmt.Errorf("ConfigMap %s/%s has no %s yet: the operator writes it once it has an issuer: see its log", d.namespace, name, key)
	}
	roots, err := pemfile.Certificates([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("ConfigMap %s/%s: %s: %w: the last roots are kept", d.namespace, name, key, err)
	}
	return roots, nil
}
