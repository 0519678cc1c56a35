package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	xinhari "github.com/xinhari/xinhari/pkg/runtime"
)

// streamer echoes what it gets, or sends as many answers as were asked for.
type streamer struct {
	testgrpc.UnimplementedTestServiceServer
}

func (streamer) FullDuplexCall(stream testgrpc.TestService_FullDuplexCallServer) error {
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if r.GetResponseStatus() != nil {
			return status.Error(codes.Code(r.GetResponseStatus().GetCode()), r.GetResponseStatus().GetMessage())
		}
		if err := stream.Send(&testgrpc.StreamingOutputCallResponse{Payload: r.GetPayload()}); err != nil {
			return err
		}
	}
}

func (streamer) StreamingOutputCall(r *testgrpc.StreamingOutputCallRequest, stream testgrpc.TestService_StreamingOutputCallServer) error {
	for range r.GetResponseParameters() {
		if err := stream.Send(&testgrpc.StreamingOutputCallResponse{}); err != nil {
			return err
		}
	}
	return nil
}

func serveStreams(t *testing.T) string {
	t.Helper()
	name := fmt.Sprintf("streamer-%x", rand.Uint64())
	s, err := xinhari.New(name, xinhari.Options{Profile: xinhari.Local, Namespace: "default", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	testgrpc.RegisterTestServiceServer(s, streamer{})
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return name
}

func TestStream(t *testing.T) {
	laptop(t)
	name := serveStreams(t)
	file := filepath.Join(t.TempDir(), "requests.json")
	two := `{"payload":{"body":"YQ=="}}` + "\n" + `{"payload":{"body":"Yg=="}}`
	if err := os.WriteFile(file, []byte(two), 0o600); err != nil {
		t.Fatal(err)
	}
	const both, out = "grpc.testing.TestService/FullDuplexCall", "grpc.testing.TestService/StreamingOutputCall"
	echoed := []string{`{"payload":{"body":"YQ=="}}`, `{"payload":{"body":"Yg=="}}`}
	for _, c := range []struct {
		name  string
		args  []string
		stdin string
		code  int
		out   []string
		errs  string
	}{
		{name: "a server stream", args: []string{name, out, `{"response_parameters":[{},{},{}]}`}, out: []string{"{}", "{}", "{}"}},
		{name: "a server stream without answers", args: []string{name, out}},
		{name: "requests on the command line", args: []string{name, both, two}, out: echoed},
		{name: "requests in a file", args: []string{name, both, "@" + file}, out: echoed},
		{name: "requests on standard input", args: []string{name, both, "-"}, stdin: two, out: echoed},
		{name: "no request at all", args: []string{name, both, "-"}},
		{name: "an error after an answer", args: []string{name, both, echoed[0] + `{"response_status":{"code":9,"message":"enough"}}`}, code: exitFailed, out: echoed[:1], errs: "FailedPrecondition: enough"},
		{name: "no JSON after an answer", args: []string{name, both, "-"}, stdin: echoed[0] + " {oops", code: exitUsage, errs: "invalid character"},
		{name: "a method that there is not", args: []string{name, "grpc.testing.TestService/Absent"}, code: exitFailed, errs: "Unimplemented"},
		{name: "a method that is no name", args: []string{name, "Absent"}, code: exitUsage, errs: `want "Service/Method"`},
		{name: "a service that nobody serves", args: []string{name + "x", both, "--timeout=2s"}, code: exitUnavailable, errs: name + "x.default"},
		{name: "a file that is not there", args: []string{name, both, "@" + file + ".absent"}, code: exitUsage, errs: "the requests"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out, errs := do(t.Context(), c.stdin, append([]string{"stream"}, c.args...)...)
			if code != c.code || !strings.Contains(errs, c.errs) || (errs == "") != (code == 0) {
				t.Errorf("exit code %d, standard error %q; want %d, %q", code, errs, c.code, c.errs)
			}
			if c.name == "no JSON after an answer" {
				return // whether the answer came first is chance
			}
			var got []string
			for _, line := range strings.Split(strings.TrimSuffix(out, "\n"), "\n") {
				if line != "" {
					got = append(got, compact(t, line))
				}
			}
			if strings.Join(got, "\n") != strings.Join(c.out, "\n") {
				t.Errorf("output %q, want %q", got, c.out)
			}
		})
	}
	t.Run("answers as YAML documents", func(t *testing.T) {
		code, out, errs := do(t.Context(), "", "stream", name, both, two, "-o", "yaml")
		if want := "---\npayload:\n  body: YQ==\n---\npayload:\n  body: Yg==\n"; code != 0 || out != want {
			t.Errorf("exit code %d, %q, want %q; standard error %q", code, out, want, errs)
		}
	})
}

// compact takes out the spaces that protojson puts by chance.
func compact(t *testing.T, text string) string {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// signalled closes when something is first written.
type signalled struct{ first chan struct{} }

func (s signalled) Write(p []byte) (int, error) {
	select {
	case <-s.first:
	default:
		close(s.first)
	}
	return len(p), nil
}

func TestCtrlCEndsAStreamWhoseInputIsOpen(t *testing.T) {
	laptop(t)
	name := serveStreams(t)
	in, feed := io.Pipe()
	defer func() { _ = feed.Close() }()
	go func() { _, _ = io.WriteString(feed, `{}`) }()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	answered := signalled{make(chan struct{})}
	go func() {
		<-answered.first
		cancel()
	}()
	var errs strings.Builder
	code := run(ctx, []string{"stream", name, "grpc.testing.TestService/FullDuplexCall", "-"}, streams{in, answered, &errs})
	if code != exitUnavailable || !strings.Contains(errs.String(), "Canceled") {
		t.Errorf("exit code %d, standard error %q", code, errs.String())
	}
}

func TestDescribe(t *testing.T) {
	laptop(t)
	name := serveStreams(t)
	for _, c := range []struct {
		name string
		args []string
		code int
		want []string // parts of the output
		not  string   // no part of it
		errs string
	}{
		{name: "its own", args: []string{name}, want: []string{"METHOD", "grpc.testing.TestService/FullDuplexCall", "bidirectional stream"}, not: "grpc.health"},
		{name: "all", args: []string{name, "--all"}, want: []string{
			"METHOD", "grpc.testing.TestService/FullDuplexCall", "bidirectional stream", "xinhari.runtime.v1.Runtime/Describe", "grpc.health.v1.Health/Check", "{service: string}",
		}},
		{name: "a service", args: []string{name, "grpc.testing.TestService", "-o", "json"}, want: []string{`"method": "grpc.testing.TestService/UnaryCall"`, `"responseSize"`, `"int32"`, `"kind": "client stream"`}},
		{name: "a method", args: []string{name, "grpc.testing.TestService/StreamingOutputCall", "-o", "yaml"}, want: []string{"kind: server stream", "name: responseParameters", "type: list of ResponseParameters", "name: intervalUs"}},
		{name: "a service that there is not", args: []string{name, "shop.v1.Absent"}, code: exitFailed, errs: "shop.v1.Absent"},
		{name: "a method that there is not", args: []string{name, "grpc.testing.TestService/Absent"}, code: exitFailed, errs: "Absent"},
		{name: "a service that nobody serves", args: []string{name + "x", "--timeout=2s"}, code: exitUnavailable, errs: name + "x.default"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out, errs := do(t.Context(), "", append([]string{"describe"}, c.args...)...)
			if code != c.code || !strings.Contains(errs, c.errs) || (errs == "") != (code == 0) {
				t.Errorf("exit code %d, standard error %q; want %d, %q", code, errs, c.code, c.errs)
			}
			if c.not != "" && strings.Contains(out, c.not) {
				t.Errorf("the output says %q:\n%s", c.not, out)
			}
			for _, part := range c.want {
				if !strings.Contains(out, part) {
					t.Errorf("the output does not say %q:\n%s", part, out)
				}
			}
		})
	}
}

func TestCallTellsOfFieldsThatThereAreNot(t *testing.T) {
	laptop(t)
	name, _ := serve(t)
	streams := serveStreams(t)
	for _, c := range []struct {
		name, service, method, request string
		want                           []string // of each line of standard error, a part
	}{
		{"of a plain handler", name, "Greeter/Hello", `{"names":"Joe"}`, []string{`"names", which hello has not: it has name`}},
		{"which does not tell capitals", name, "Greeter/Hello", `{"NAME":"Joe"}`, nil},
		{"by name of the proto", streams, "grpc.testing.TestService/FullDuplexCall", `{"response_status":{"code":0}}`, nil},
		{
			"within a message and a list", streams, "grpc.testing.TestService/FullDuplexCall", `{"payload":{"boddy":"YQ=="},"responseParameters":[{},{"sise":1},{"sise":2}],"x":1}`,
			[]string{`"payload.boddy"`, `"responseParameters.sise"`, `"x"`},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, errs := do(t.Context(), "", "call", c.service, c.method, c.request)
			var lines []string
			for _, line := range strings.Split(strings.TrimSpace(errs), "\n") {
				if strings.HasPrefix(line, "xinhari: warning:") {
					lines = append(lines, line)
				}
			}
			if len(lines) != len(c.want) {
				t.Fatalf("%q, want %d warnings", errs, len(c.want))
			}
			for i, part := range c.want {
				if !strings.Contains(lines[i], part) {
					t.Errorf("%q does not say %q", lines[i], part)
				}
			}
		})
	}
}
