package conformance

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// actorName is the name under which the test binary is the program of a pod.
const actorName = "actor"

// Ports of the actor.
const (
	httpPort  = 8080
	httpsPort = 8443
	grpcPort  = 9000
)

// act serves until SIGTERM or until it is told to exit.
//
//	actor                serves, healthy
//	actor unwell         serves, unhealthy until told otherwise
//	actor list RESOURCE  prints what there is in the pod's namespace
func act(args []string) int {
	if len(args) == 2 && args[0] == "list" {
		return list(args[1])
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	a := newActor(len(args) == 0 || args[0] != "unwell")
	failed := make(chan error, 3)
	for _, serve := range []func() error{a.serveHTTP, a.serveHTTPS, a.serveGRPC} {
		go func() { failed <- serve() }() // ends with the process
	}
	fmt.Println("serving")
	select {
	case err := <-failed:
		fmt.Fprintln(os.Stderr, err)
		return 1
	case code := <-a.exit:
		fmt.Println("told to exit")
		return code
	case <-ctx.Done():
		fmt.Println("terminated")
		return 0
	}
}

func list(resource string) int {
	config, err := rest.InClusterConfig()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	namespace, err := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	result := client.CoreV1().RESTClient().Get().Namespace(string(namespace)).Resource(resource).Do(context.Background())
	if err := result.Error(); err != nil {
		fmt.Println(err)
		return 1
	}
	answer, _ := result.Raw()
	fmt.Println(string(answer))
	return 0
}

// actor is a server whose health can be switched.
type actor struct {
	healthy atomic.Bool
	grpc    *health.Server
	exit    chan int
}

func newActor(healthy bool) *actor {
	a := &actor{grpc: health.NewServer(), exit: make(chan int)}
	a.set(healthy)
	return a
}

func (a *actor) set(healthy bool) {
	a.healthy.Store(healthy)
	status := healthv1.HealthCheckResponse_NOT_SERVING
	if healthy {
		status = healthv1.HealthCheckResponse_SERVING
	}
	a.grpc.SetServingStatus("", status)
	a.grpc.SetServingStatus("named", status)
}

// ServeHTTP answers:
//
//	/healthz            200 or 503
//	/set/well, unwell   switches that
//	/code/N             N
//	/wants/VALUE        200 if the header X-Wants has the value, else 400
//	/exit/N             nothing: the process ends with N
//	/                   the host's name
func (a *actor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.PathValue("what") {
	case "":
		name, _ := os.Hostname()
		_, _ = fmt.Fprintln(w, name)
	case "healthz":
		if !a.healthy.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	case "set":
		a.set(r.PathValue("value") == "well")
	case "code":
		code, _ := strconv.Atoi(r.PathValue("value"))
		w.WriteHeader(code)
	case "wants":
		if r.Header.Get("X-Wants") != r.PathValue("value") {
			w.WriteHeader(http.StatusBadRequest)
		}
	case "exit":
		code, _ := strconv.Atoi(r.PathValue("value"))
		a.exit <- code
	}
}

func (a *actor) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/{$}", a)
	mux.Handle("/{what}", a)
	mux.Handle("/{what}/{value}", a)
	return mux
}

func (a *actor) serveHTTP() error {
	return http.ListenAndServe(fmt.Sprint(":", httpPort), a.handler())
}

func (a *actor) serveHTTPS() error {
	certificate, err := selfSigned()
	if err != nil {
		return err
	}
	listener, err := tls.Listen("tcp", fmt.Sprint(":", httpsPort), &tls.Config{Certificates: []tls.Certificate{certificate}})
	if err != nil {
		return err
	}
	return http.Serve(listener, a.handler())
}

func (a *actor) serveGRPC() error {
	listener, err := net.Listen("tcp", fmt.Sprint(":", grpcPort))
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	healthv1.RegisterHealthServer(server, a.grpc)
	if err := server.Serve(listener); err != nil {
		return err
	}
	return errors.New("the gRPC server ended")
}

func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}
