package shopcluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/xinhari/xinhari/pkg/identity"
	"github.com/xinhari/xinhari/pkg/identity/kubesource"
	"github.com/xinhari/xinhari/pkg/runtime/runtimev1"
)

// account is that of who looks after the shop, and the name of the pod that
// holds it: nobody calls a service as nobody, not even who installed it.
const account = "demo"

// identify gets this process a certificate, as every workload gets one: with a
// token of its account that is bound to a pod.
func (s *Shop) identify(ctx context.Context) error {
	admin, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return err
	}
	token, err := s.Kubectl(ctx, "create", "token", account, "--bound-object-kind=Pod", "--bound-object-name="+account)
	if err != nil {
		return err
	}
	config := rest.AnonymousClientConfig(admin)
	config.BearerToken = strings.TrimSpace(token)
	source, err := kubesource.New(config, kubesource.Options{Namespace: s.Namespace})
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.cancel = stop
	s.running.Go(func() { _ = source.Run(running) })
	waiting, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	select {
	case <-source.Ready():
	case <-waiting.Done():
		return fmt.Errorf("a certificate for %s: %w", account, errors.Join(waiting.Err(), source.Err()))
	}
	s.own = source
	s.http = &http.Client{Transport: &http.Transport{
		DialTLSContext: identity.Dialer(source.Current, identity.ServiceName(s.Namespace, "orders"), identity.ClientOptions{}),
		// Another certificate wants another connection.
		IdleConnTimeout: 10 * time.Second,
	}}
	return nil
}

// Status asks a pod of a Service for its status, over a connection of its own,
// so that both prove who they are now.
func (s *Shop) Status(ctx context.Context, service string, p Pod) (*runtimev1.StatusResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	transport := identity.MutualTLS(s.own.Current, identity.MutualTLSOptions{})
	cc, err := grpc.NewClient("passthrough:///"+p.IP+":8080", grpc.WithTransportCredentials(transport.Client(s.Namespace, service)))
	if err != nil {
		return nil, err
	}
	answer, err := runtimev1.NewRuntimeClient(cc).Status(ctx, &runtimev1.StatusRequest{})
	if err != nil {
		err = fmt.Errorf("status of %s: %w", p.Name, err)
	}
	return answer, errors.Join(err, cc.Close())
}
