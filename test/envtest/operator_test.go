package envtest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/go-logr/logr"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
	"github.com/xinhari/xinhari/controllers"
	"github.com/xinhari/xinhari/controllers/keypair"
	"github.com/xinhari/xinhari/controllers/namespace"
	"github.com/xinhari/xinhari/controllers/signer"
	"github.com/xinhari/xinhari/controllers/trust"
)

const (
	operatorNamespace = "xinhari-system"
	operatorUser      = "system:serviceaccount:" + operatorNamespace + ":xinhari-operator"
	patience          = 20 * time.Second
	keepRequests      = 5 * time.Second
	// secretNamespace is the namespace in which the operators of these tests may read and write Secrets.
	secretNamespace = "test-with-secrets"
)

func defaults() namespace.Defaults {
	return namespace.Defaults{
		TrustDomain: "cluster.local", OperatorID: "spiffe://cluster.local/ns/xinhari-system/sa/xinhari-operator",
		NATSURL: "nats://nats.nats:4222", EtcdEndpoints: []string{"https://etcd-0:2379", "https://etcd-1:2379"},
	}
}

// adminClient returns a client with all rights and no cache.
func adminClient(t *testing.T) client.Client {
	t.Helper()
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, xinhariv1alpha1.AddToScheme} {
		if err := add(s); err != nil {
			t.Fatal(err)
		}
	}
	c, err := client.New(admin, client.Options{Scheme: s})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// render returns the objects of the chart with the values that the arguments set.
func render(t *testing.T, args ...string) ([]*unstructured.Unstructured, error) {
	t.Helper()
	helm := os.Getenv("HELM")
	if helm == "" {
		helm = filepath.Join("..", "..", "bin", "helm")
	}
	if _, err := os.Stat(helm); err != nil {
		t.Fatalf("no helm at %s: run `make tools`, or set HELM to one: %v", helm, err)
	}
	chart := filepath.Join("..", "..", "charts", "xinhari")
	args = append([]string{"template", "xinhari", chart, "--namespace", operatorNamespace}, args...)
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(helm, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, &renderError{output: stderr.String(), err: err}
	}
	var all []*unstructured.Unstructured
	decoder := utilyaml.NewYAMLOrJSONDecoder(&stdout, 4096)
	for {
		u := new(unstructured.Unstructured)
		err := decoder.Decode(u)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		if len(u.Object) > 0 {
			all = append(all, u)
		}
	}
}

type renderError struct {
	output string
	err    error
}

func (e *renderError) Error() string { return e.err.Error() + ": " + e.output }

// install creates the chart's objects, but for the CRDs, which are there, and for what runs pods.
func install(t *testing.T, c client.Client) {
	t.Helper()
	objects, err := render(t, "--set", "secretNamespaces={"+secretNamespace+"}")
	if err != nil {
		t.Fatal(err)
	}
	ensure(t, c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: operatorNamespace}})
	ensure(t, c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: secretNamespace}})
	for _, o := range objects {
		switch o.GetKind() {
		case "CustomResourceDefinition", "Deployment":
		default:
			ensure(t, c, o)
		}
	}
}

func ensure(t *testing.T, c client.Client, o client.Object) {
	t.Helper()
	if err := c.Create(t.Context(), o); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
}

// startOperator runs the operator with the chart's rights until the test ends, or until the function it returns is called.
func startOperator(t *testing.T) (stop func()) {
	t.Helper()
	m, stop := startReplica(t)
	select {
	case <-m.Elected():
	case <-time.After(patience):
		t.Fatal("the operator does not lead")
	}
	return stop
}

// startReplica is startOperator without waiting until it leads.
func startReplica(t *testing.T) (m ctrl.Manager, stop func()) {
	t.Helper()
	return startWith(t, func(*ctrl.Options, *controllers.Deps) {})
}

// startWith is startReplica with options that are changed.
func startWith(t *testing.T, change func(*ctrl.Options, *controllers.Deps)) (m ctrl.Manager, stop func()) {
	t.Helper()
	install(t, adminClient(t))
	log.SetLogger(logr.Discard())
	config := rest.CopyConfig(admin)
	config.QPS, config.Burst = 500, 1000
	config.Impersonate = rest.ImpersonationConfig{
		UserName: operatorUser, Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + operatorNamespace, "system:authenticated"},
	}
	options, err := controllers.ManagerOptions(config, controllers.Manager{
		Namespace: operatorNamespace, MetricsAddress: "0", HealthAddress: "0", Elect: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	options.Controller.SkipNameValidation = new(true)
	deps := controllers.Deps{
		Defaults: defaults(), Namespace: operatorNamespace, Signer: signer.Options{Keep: keepRequests},
		Trust:   trust.Options{Settle: settle, Pace: 100 * time.Millisecond, Now: trustNow},
		KeyPair: keypair.Options{Namespaces: []string{secretNamespace}, Poll: 300 * time.Millisecond, Now: trustNow},
	}
	change(&options, &deps)
	m, err = ctrl.NewManager(config, options)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	if err := controllers.AddAll(ctx, m, deps); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- m.Start(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the operator ended with %v", err)
		}
	}
	t.Cleanup(stop)
	return m, stop
}

// eventually calls check until it returns the empty string, or fails with what it returned last.
func eventually(t *testing.T, check func() string) {
	t.Helper()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.Now().Add(patience)
	for {
		problem := check()
		if problem == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %s: %s", patience, problem)
		}
		<-ticker.C
	}
}

// newNamespace makes a namespace of the test's own.
func newNamespace(t *testing.T, c client.Client) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	if err := c.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	return ns.Name
}

// chartRules returns the rules of the operator's roles in the chart.
func chartRules(t *testing.T) []rbacv1.PolicyRule {
	t.Helper()
	objects, err := render(t, "--set", "secretNamespaces={"+secretNamespace+"}")
	if err != nil {
		t.Fatal(err)
	}
	var rules []rbacv1.PolicyRule
	for _, o := range objects {
		if strings.HasPrefix(o.GetName(), "xinhari-operator") && strings.HasSuffix(o.GetKind(), "Role") {
			var role rbacv1.ClusterRole
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &role); err != nil {
				t.Fatal(err)
			}
			rules = append(rules, role.Rules...)
		}
	}
	if len(rules) == 0 {
		t.Fatal("the chart has no roles for the operator")
	}
	return rules
}
