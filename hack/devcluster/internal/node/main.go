package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"github.com/xinhari/xinhari/hack/devcluster/internal/network"
)

// ProgramName is the name under which this program is a node's agent. It
// works in the network namespace that it is started in, reads a Spec as JSON
// from its descriptor 3, and logs to its standard error.
const ProgramName = "devcluster-node"

const specFD = 3

// Spec is what the process of a node is told. All fields but Labels are required.
type Spec struct {
	Name          string            // of the node
	Server        string            // URL of the API server
	CA            []byte            // PEM: signed the API server's certificates
	Cert, Key     []byte            // PEM: of system:node:NAME
	ServingCert   []byte            // PEM: for the kubelet API
	ServingKey    []byte            // PEM: for the kubelet API
	Addr          netip.Addr        // of the node
	Pods          netip.Prefix      // range of its pods
	Images        string            // folder of programs: image xinhari.local/NAME:dev is NAME
	Dir           string            // folder for the node's state
	ClusterDNS    netip.Addr        // name server of pods
	ClusterDomain string            // ends the names of Services
	Labels        map[string]string // of the node, beyond those every node has
}

// agentMain is the main function of a node's process.
func agentMain() {
	if err := runAgent(); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", ProgramName, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func runAgent() error {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	file := os.NewFile(specFD, "spec")
	var s Spec
	err := json.NewDecoder(file).Decode(&s)
	file.Close()
	if err != nil {
		return fmt.Errorf("read what node to be: %w", err)
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	klog.SetSlogLogger(log.With("part", "client-go"))
	o, err := s.options()
	if err != nil {
		return err
	}
	o.Logger = log
	defer o.Network.Close()
	agent, err := New(o)
	if err != nil {
		return err
	}
	return agent.Run(ctx)
}

// options opens what the spec names.
func (s *Spec) options() (Options, error) {
	serving, err := tls.X509KeyPair(s.ServingCert, s.ServingKey)
	if err != nil {
		return Options{}, fmt.Errorf("certificate of the kubelet API: %w", err)
	}
	ca := x509.NewCertPool()
	if !ca.AppendCertsFromPEM(s.CA) {
		return Options{}, errors.New("no certificate of the authority")
	}
	pods, err := network.OpenNode(s.Addr, s.Pods, s.Dir+"/last-address")
	if err != nil {
		return Options{}, err
	}
	return Options{
		Name: s.Name,
		Config: &rest.Config{
			Host:            s.Server,
			TLSClientConfig: rest.TLSClientConfig{CAData: s.CA, CertData: s.Cert, KeyData: s.Key},
		},
		Network:       pods,
		PodCIDR:       s.Pods.String(),
		Labels:        s.Labels,
		Images:        s.Images,
		Dir:           s.Dir,
		ClusterDNS:    s.ClusterDNS,
		ClusterDomain: s.ClusterDomain,
		ServingCert:   serving,
		ClientCA:      ca,
	}, nil
}
