package controlplane

import (
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// config returns the credentials of a user as client-go takes them.
func (p *Plane) config(user keyPair) *rest.Config {
	return &rest.Config{
		Host: p.url,
		TLSClientConfig: rest.TLSClientConfig{
			CAData:   p.ca.certPEM(),
			CertData: user.cert,
			KeyData:  user.key,
		},
		// Clients of a cluster on one machine wait for the server, not for their own limits.
		QPS: -1,
	}
}

// writeKubeconfig stores the credentials of a user as a file for programs.
func (p *Plane) writeKubeconfig(file string, user keyPair) error {
	return clientcmd.WriteToFile(*p.newKubeconfig(p.url, user), file)
}

func (p *Plane) newKubeconfig(url string, user keyPair) *clientcmdapi.Config {
	const name = "devcluster"
	c := clientcmdapi.NewConfig()
	c.Clusters[name] = &clientcmdapi.Cluster{Server: url, CertificateAuthorityData: p.ca.certPEM()}
	c.AuthInfos[name] = &clientcmdapi.AuthInfo{ClientCertificateData: user.cert, ClientKeyData: user.key}
	c.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name, Namespace: "default"}
	c.CurrentContext = name
	return c
}
