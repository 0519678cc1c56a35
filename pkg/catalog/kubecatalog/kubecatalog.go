// Package kubecatalog reads the four kinds from the Kubernetes API.
package kubecatalog

import (
	"context"
	"fmt"
	"log/slog"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
	"github.com/xinhari/xinhari/internal/kubewatch"
	"github.com/xinhari/xinhari/pkg/catalog"
)

// New returns a catalog that asks the API server of config. logger may be nil.
func New(config *rest.Config, logger *slog.Logger) (*catalog.Catalog, error) {
	client, err := kubewatch.NewClient(config, xinhariv1alpha1.GroupVersion(), xinhariv1alpha1.AddToScheme, logger)
	if err != nil {
		return nil, fmt.Errorf("kubernetes catalog: %w", err)
	}
	return catalog.New(&driver{client: client}), nil
}

type driver struct{ client *kubewatch.Client }

func (*driver) Name() string { return "Kubernetes" }

func (d *driver) Watch(ctx context.Context, s catalog.Selection, set func(catalog.State)) error {
	q := kubewatch.Query{Namespace: s.Namespace, Name: s.Name}
	switch s.Kind {
	case catalog.Service:
		q.Resource, q.List, q.Example = "services", &xinhariv1alpha1.ServiceList{}, &xinhariv1alpha1.Service{}
	case catalog.AccessRule:
		q.Resource, q.List, q.Example = "accessrules", &xinhariv1alpha1.AccessRuleList{}, &xinhariv1alpha1.AccessRule{}
	case catalog.ConfigSource:
		q.Resource, q.List, q.Example = "configsources", &xinhariv1alpha1.ConfigSourceList{}, &xinhariv1alpha1.ConfigSource{}
	case catalog.Topic:
		q.Resource, q.List, q.Example = "topics", &xinhariv1alpha1.TopicList{}, &xinhariv1alpha1.Topic{}
	default:
		return fmt.Errorf("kubernetes catalog: kind %q", s.Kind)
	}
	d.client.Watch(ctx, q, func(state kubewatch.State) {
		objects := make([]catalog.Object, len(state.Objects))
		for i, o := range state.Objects {
			objects[i] = runtime.Object(o).(catalog.Object)
		}
		set(catalog.State{Objects: objects, Synced: state.Synced, Err: state.Err})
	})
	return nil
}
