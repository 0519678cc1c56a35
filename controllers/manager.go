package controllers

import (
	"context"
	"errors"
	"net/http"
	"time"

	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/xinhari/xinhari/controllers/signer/issuer"
)

// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=xinhari-system,resources=leases,verbs=create
// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=xinhari-system,resources=leases,resourceNames=xinhari-operator,verbs=get;update
// +kubebuilder:rbac:groups="",namespace=xinhari-system,resources=events,verbs=create

// lease is the name of the lease by which operators agree on who works.
const lease = "xinhari-operator"

// Manager is what one operator is told about itself.
type Manager struct {
	Namespace      string // namespace that it runs in and keeps its lease in
	MetricsAddress string // address of /metrics; 0 is none
	HealthAddress  string // address of /healthz and /readyz; 0 is none
	Elect          bool   // whether it works only while it holds the lease
	IssuerSecret   string // name of the Secret of the issuer that the installer wants; empty is xinhari-ca
}

// ManagerOptions returns options of a manager that runs the controllers with the configuration of its client.
func ManagerOptions(config *rest.Config, o Manager) (ctrl.Options, error) {
	scheme, err := Scheme()
	if err != nil {
		return ctrl.Options{}, err
	}
	cache, err := Cache(o.Namespace, issuer.Wanted{Secret: o.IssuerSecret}.Name())
	if err != nil {
		return ctrl.Options{}, err
	}
	// The lease has a client of its own, so that a burst of work cannot delay its renewal.
	election := rest.CopyConfig(config)
	election.Timeout = 5 * time.Second
	grace := 20 * time.Second
	return ctrl.Options{
		Scheme:                        scheme,
		Cache:                         cache,
		Metrics:                       server.Options{BindAddress: o.MetricsAddress},
		HealthProbeBindAddress:        o.HealthAddress,
		LeaderElection:                o.Elect,
		LeaderElectionID:              lease,
		LeaderElectionNamespace:       o.Namespace,
		LeaderElectionConfig:          election,
		LeaderElectionReleaseOnCancel: true,
		GracefulShutdownTimeout:       &grace,
	}, nil
}

func ready(m ctrl.Manager) error {
	if err := m.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return err
	}
	s := &started{done: make(chan struct{})}
	if err := m.Add(s); err != nil {
		return err
	}
	return m.AddReadyzCheck("caches", s.check)
}

// started is ready once the manager runs what does not wait for leadership, which is after its caches started. So an
// operator that stands by is ready too.
type started struct {
	done chan struct{}
}

// Start is called once, by the manager.
func (s *started) Start(ctx context.Context) error {
	close(s.done)
	<-ctx.Done()
	return nil
}

// NeedLeaderElection says that this does not wait for leadership.
func (s *started) NeedLeaderElection() bool { return false }

func (s *started) check(*http.Request) error {
	select {
	case <-s.done:
		return nil
	default:
		return errors.New("the caches have not started")
	}
}
