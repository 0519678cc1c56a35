package envtest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
	"github.com/xinhari/xinhari/controllers"
	"github.com/xinhari/xinhari/controllers/signer"
	"github.com/xinhari/xinhari/pkg/catalog/kubecatalog"
	"github.com/xinhari/xinhari/pkg/identity/kubesource"
)

// BenchmarkKubesource measures from New to Ready, as each workload's start has it: its own connection to the API server, its
// roots, its Services, its certificate. API server, operator and workloads share the machine. The operator has all rights,
// and no admission policy is installed.
func BenchmarkKubesource(b *testing.B) {
	configs, namespace := fleet(b, 40)
	for _, load := range []struct {
		name       string
		every      time.Duration // between starts
		concurrent int
	}{
		{"20-a-second", 50 * time.Millisecond, 1000},
		{"64-at-a-time", 0, 64},
	} {
		b.Run(load.name, func(b *testing.B) {
			var mu sync.Mutex
			var took []time.Duration
			var running sync.WaitGroup
			places := make(chan struct{}, load.concurrent)
			pace := time.NewTicker(max(load.every, 1))
			defer pace.Stop()
			began := time.Now()
			for i := range b.N {
				<-pace.C
				places <- struct{}{}
				running.Go(func() {
					defer func() { <-places }()
					d, err := timeToReady(b.Context(), ownConnection(configs[i%len(configs)], i), namespace)
					if err != nil {
						b.Error(err)
					}
					mu.Lock()
					defer mu.Unlock()
					took = append(took, d)
				})
			}
			running.Wait()
			slices.Sort(took)
			milliseconds := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
			b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "certificates/s")
			b.ReportMetric(milliseconds(took[len(took)/2]), "p50-ms")
			b.ReportMetric(milliseconds(took[len(took)*99/100]), "p99-ms")
		})
	}
}

func timeToReady(ctx context.Context, config *rest.Config, namespace string) (time.Duration, error) {
	began := time.Now()
	all, err := kubecatalog.New(config, nil)
	if err != nil {
		return 0, err
	}
	s, err := kubesource.New(config, kubesource.Options{Namespace: namespace, Catalog: all})
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { _ = s.Run(ctx) })
	select {
	case <-s.Ready():
		return time.Since(began), nil
	case <-ctx.Done():
		return 0, fmt.Errorf("not ready: %w", s.Err())
	}
}

// ownConnection returns a configuration that client-go holds for another API server's, so that it does not share connections
// as the processes of a cluster do not.
func ownConnection(config *rest.Config, i int) *rest.Config {
	c := rest.CopyConfig(config)
	c.CAData = append(slices.Clone(c.CAData), fmt.Sprintf("%d\n", i)...)
	return c
}

// fleet runs an operator and makes pods of one Service. It returns the configuration of each.
func fleet(b *testing.B, pods int) (configs []*rest.Config, namespace string) {
	b.Helper()
	options, err := controllers.ManagerOptions(admin, controllers.Manager{Namespace: operatorNamespace, MetricsAddress: "0", HealthAddress: "0"})
	if err != nil {
		b.Fatal(err)
	}
	options.Controller.SkipNameValidation = new(true)
	log.SetLogger(logr.Discard())
	config := rest.CopyConfig(admin)
	config.QPS = -1
	m, err := ctrl.NewManager(config, options)
	if err != nil {
		b.Fatal(err)
	}
	c, err := client.New(admin, client.Options{Scheme: m.GetScheme()})
	if err != nil {
		b.Fatal(err)
	}
	create := func(o client.Object) {
		if err := c.Create(b.Context(), o); client.IgnoreAlreadyExists(err) != nil {
			b.Fatal(err)
		}
	}
	create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: operatorNamespace}})
	ctx, cancel := context.WithCancel(context.Background())
	deps := controllers.Deps{Defaults: defaults(), Namespace: operatorNamespace, Signer: signer.Options{Keep: keepRequests}}
	if err := controllers.AddAll(ctx, m, deps); err != nil {
		cancel()
		b.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		if err := m.Start(ctx); err != nil {
			b.Errorf("the operator ended with %v", err)
		}
	})
	b.Cleanup(func() {
		cancel()
		running.Wait()
	})

	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "bench-"}}
	create(ns)
	create(&rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: ns.Name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: "system:serviceaccounts:" + ns.Name}},
	})
	create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: "inventory"}})
	secret := new(corev1.Secret)
	for secret.Data == nil {
		if err := c.Get(b.Context(), client.ObjectKey{Namespace: operatorNamespace, Name: "xinhari-ca"}, secret); client.IgnoreNotFound(err) != nil {
			b.Fatal(err)
		}
	}
	create(&corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: xinhariv1alpha1.RuntimeConfigMap},
		Data:       map[string]string{xinhariv1alpha1.KeyTrustBundle: string(secret.Data["ca.crt"])},
	})
	create(&xinhariv1alpha1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: "inventory"},
		Spec:       xinhariv1alpha1.ServiceSpec{Selector: xinhariv1alpha1.Labels{"app": "inventory"}},
	})
	all, err := kubernetes.NewForConfig(config)
	if err != nil {
		b.Fatal(err)
	}
	for i := range pods {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: fmt.Sprintf("inventory-%d", i), Labels: map[string]string{"app": "inventory"}},
			Spec:       corev1.PodSpec{ServiceAccountName: "inventory", Containers: []corev1.Container{{Name: "c", Image: "i"}}},
		}
		create(pod)
		token, err := all.CoreV1().ServiceAccounts(ns.Name).CreateToken(b.Context(), "inventory", &authenticationv1.TokenRequest{
			Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}},
		}, metav1.CreateOptions{})
		if err != nil {
			b.Fatal(err)
		}
		own := rest.AnonymousClientConfig(admin)
		own.BearerToken = strings.TrimSpace(token.Status.Token)
		configs = append(configs, own)
	}
	return configs, ns.Name
}
