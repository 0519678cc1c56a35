// Command certmanager-controllers runs those controllers of cert-manager that issue certificates of SelfSigned and CA
// issuers, as they are in its module, for tests of what asks cert-manager for a certificate.
//
// It is no cert-manager for use: it has neither ACME, Vault and Venafi nor the webhook, so nothing checks what the schemas
// of the CRDs do not, and nothing fills in what the webhook would; and it does not elect a leader, so one may run.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"

	"github.com/cert-manager/cert-manager/pkg/controller"
	"github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/approver"
	"github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/ca"
	"github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/selfsigned"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/issuing"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/keymanager"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/readiness"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/requestmanager"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/revisionmanager"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/trigger"
	"github.com/cert-manager/cert-manager/pkg/controller/clusterissuers"
	"github.com/cert-manager/cert-manager/pkg/controller/issuers"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/ca"         // the kinds of issuers
	_ "github.com/cert-manager/cert-manager/pkg/issuer/selfsigned" // that there are
	"github.com/cert-manager/cert-manager/pkg/logs"
)

// workers is how many objects each controller has in work at a time, as in cert-manager's own program.
const workers = 5

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "certmanager-controllers:", err)
		os.Exit(1)
	}
}

// names returns the controllers that run. Each has put its constructor into a list of cert-manager's when its package was linked.
func names() []string {
	return []string{
		clusterissuers.ControllerName, issuers.ControllerName,
		trigger.ControllerName, keymanager.ControllerName, requestmanager.ControllerName, issuing.ControllerName,
		readiness.ControllerName, revisionmanager.ControllerName,
		approver.ControllerName, ca.CRControllerName, selfsigned.CRControllerName,
	}
}

func run(ctx context.Context) error {
	if _, err := rest.InClusterConfig(); err != nil {
		return fmt.Errorf("it runs in a pod: %w", err)
	}
	logs.InitLogs()
	defer logs.FlushLogs()
	namespace, err := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
	if err != nil {
		return fmt.Errorf("the namespace of the pod: %w", err)
	}
	factory, err := controller.NewContextFactory(ctx, controller.ContextOptions{
		KubernetesAPIQPS: 50, KubernetesAPIBurst: 100,
		IssuerOptions: controller.IssuerOptions{ClusterResourceNamespace: strings.TrimSpace(string(namespace))},
		CertificateOptions: controller.CertificateOptions{
			CopiedAnnotationPrefixes:                 []string{"*", "-kubectl.kubernetes.io/", "-fluxcd.io/", "-argocd.argoproj.io/"},
			CertificateRequestMinimumBackoffDuration: time.Second, // of an hour; a test waits less
			CertificateRequestMaximumBackoffDuration: time.Minute,
		},
	})
	if err != nil {
		return err
	}
	shared, err := factory.Build()
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, name := range names() {
		construct, ok := controller.Known()[name]
		if !ok {
			return fmt.Errorf("cert-manager has no controller %s; it has %v", name, known())
		}
		c, err := construct(factory)
		if err != nil {
			return fmt.Errorf("controller %s: %w", name, err)
		}
		group.Go(func() error {
			if err := c.Run(workers, ctx); err != nil && !errors.Is(err, context.Canceled) {
				return fmt.Errorf("controller %s: %w", name, err)
			}
			return nil
		})
	}
	shared.SharedInformerFactory.Start(ctx.Done())
	shared.KubeSharedInformerFactory.Start(ctx.Done())
	return group.Wait()
}

func known() []string {
	var all []string
	for name := range controller.Known() {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}
