package interop

import (
	"context"
	"crypto"
	"crypto/x509"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func pkcs8(t *testing.T, key crypto.PrivateKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// run runs a program and returns what it says on both of its outputs.
func run(t *testing.T, name string, args ...string) (said string, failed error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	return string(out), err
}

func TestGrpcurl(t *testing.T) {
	grpcurl := program(t, "grpcurl")
	for _, secure := range []bool{false, true} {
		s := serve(t, secure)
		flags := []string{"-plaintext"}
		if secure {
			certificate, key, roots := s.files(t)
			flags = []string{"-cert", certificate, "-key", key, "-cacert", roots, "-servername", "test.default.svc"}
		}
		for _, tt := range []struct {
			name string
			args []string
			want []string
			code int
		}{
			{name: "list", args: []string{s.addr, "list"}, want: []string{"Greeter", "grpc.testing.TestService"}},
			{name: "describe", args: []string{s.addr, "describe", "grpc.testing.TestService.UnaryCall"}, want: []string{"rpc UnaryCall ( .grpc.testing.SimpleRequest )"}},
			{name: "call", args: []string{"-d", `{"response_size": 3}`, s.addr, "grpc.testing.TestService/UnaryCall"}, want: []string{`"body": "AAAA"`}},
			{name: "stream", args: []string{"-d", `{"response_parameters": [{"size": 1}, {"size": 2}]}`, s.addr, "grpc.testing.TestService/StreamingOutputCall"}, want: []string{`"AA=="`, `"AAA="`}},
			{name: "bidirectional stream", args: []string{"-d", `{"response_parameters": [{"size": 1}]} {"response_parameters": [{"size": 2}]}`, s.addr, "grpc.testing.TestService/FullDuplexCall"}, want: []string{`"AA=="`, `"AAA="`}},
			{name: "error", args: []string{"-d", `{"response_status": {"code": 5, "message": "no teapot"}}`, s.addr, "grpc.testing.TestService/UnaryCall"}, want: []string{"Code: NotFound", "no teapot"}, code: 64 + 5},
		} {
			t.Run(map[bool]string{false: "plaintext ", true: "mTLS "}[secure]+tt.name, func(t *testing.T) {
				said, err := run(t, grpcurl, append(append([]string{}, flags...), tt.args...)...)
				code := 0
				if exit, ok := err.(*exec.ExitError); ok { //nolint:errorlint // exec returns it as it is
					code = exit.ExitCode()
				} else if err != nil {
					t.Fatal(err)
				}
				if code != tt.code {
					t.Errorf("exit code %d, want %d", code, tt.code)
				}
				for _, want := range tt.want {
					if !strings.Contains(said, want) {
						t.Errorf("it does not say %q:\n%s", want, said)
					}
				}
			})
		}
	}
}

// TestConformance runs Connect's suite: all that it has for servers of
// Connect and gRPC, over HTTP/1.1, HTTP/2 and h2c.
func TestConformance(t *testing.T) {
	said, err := run(t, program(t, "connectconformance"), "--mode", "server",
		"--conf", filepath.Join("conformance", "suite.yaml"),
		"--known-failing", "@"+filepath.Join("conformance", "known-failing.txt"),
		"--known-flaky", "@"+filepath.Join("conformance", "known-flaky.txt"),
		"--", program(t, "conformance-server"))
	if err != nil || !strings.Contains(said, " 0 failed") {
		t.Errorf("%v\n%s", err, said)
	}
	t.Log(said[max(0, len(said)-200):])
}
