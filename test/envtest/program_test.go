package envtest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
)

// TestOperatorProgram runs cmd/operator with the chart's rights: it becomes ready, makes a Service ready, shows metrics, and
// on SIGTERM ends with 0 and gives its lease back.
func TestOperatorProgram(t *testing.T) {
	w := newWorld(t)
	install(t, w)
	dir := t.TempDir()
	program := filepath.Join(dir, "operator")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../../cmd/operator").CombinedOutput(); err != nil {
		t.Fatalf("building the operator: %v\n%s", err, out)
	}
	health, metrics := freeAddress(t), freeAddress(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "-health-address="+health, "-metrics-address="+metrics)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+operatorKubeconfig(t, dir), "POD_NAMESPACE="+operatorNamespace)
	log := new(strings.Builder)
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var exit error
	ended := make(chan struct{})
	go func() {
		exit = cmd.Wait()
		close(ended)
	}()
	defer func() {
		cancel()
		<-ended
	}()

	eventually(t, func() string {
		for _, path := range []string{"/healthz", "/readyz"} {
			if _, problem := get("http://" + health + path); problem != "" {
				return problem
			}
		}
		return ""
	})
	w.service("inventory", `selector: {app: inventory}`)
	w.ready("inventory")
	eventually(t, func() string {
		body, problem := get("http://" + metrics + "/metrics")
		if problem == "" && !strings.Contains(body, `controller_runtime_reconcile_total{controller="service"`) {
			problem = "the metrics do not speak of the controller"
		}
		return problem
	})

	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-ended
	if exit != nil {
		t.Errorf("after SIGTERM the operator ended with %v:\n%s", exit, log)
	}
	lease := new(coordinationv1.Lease)
	if err := w.Get(t.Context(), client.ObjectKey{Namespace: operatorNamespace, Name: "xinhari-operator"}, lease); err != nil {
		t.Fatal(err)
	}
	if holder := lease.Spec.HolderIdentity; holder != nil && *holder != "" {
		t.Errorf("the lease is still held by %s", *holder)
	}
	if err := w.Delete(t.Context(), &xinhariv1alpha1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "inventory"}}); err != nil {
		t.Fatal(err)
	}
}

func get(url string) (body, problem string) {
	response, err := http.Get(url)
	if err != nil {
		return "", err.Error()
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		return "", err.Error()
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Sprintf("%s: %s", url, response.Status)
	}
	return string(raw), ""
}

// freeAddress returns a loopback address that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return address
}

// operatorKubeconfig writes a kubeconfig by which a program acts as the operator's account.
func operatorKubeconfig(t *testing.T, dir string) string {
	t.Helper()
	config := clientcmdapi.NewConfig()
	config.Clusters["c"] = &clientcmdapi.Cluster{Server: admin.Host, CertificateAuthorityData: admin.CAData}
	config.AuthInfos["u"] = &clientcmdapi.AuthInfo{
		ClientCertificateData: admin.CertData, ClientKeyData: admin.KeyData,
		Impersonate: operatorUser, ImpersonateGroups: []string{"system:serviceaccounts", "system:authenticated"},
	}
	config.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	config.CurrentContext = "x"
	name := filepath.Join(dir, "kubeconfig")
	if err := clientcmd.WriteToFile(*config, name); err != nil {
		t.Fatal(err)
	}
	return name
}
