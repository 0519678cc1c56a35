package kubecatalog_test

import (
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/xinhari/xinhari/internal/apiservertest"
	"github.com/xinhari/xinhari/pkg/catalog"
	"github.com/xinhari/xinhari/pkg/catalog/catalogtest"
	"github.com/xinhari/xinhari/pkg/catalog/kubecatalog"
)

func TestConformance(t *testing.T) {
	server := apiservertest.New(t, apiservertest.Options{CRDs: filepath.Join("..", "..", "..", "config", "crd")})
	catalogtest.Run(t, func(t testing.TB) *catalogtest.World {
		link, config := apiservertest.NewLink(t, server.Admin)
		c, err := kubecatalog.New(config, nil)
		if err != nil {
			t.Fatal(err)
		}
		admin := server.Client(t)
		namespace := func() string {
			ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "w-"}}
			if err := admin.Create(t.Context(), ns); err != nil {
				t.Fatal(err)
			}
			return ns.Name
		}
		return &catalogtest.World{
			Catalog:   c,
			Namespace: namespace(),
			Other:     namespace(),
			Put: func(o catalog.Object) {
				t.Helper()
				existing := o.DeepCopyObject().(client.Object)
				err := admin.Get(t.Context(), client.ObjectKeyFromObject(o), existing)
				switch {
				case client.IgnoreNotFound(err) != nil:
				case err != nil:
					err = admin.Create(t.Context(), o)
				default:
					o.SetResourceVersion(existing.GetResourceVersion())
					err = admin.Update(t.Context(), o)
				}
				if err != nil {
					t.Fatal(err)
				}
			},
			Remove: func(o catalog.Object) {
				t.Helper()
				if err := admin.Delete(t.Context(), o); err != nil {
					t.Fatal(err)
				}
			},
			Lose: link.Cut,
			Find: link.Heal,
		}
	},
		// client-go keeps idle connections for its next client.
		goleak.IgnoreAnyFunction("golang.org/x/net/http2.(*ClientConn).readLoop"))
}
