package node

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// health is well while /tmp/well exists: by HTTP on 8080, HTTPS on 8443 and
// gRPC on 9090, where there is a service called named.
func health() {
	if err := os.WriteFile("/tmp/well", nil, 0o600); err != nil {
		panic(err)
	}
	http.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		if !well() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	http.HandleFunc("/hook/", func(w http.ResponseWriter, r *http.Request) { fmt.Println("asked for", r.URL.Path) })
	server := grpc.NewServer()
	healthpb.RegisterHealthServer(server, healthServer{})
	listener, err := net.Listen("tcp", ":9090")
	if err != nil {
		panic(err)
	}
	go func() { panic(server.Serve(listener)) }()
	go func() { panic(http.ListenAndServe(":8080", nil)) }()
	secure := &http.Server{Addr: ":8443", TLSConfig: &tls.Config{Certificates: []tls.Certificate{selfSigned()}}}
	go func() { panic(secure.ListenAndServeTLS("", "")) }()
	fmt.Println("starting")
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	<-stop
	fmt.Println("asked to stop")
}

func well() bool {
	_, err := os.Stat("/tmp/well")
	return err == nil
}

type healthServer struct {
	healthpb.UnimplementedHealthServer
}

func (healthServer) Check(_ context.Context, r *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	if !strings.Contains("named", r.Service) {
		return nil, status.Error(codes.NotFound, r.Service)
	}
	if !well() {
		return &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_NOT_SERVING}, nil
	}
	return &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_SERVING}, nil
}

// selfSigned is a certificate that nobody trusts.
func selfSigned() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
