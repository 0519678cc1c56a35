package node

import (
	"context"
	"maps"
	"os"
	goruntime "runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	kubernetesversion "k8s.io/component-base/version"
	"k8s.io/component-helpers/apimachinery/lease"
	"k8s.io/component-helpers/node/util"
	"k8s.io/utils/clock"

	"github.com/xinhari/xinhari/hack/devcluster/internal/node/kubelet"
)

const (
	leaseSeconds = 40
	leaseRenewal = 10 * time.Second
	// statusPeriod is how often the Node's status is looked at; the Lease
	// says in between that the node lives.
	statusPeriod = time.Minute
)

// register makes the Node and keeps it and its Lease fresh.
func (a *Agent) register(ctx context.Context) {
	for {
		err := a.putNode(ctx)
		if err == nil {
			break
		}
		a.log.Warn("register node", "error", err)
		if !sleep(ctx, 200*time.Millisecond) {
			return
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		own := func(l *coordinationv1.Lease) error {
			node, err := a.client.CoreV1().Nodes().Get(ctx, a.o.Name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			l.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}}
			return nil
		}
		lease.NewController(clock.RealClock{}, a.client, a.o.Name, leaseSeconds, nil, leaseRenewal,
			a.o.Name, corev1.NamespaceNodeLease, own).Run(ctx)
	}()
	for sleep(ctx, statusPeriod) {
		if err := a.putNode(ctx); err != nil {
			a.log.Warn("update node", "error", err)
		}
	}
	<-done
}

func (a *Agent) putNode(ctx context.Context) error {
	want := a.node()
	api := a.client.CoreV1().Nodes()
	_, err := api.Create(ctx, want, metav1.CreateOptions{})
	if err == nil || !apierrors.IsAlreadyExists(err) {
		return err
	}
	have, err := api.Get(ctx, a.o.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	next := have.DeepCopy()
	now := metav1.Now()
	next.Status.Capacity, next.Status.Allocatable = want.Status.Capacity, want.Status.Allocatable
	next.Status.Addresses, next.Status.DaemonEndpoints = want.Status.Addresses, want.Status.DaemonEndpoints
	next.Status.NodeInfo = want.Status.NodeInfo
	for _, c := range want.Status.Conditions {
		i, old := util.GetNodeCondition(&next.Status, c.Type)
		if old == nil {
			next.Status.Conditions = append(next.Status.Conditions, c)
			continue
		}
		c.LastTransitionTime = old.LastTransitionTime
		if old.Status != c.Status {
			c.LastTransitionTime = now
		}
		next.Status.Conditions[i] = c
	}
	_, _, err = util.PatchNodeStatus(a.client.CoreV1(), types.NodeName(a.o.Name), have, next)
	return err
}

// node is the Node as it is to be.
func (a *Agent) node() *corev1.Node {
	now := metav1.Now()
	condition := func(kind corev1.NodeConditionType, status corev1.ConditionStatus, reason, message string) corev1.NodeCondition {
		return corev1.NodeCondition{
			Type: kind, Status: status, Reason: reason, Message: message,
			LastHeartbeatTime: now, LastTransitionTime: now,
		}
	}
	address := a.o.Network.Addr().String()
	labels := map[string]string{
		corev1.LabelHostname:   a.o.Name,
		corev1.LabelOSStable:   goruntime.GOOS,
		corev1.LabelArchStable: goruntime.GOARCH,
	}
	maps.Copy(labels, a.o.Labels)
	var spec corev1.NodeSpec
	if a.o.PodCIDR != "" {
		spec = corev1.NodeSpec{PodCIDR: a.o.PodCIDR, PodCIDRs: []string{a.o.PodCIDR}}
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: a.o.Name, Labels: labels},
		Spec:       spec,
		Status: corev1.NodeStatus{
			Capacity:    capacity(overcommit),
			Allocatable: capacity(overcommit),
			// No host name: the API server would look for the kubelet by it first.
			Addresses:       []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address}},
			DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: kubelet.Port}},
			Conditions: []corev1.NodeCondition{
				condition(corev1.NodeMemoryPressure, corev1.ConditionFalse, "NotMeasured", "memory is the host's"),
				condition(corev1.NodeDiskPressure, corev1.ConditionFalse, "NotMeasured", "disks are the host's"),
				condition(corev1.NodePIDPressure, corev1.ConditionFalse, "NotMeasured", "processes are the host's"),
				condition(corev1.NodeReady, corev1.ConditionTrue, "NodeReady", "the node agent runs"),
			},
			NodeInfo: corev1.NodeSystemInfo{
				KernelVersion:           kernelVersion(),
				OSImage:                 "devcluster",
				ContainerRuntimeVersion: "xinhari://1",
				KubeletVersion:          kubernetesversion.Get().GitVersion,
				OperatingSystem:         goruntime.GOOS,
				Architecture:            goruntime.GOARCH,
			},
		},
	}
}

// overcommit is how many times over the scheduler may give the host away:
// requests are wishes here, and a laptop's few processors are no reason to
// leave a pod unscheduled.
const overcommit = 16

// capacity is what the host has, that many times.
func capacity(times int64) corev1.ResourceList {
	var info unix.Sysinfo_t
	memory := int64(8 << 30)
	if err := unix.Sysinfo(&info); err == nil {
		memory = int64(info.Totalram) * int64(info.Unit)
	}
	return corev1.ResourceList{
		corev1.ResourceCPU:              *resource.NewQuantity(int64(goruntime.NumCPU())*times, resource.DecimalSI),
		corev1.ResourceMemory:           *resource.NewQuantity(memory*times, resource.BinarySI),
		corev1.ResourceEphemeralStorage: *resource.NewQuantity(1<<40, resource.BinarySI),
		corev1.ResourcePods:             *resource.NewQuantity(250, resource.DecimalSI),
	}
}

func kernelVersion() string {
	data, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return strings.TrimSpace(string(data))
}
