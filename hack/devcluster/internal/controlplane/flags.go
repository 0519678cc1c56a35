package controlplane

import (
	"path/filepath"
	"strings"

	utilfeature "k8s.io/apiserver/pkg/util/feature"
	_ "k8s.io/kubernetes/pkg/features" // registers the gates
)

// auditPolicy records who did what to which object, and no contents.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
`

// etcdURL is on the loopback interface of the cluster's namespace, which no
// pod shares; the port leaves etcd's own to whatever CMD runs.
const etcdURL = "http://127.0.0.1:12379"

// CheckFeatureGates is an error for what no component knows. Each item is NAME=true or NAME=false.
func CheckFeatureGates(gates []string) error {
	return utilfeature.DefaultMutableFeatureGate.DeepCopy().Set(strings.Join(gates, ","))
}

// gates are the flags for feature gates.
func (p *Plane) gates() []string {
	if len(p.o.FeatureGates) == 0 {
		return nil
	}
	return []string{"--feature-gates=" + strings.Join(p.o.FeatureGates, ",")}
}

// args returns the command line of the component called name.
func (p *Plane) args(name string) []string {
	switch name {
	case "etcd":
		return p.etcdArgs()
	case "kube-apiserver":
		args := append(p.apiServerArgs(), p.gates()...)
		if len(p.o.RuntimeConfig) > 0 {
			args = append(args, "--runtime-config="+strings.Join(p.o.RuntimeConfig, ","))
		}
		return args
	case "kube-controller-manager":
		return append(p.controllerManagerArgs(), p.gates()...)
	}
	return append(p.schedulerArgs(), p.gates()...)
}

func (p *Plane) etcdArgs() []string {
	const peer = "http://127.0.0.1:12380"
	return []string{
		"--data-dir=" + filepath.Join(p.o.Dir, "etcd"),
		"--listen-client-urls=" + etcdURL,
		"--advertise-client-urls=" + etcdURL,
		"--listen-peer-urls=" + peer,
		"--initial-advertise-peer-urls=" + peer,
		"--initial-cluster=default=" + peer,
		"--unsafe-no-fsync", // nothing outlives the cluster
		"--log-level=warn",
	}
}

func (p *Plane) apiServerArgs() []string {
	issuer := "https://kubernetes.default.svc." + p.o.Domain
	return []string{
		"--bind-address=" + APIServer,
		"--secure-port=443",
		"--advertise-address=" + APIServer,
		"--service-cluster-ip-range=" + ServiceCIDR,
		"--etcd-servers=" + etcdURL,
		"--tls-cert-file=" + p.pki("apiserver.crt"),
		"--tls-private-key-file=" + p.pki("apiserver.key"),
		"--client-ca-file=" + p.pki("ca.crt"),
		"--kubelet-certificate-authority=" + p.pki("ca.crt"),
		"--kubelet-client-certificate=" + p.pki("apiserver-kubelet-client.crt"),
		"--kubelet-client-key=" + p.pki("apiserver-kubelet-client.key"),
		"--kubelet-preferred-address-types=InternalIP",
		"--requestheader-client-ca-file=" + p.pki("front-proxy-ca.crt"),
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + p.pki("front-proxy-client.crt"),
		"--proxy-client-key-file=" + p.pki("front-proxy-client.key"),
		"--service-account-issuer=" + issuer,
		"--service-account-jwks-uri=" + issuer + "/openid/v1/jwks",
		"--service-account-signing-key-file=" + p.pki("service-account.key"),
		"--service-account-key-file=" + p.pki("service-account.crt"),
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true",
		"--audit-policy-file=" + p.pki("audit-policy.yaml"),
		"--audit-log-path=" + filepath.Join(p.o.Logs, "audit.log"),
		"--audit-log-maxsize=64", // MB, of memory
		"--audit-log-maxbackup=1",
		"--profiling=false",
		"--max-requests-inflight=0", // both 0: limits for shared servers would only add failures here
		"--max-mutating-requests-inflight=0",
		"--enable-priority-and-fairness=false",
	}
}

func (p *Plane) controllerManagerArgs() []string {
	kubeconfig := p.kubeconfig("kube-controller-manager")
	return []string{
		"--bind-address=127.0.0.1",
		"--kubeconfig=" + kubeconfig,
		"--authentication-kubeconfig=" + kubeconfig,
		"--authorization-kubeconfig=" + kubeconfig,
		"--client-ca-file=" + p.pki("ca.crt"),
		"--requestheader-client-ca-file=" + p.pki("front-proxy-ca.crt"),
		"--use-service-account-credentials=true",
		"--service-account-private-key-file=" + p.pki("service-account.key"),
		"--root-ca-file=" + p.pki("ca.crt"),
		"--cluster-signing-cert-file=" + p.pki("ca.crt"),
		"--cluster-signing-key-file=" + p.pki("ca.key"),
		"--service-cluster-ip-range=" + ServiceCIDR,
		"--leader-elect=false", // there is one
		"--kube-api-qps=1000",  // the default of 20 makes a start five seconds longer
		"--kube-api-burst=1000",
		"--profiling=false",
	}
}

func (p *Plane) schedulerArgs() []string {
	kubeconfig := p.kubeconfig("kube-scheduler")
	return []string{
		"--bind-address=127.0.0.1",
		"--kubeconfig=" + kubeconfig,
		"--authentication-kubeconfig=" + kubeconfig,
		"--authorization-kubeconfig=" + kubeconfig,
		"--client-ca-file=" + p.pki("ca.crt"),
		"--requestheader-client-ca-file=" + p.pki("front-proxy-ca.crt"),
		"--leader-elect=false", // there is one
		"--kube-api-qps=1000",  // the default of 20 makes a start five seconds longer
		"--kube-api-burst=1000",
		"--profiling=false",
	}
}
