package cluster

import (
	"context"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/xinhari/xinhari/hack/devcluster/internal/dns"
	"github.com/xinhari/xinhari/hack/devcluster/internal/netns"
	"github.com/xinhari/xinhari/hack/devcluster/internal/network"
	"github.com/xinhari/xinhari/hack/devcluster/internal/proxy"
)

// serviceNetwork starts DNS and the proxy of ClusterIPs, which run until ctx
// ends, and returns when both know the Services, or with ready.
func (s *supervisor) serviceNetwork(ctx, ready context.Context) error {
	client, err := kubernetes.NewForConfig(s.plane.Admin())
	if err != nil {
		return err
	}
	// Without the Service its address could be given to another.
	if _, err := client.CoreV1().Services(metav1.NamespaceSystem).Create(ready, dnsService(), metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("reserve the address of DNS: %w", err)
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	services, slices := factory.Core().V1().Services(), factory.Discovery().V1().EndpointSlices()
	changes := make(chan struct{}, 1)
	changed := func() {
		select {
		case changes <- struct{}{}:
		default:
		}
	}
	for _, informer := range []cache.SharedIndexInformer{services.Informer(), slices.Informer()} {
		_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(any) { changed() },
			UpdateFunc: func(any, any) { changed() },
			DeleteFunc: func(any) { changed() },
		})
		if err != nil {
			return err
		}
	}
	s.part(ctx, "watches", func(ctx context.Context) error {
		factory.StartWithContext(ctx)
		<-ctx.Done()
		factory.Shutdown()
		return nil
	})
	if !cache.WaitForCacheSync(ready.Done(), services.Informer().HasSynced, slices.Informer().HasSynced) {
		return fmt.Errorf("watch Services: %w", context.Cause(ready))
	}
	s.part(ctx, "DNS", dns.New(dns.Options{
		Addr:     netip.AddrPortFrom(dnsAddr(), 53),
		Domain:   Domain,
		Services: services.Lister(),
		Slices:   slices.Lister(),
		Logger:   s.log.With("part", "dns"),
	}).Run)
	member, err := s.network.AddProxy()
	if err != nil {
		return err
	}
	nodes := make(map[netip.Addr]*netns.Namespace)
	for _, n := range s.nodes {
		nodes[n.member.Addr] = n.member.Namespace
	}
	s.part(ctx, "proxy", func(ctx context.Context) error {
		return proxy.Run(ctx, proxy.Options{
			Services:  services.Lister(),
			Slices:    slices.Lister(),
			Changes:   changes,
			Logger:    s.log.With("part", "proxy"),
			Namespace: member.Namespace,
			Nodes:     nodes,
			Source:    network.Alias,
		})
	})
	return nil
}

func dnsService() *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Name:   "kube-dns",
			Labels: map[string]string{"k8s-app": "kube-dns"},
		},
		Spec: corev1.ServiceSpec{
			ClusterIP: dnsAddr().String(),
			Ports: []corev1.ServicePort{
				{Name: "dns", Protocol: corev1.ProtocolUDP, Port: 53, TargetPort: intstr.FromInt32(53)},
				{Name: "dns-tcp", Protocol: corev1.ProtocolTCP, Port: 53, TargetPort: intstr.FromInt32(53)},
			},
		},
	}
}
