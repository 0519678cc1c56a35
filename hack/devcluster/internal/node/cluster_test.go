package node

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/xinhari/xinhari/hack/devcluster/internal/network"
)

// binariesVariable names the folder with etcd, kube-apiserver,
// kube-controller-manager, kube-scheduler and kubectl.
const (
	binariesVariable = "DEVCLUSTER_BINARIES"
	insideVariable   = "DEVCLUSTER_TEST_INSIDE"
)

// TestMain runs the tests in namespaces of their own, as the only user of a
// user namespace when not root, or when DEVCLUSTER_TEST_USERNS is set.
func TestMain(m *testing.M) {
	name := filepath.Base(os.Args[0])
	if main, ok := Lookup(name); ok {
		main()
	}
	if program, ok := programs()[name]; ok {
		program()
		os.Exit(0)
	}
	if os.Getenv(insideVariable) == "" {
		os.Exit(inside())
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		panic(err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

func inside() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideVariable+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	attr := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET}
	if os.Getuid() != 0 || os.Getenv("DEVCLUSTER_TEST_USERNS") != "" {
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	cmd.SysProcAttr = attr
	if err := cmd.Run(); err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return max(exit.ExitCode(), 1)
		}
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// programs are the images of the tests: the test binary under other names.
func programs() map[string]func() {
	return map[string]func(){"web": web, "half": half, "health": health}
}

// web answers with its environment until SIGTERM. GET /fail has it unhealthy.
func web() {
	fmt.Println("starting", strings.Join(os.Args[1:], " "))
	fmt.Fprintln(os.Stderr, "complaint")
	var mu sync.Mutex
	healthy := true
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, strings.Join(os.Environ(), "\n")) })
	http.HandleFunc("/file", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, r.URL.Query().Get("path"))
	})
	http.HandleFunc("/fail", func(w http.ResponseWriter, r *http.Request) { mu.Lock(); healthy = false; mu.Unlock() })
	http.HandleFunc("/healthz", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if !healthy {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go http.ListenAndServe(":8080", nil)
	<-stop
	fmt.Println("stopping")
}

// cluster is a control plane with one node.
type cluster struct {
	t          *testing.T
	dir        string
	binaries   string
	ca         *authority
	client     kubernetes.Interface
	network    *network.Node
	kubeconfig string
	apiserver  *exec.Cmd
	agent      *Agent
}

const serverAddress = "10.96.0.1"

// newCluster starts a control plane and a node called test, both of which end
// with the test.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	binaries := os.Getenv(binariesVariable)
	if binaries == "" {
		t.Fatalf("%s is not set: it names the folder with kube-apiserver and the others, which `devcluster assets DIR` makes (make test does)", binariesVariable)
	}
	c := &cluster{t: t, dir: t.TempDir(), binaries: binaries, ca: newAuthority(t)}
	// The cluster's namespace is the node's as well.
	cables, err := network.New(netip.MustParseAddr(serverAddress))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cables.Close(); err != nil {
			t.Error(err)
		}
	})
	if c.network, err = network.OpenNode(network.Cluster(), network.NodeRange(1), ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.network.Close(); err != nil {
			t.Error(err)
		}
	})
	c.startControlPlane()
	c.startAgent()
	return c
}

func (c *cluster) startControlPlane() {
	write := func(name string, data []byte) string {
		path := filepath.Join(c.dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			c.t.Fatal(err)
		}
		return path
	}
	write("ca.crt", c.ca.pem())
	for name, subject := range map[string]pkix.Name{
		"admin":      {CommonName: "admin", Organization: []string{"system:masters"}},
		"node":       {CommonName: "system:node:test", Organization: []string{"system:nodes"}},
		"controller": {CommonName: "system:kube-controller-manager"},
		"scheduler":  {CommonName: "system:kube-scheduler"},
		"kubelet":    {CommonName: "kube-apiserver-kubelet-client", Organization: []string{"system:masters"}},
		"server":     {CommonName: "kube-apiserver"},
	} {
		cert, key := c.ca.issue(c.t, subject)
		write(name+".crt", cert)
		write(name+".key", key)
		config := clientcmdapi.NewConfig()
		config.Clusters["c"] = &clientcmdapi.Cluster{Server: "https://" + serverAddress, CertificateAuthorityData: c.ca.pem()}
		config.AuthInfos["u"] = &clientcmdapi.AuthInfo{ClientCertificateData: cert, ClientKeyData: key}
		config.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
		config.CurrentContext = "x"
		if err := clientcmd.WriteToFile(*config, filepath.Join(c.dir, name+".conf")); err != nil {
			c.t.Fatal(err)
		}
	}
	c.kubeconfig = filepath.Join(c.dir, "admin.conf")
	c.start("etcd", "--data-dir="+filepath.Join(c.dir, "etcd"), "--unsafe-no-fsync",
		"--listen-peer-urls=http://127.0.0.1:2380", "--log-level=error")
	c.startServer()
	c.start("kube-controller-manager", "--kubeconfig="+filepath.Join(c.dir, "controller.conf"),
		"--service-account-private-key-file="+filepath.Join(c.dir, "server.key"), "--root-ca-file="+filepath.Join(c.dir, "ca.crt"),
		"--use-service-account-credentials", "--leader-elect=false", "--bind-address=127.0.0.1")
	c.start("kube-scheduler", "--kubeconfig="+filepath.Join(c.dir, "scheduler.conf"), "--leader-elect=false", "--bind-address=127.0.0.1")
}

func (c *cluster) startServer() {
	file := func(name string) string { return filepath.Join(c.dir, name) }
	c.apiserver = c.start("kube-apiserver", "--etcd-servers=http://127.0.0.1:2379",
		"--bind-address="+serverAddress, "--secure-port=443", "--advertise-address="+serverAddress,
		"--tls-cert-file="+file("server.crt"), "--tls-private-key-file="+file("server.key"), "--client-ca-file="+file("ca.crt"),
		"--service-cluster-ip-range=10.96.0.0/16", "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--service-account-key-file="+file("server.key"), "--service-account-signing-key-file="+file("server.key"),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--kubelet-client-certificate="+file("kubelet.crt"), "--kubelet-client-key="+file("kubelet.key"),
		"--kubelet-certificate-authority="+file("ca.crt"))
	c.client = c.clientOf("admin")
	c.eventually("the API server is ready", func(ctx context.Context) error {
		_, err := c.client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		return err
	})
}

func (c *cluster) config(user string) *rest.Config {
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(c.dir, user+".conf"))
	if err != nil {
		c.t.Fatal(err)
	}
	config.QPS = -1
	return config
}

func (c *cluster) clientOf(user string) kubernetes.Interface {
	client, err := kubernetes.NewForConfig(c.config(user))
	if err != nil {
		c.t.Fatal(err)
	}
	return client
}

func (c *cluster) start(name string, args ...string) *exec.Cmd {
	c.t.Helper()
	log, err := os.Create(filepath.Join(c.dir, name+".log"))
	if err != nil {
		c.t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(c.binaries, name), args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		log.Close()
		if c.t.Failed() {
			data, _ := os.ReadFile(log.Name())
			c.t.Logf("the end of %s:\n%s", name, data[max(0, len(data)-2000):])
		}
	})
	return cmd
}

func (c *cluster) startAgent() {
	images := filepath.Join(c.dir, "images")
	if err := os.MkdirAll(images, 0o755); err != nil {
		c.t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		c.t.Fatal(err)
	}
	for name := range programs() {
		if err := os.Symlink(self, filepath.Join(images, name)); err != nil {
			c.t.Fatal(err)
		}
	}
	cert, key := c.ca.issue(c.t, pkix.Name{CommonName: "system:node:test"})
	serving, err := tls.X509KeyPair(cert, key)
	if err != nil {
		c.t.Fatal(err)
	}
	callers := x509.NewCertPool()
	callers.AddCert(c.ca.cert)
	agent, err := New(Options{
		Name: "test", Config: c.config("node"), Network: c.network, Images: images, Dir: filepath.Join(c.dir, "node"),
		ClusterDNS: netip.MustParseAddr("10.96.0.10"), ClusterDomain: "cluster.local", ServingCert: serving, ClientCA: callers,
		Logger: slog.New(slog.NewTextHandler(c.t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		c.t.Fatal(err)
	}
	c.agent = agent
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- agent.Run(ctx) }()
	c.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			c.t.Error(err)
		}
		c.checkNothingIsLeft()
	})
}

// checkNothingIsLeft looks for what pods may leave behind after the agent's end.
func (c *cluster) checkNothingIsLeft() {
	pods, err := os.ReadDir(filepath.Join(c.dir, "node", "pods"))
	if err != nil || len(pods) > 0 {
		c.t.Errorf("folders of pods are left: %v, %v", pods, err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), c.dir) {
		c.t.Errorf("mounts are left, %v:\n%s", err, mounts)
	}
	links, err := net.Interfaces()
	if err != nil {
		c.t.Error(err)
	}
	for _, link := range links {
		if strings.HasPrefix(link.Name, "pod") {
			c.t.Errorf("link %s is left", link.Name)
		}
	}
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		c.t.Error(err)
	}
	for _, process := range processes {
		line, _ := os.ReadFile(process)
		if name, _, _ := strings.Cut(string(line), "\x00"); name == "/web" || name == "sh" {
			c.t.Errorf("process %s is left: %q", process, line)
		}
	}
}

// eventually waits until check is nil.
func (c *cluster) eventually(what string, check func(context.Context) error) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	for {
		err := check(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			c.t.Fatalf("not in time: %s: %v", what, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// kubectl returns what the command wrote.
func (c *cluster) kubectl(args ...string) (string, error) {
	cmd := exec.Command(filepath.Join(c.binaries, "kubectl"), append([]string{"--kubeconfig=" + c.kubeconfig}, args...)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// authority signs the certificates of a cluster.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key}
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

func (a *authority) issue(t *testing.T, subject pkix.Name) (cert, key []byte) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: subject,
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.ParseIP(serverAddress), net.ParseIP("10.245.0.1"), net.ParseIP("127.0.0.1")},
		DNSNames:    []string{"kubernetes.default.svc"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &private.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: raw})
}
