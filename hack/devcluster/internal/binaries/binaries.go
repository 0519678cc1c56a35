// Package binaries holds the Kubernetes programs that the devcluster binary
// contains. Each runs under its own name: a link named kube-apiserver to the
// devcluster binary is the API server.
package binaries

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubeapiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	kubecontrollermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	kubescheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

// Names are the programs, in the order in which a cluster starts them.
func Names() []string {
	return []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"}
}

// Lookup returns the main function of the program called name. It does not
// return from a call: the program ends the process.
func Lookup(name string) (main func(), ok bool) {
	switch name {
	case "etcd":
		return func() { etcdmain.Main(os.Args) }, true
	case "kube-apiserver":
		return func() { os.Exit(cli.Run(kubeapiserver.NewAPIServerCommand())) }, true
	case "kube-controller-manager":
		return func() { os.Exit(cli.Run(kubecontrollermanager.NewControllerManagerCommand())) }, true
	case "kube-scheduler":
		return func() { os.Exit(cli.Run(kubescheduler.NewSchedulerCommand())) }, true
	case "kubectl":
		return func() { os.Exit(cli.Run(kubectl.NewDefaultKubectlCommand())) }, true
	}
	return nil, false
}
