package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"sigs.k8s.io/yaml"

	"github.com/xinhari/xinhari/pkg/rpc"
	xinhari "github.com/xinhari/xinhari/pkg/runtime"
)

type hello struct {
	Name string `json:"name"`
}

// serve starts a service on the loopback interface whose name nobody else
// has. Its method Greeter/Wait closes waiting and answers when its caller goes.
func serve(t *testing.T) (name string, waiting <-chan struct{}) {
	t.Helper()
	name = fmt.Sprintf("greeter-%x", rand.Uint64())
	s, err := xinhari.New(name, xinhari.Options{Profile: xinhari.Local, Namespace: "default", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	called := make(chan struct{})
	for method, handle := range map[string]func(context.Context, *hello) (*hello, error){
		"Greeter/Hello": func(_ context.Context, h *hello) (*hello, error) { return &hello{Name: "Hello " + h.Name}, nil },
		"Greeter/Fail": func(context.Context, *hello) (*hello, error) {
			return nil, status.Error(codes.NotFound, "no such greeting")
		},
		"Greeter/Refuse": func(_ context.Context, h *hello) (*hello, error) {
			return nil, fmt.Errorf("greet %s: %w", h.Name, &rpc.Error{
				Code: codes.FailedPrecondition, Reason: "TOO_LATE", Domain: "greeter.example", Message: "the day is over",
				Metadata: map[string]string{"hour": "23"},
				Details:  []proto.Message{&errdetails.RetryInfo{RetryDelay: durationpb.New(time.Hour)}, &anypb.Any{TypeUrl: "example.com/a.B", Value: []byte{255}}},
			})
		},
		"Greeter/Wait": func(ctx context.Context, _ *hello) (*hello, error) {
			close(called)
			<-ctx.Done()
			return nil, ctx.Err()
		},
	} {
		if err := rpc.Handle(s, method, handle); err != nil {
			t.Fatal(err)
		}
	}
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
	return name, called
}

// laptop clears what the environment of the test may say.
func laptop(t *testing.T) {
	t.Helper()
	for _, name := range []string{"XINHARI_PROFILE", "XINHARI_NAMESPACE", "XINHARI_ADDRESS", "XINHARI_MANIFESTS", "XINHARI_LOG", "KUBERNETES_SERVICE_HOST"} {
		t.Setenv(name, "")
	}
	left := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, left) })
}

// do runs a command line.
func do(ctx context.Context, stdin string, args ...string) (code int, stdout, stderr string) {
	var out, errs strings.Builder
	code = run(ctx, args, streams{strings.NewReader(stdin), &out, &errs})
	return code, out.String(), errs.String()
}

func TestCall(t *testing.T) {
	laptop(t)
	name, _ := serve(t)
	request := filepath.Join(t.TempDir(), "request.json")
	if err := os.WriteFile(request, []byte(`{"name":"file"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	large := filepath.Join(t.TempDir(), "large.json")
	if err := os.WriteFile(large, []byte(`"`+strings.Repeat("x", maxRequest)+`"`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		args  []string
		stdin string
		code  int
		out   string
		errs  []string // parts of what is written to standard error
	}{
		{name: "the request on the command line", args: []string{name, "Greeter/Hello", `{"name":"Joe"}`}, out: `{"name":"Hello Joe"}` + "\n"},
		{name: "the name with its namespace", args: []string{name + ".default", "Greeter/Hello", `{"name":"Joe"}`}, out: `{"name":"Hello Joe"}` + "\n"},
		{name: "no request is an empty one", args: []string{name, "Greeter/Hello"}, out: `{"name":"Hello "}` + "\n"},
		{name: "the request in a file", args: []string{name, "Greeter/Hello", "@" + request}, out: `{"name":"Hello file"}` + "\n"},
		{name: "the request on standard input", args: []string{name, "Greeter/Hello", "-"}, stdin: `{"name":"pipe"}`, out: `{"name":"Hello pipe"}` + "\n"},
		{name: "the answer as YAML", args: []string{name, "Greeter/Hello", `{"name":"Joe"}`, "-o", "yaml"}, out: "name: Hello Joe\n"},
		{name: "the answer as JSON", args: []string{name, "Greeter/Hello", `{"name":"Joe"}`, "--output=json"}, out: `{"name":"Hello Joe"}` + "\n"},
		{name: "an error of the service", args: []string{name, "Greeter/Fail"}, code: exitFailed, errs: []string{"NotFound: no such greeting"}},
		{name: "an error with a reason", args: []string{name, "Greeter/Refuse", `{"name":"Joe"}`}, code: exitFailed,
			errs: []string{"xinhari: FailedPrecondition: greet Joe: the day is over (reason TOO_LATE, domain greeter.example, hour=23)\n"}},
		{name: "an error with a reason as YAML", args: []string{name, "Greeter/Refuse", `{"name":"Joe"}`, "-o=yaml"}, code: exitFailed,
			errs: []string{"code: FailedPrecondition\n", "reason: TOO_LATE\n", "domain: greeter.example\n", "hour: \"23\"\n"}},
		{name: "a method that there is not", args: []string{name, "Greeter/Absent"}, code: exitFailed, errs: []string{"Unimplemented"}},
		{name: "a method that is no name", args: []string{name, "Hello"}, code: exitUsage, errs: []string{"Hello"}},
		{name: "a service that is no name", args: []string{"Not/AName", "Greeter/Hello"}, code: exitUsage, errs: []string{"DNS label"}},
		{name: "a service that nobody serves", args: []string{name + "x", "Greeter/Hello", "--timeout=10s"}, code: exitUnavailable, errs: []string{"Unavailable", name + "x.default", "mDNS does not know it"}},
		{name: "a service of another namespace", args: []string{name, "Greeter/Hello", "-n", "shop"}, code: exitUnavailable, errs: []string{name + ".shop"}},
		{name: "no JSON", args: []string{name, "Greeter/Hello", "{name: Joe}"}, code: exitUsage, errs: []string{"no JSON", "{name: Joe}"}},
		{name: "nothing on standard input", args: []string{name, "Greeter/Hello", "-"}, code: exitUsage, errs: []string{"no JSON"}},
		{name: "a file that is not there", args: []string{name, "Greeter/Hello", "@" + request + ".absent"}, code: exitUsage, errs: []string{"the request", request + ".absent"}},
		{name: "a request that is too large", args: []string{name, "Greeter/Hello", "@" + large}, code: exitUsage, errs: []string{"larger than"}},
		{name: "too few arguments", args: []string{name}, code: exitUsage, errs: []string{"arg"}},
		{name: "too many arguments", args: []string{name, "Greeter/Hello", "{}", "{}"}, code: exitUsage, errs: []string{"arg"}},
		{name: "an output that there is not", args: []string{name, "Greeter/Hello", "-o", "xml"}, code: exitUsage, errs: []string{`"xml"`, "table, json or yaml"}},
		{name: "a timeout that is none", args: []string{name, "Greeter/Hello", "--timeout", "0s"}, code: exitUsage, errs: []string{"--timeout", "5s"}},
		{name: "a timeout without a unit", args: []string{name, "Greeter/Hello", "--timeout", "5"}, code: exitUsage, errs: []string{"--timeout", "5"}},
		{name: "a namespace that is no name", args: []string{name, "Greeter/Hello", "-n", "a.b"}, code: exitUsage, errs: []string{"a.b", "DNS label"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out, errs := do(t.Context(), c.stdin, append([]string{"call"}, c.args...)...)
			if code != c.code || out != c.out {
				t.Errorf("exit code %d, output %q; want %d, %q (standard error %q)", code, out, c.code, c.out, errs)
			}
			if (errs == "") != (c.code == 0) {
				t.Errorf("standard error %q", errs)
			}
			for _, part := range c.errs {
				if !strings.Contains(errs, part) {
					t.Errorf("standard error %q does not say %q", errs, part)
				}
			}
		})
	}
}

// TestErrorsAsJSON holds that a script can read what a call failed with.
func TestErrorsAsJSON(t *testing.T) {
	laptop(t)
	name, _ := serve(t)
	code, out, errs := do(t.Context(), "", "call", name, "Greeter/Refuse", `{"name":"Joe"}`, "-o", "json")
	if code != exitFailed || out != "" {
		t.Fatalf("exit code %d, output %q", code, out)
	}
	var got any
	if err := json.Unmarshal([]byte(errs), &got); err != nil {
		t.Fatalf("%v in %q", err, errs)
	}
	want := map[string]any{
		"code": "FailedPrecondition", "message": "greet Joe: the day is over", "reason": "TOO_LATE", "domain": "greeter.example",
		"metadata": map[string]any{"hour": "23"},
		"details": []any{
			map[string]any{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "3600s"},
			map[string]any{"@type": "example.com/a.B", "value": "/w=="},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
}

func TestCtrlCEndsACall(t *testing.T) {
	laptop(t)
	name, waiting := serve(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		<-waiting
		cancel()
	}()
	code, out, errs := do(ctx, "", "call", name, "Greeter/Wait", "--timeout=1m")
	if code != exitUnavailable || out != "" || !strings.Contains(errs, "Canceled") {
		t.Errorf("exit code %d, output %q, standard error %q", code, out, errs)
	}
}

func TestServicesAreListed(t *testing.T) {
	laptop(t)
	name, _ := serve(t)
	type row struct{ Namespace, Name string }
	for _, c := range []struct {
		format string
		parse  func([]byte, any) error
	}{
		{"json", json.Unmarshal},
		{"yaml", func(data []byte, v any) error { return yaml.Unmarshal(data, v) }},
		{"", func(data []byte, v any) error {
			lines := strings.Split(strings.TrimSpace(string(data)), "\n")
			if diff := cmp.Diff([]string{"NAMESPACE", "NAME"}, strings.Fields(lines[0])); diff != "" {
				return errors.New(diff)
			}
			for _, l := range lines[1:] {
				f := strings.Fields(l)
				*v.(*[]row) = append(*v.(*[]row), row{f[0], f[1]})
			}
			return nil
		}},
	} {
		t.Run("as "+c.format, func(t *testing.T) {
			code, out, errs := do(t.Context(), "", "services", "-o", c.format)
			if code != 0 || errs != "" {
				t.Fatalf("exit code %d, standard error %q", code, errs)
			}
			var rows []row
			if err := c.parse([]byte(out), &rows); err != nil {
				t.Fatalf("%v in %q", err, out)
			}
			found := 0
			for _, r := range rows {
				if r == (row{"default", name}) {
					found++
				}
			}
			if found != 1 {
				t.Errorf("%s is there %d times in %q", name, found, out)
			}
		})
	}
}

func TestStatusTellsTheCertificate(t *testing.T) {
	laptop(t)
	name, _ := serve(t)
	for _, format := range []string{"", "-o=json"} {
		args := []string{"status", name}
		if format != "" {
			args = append(args, format)
		}
		code, out, errs := do(t.Context(), "", args...)
		if code != 0 || !strings.Contains(out, "spiffe://local/ns/default/sa/"+name) || !strings.Contains(out, "bundleHash") || strings.Contains(out, "PRIVATE") {
			t.Errorf("%q: exit code %d, %s %s", args, code, out, errs)
		}
	}
	if code, _, errs := do(t.Context(), "", "status", "nobody-has-this-name", "--timeout", "300ms"); code != exitUnavailable || errs == "" {
		t.Errorf("of a service that there is not: exit code %d, %s", code, errs)
	}
}

func TestTheCommandLine(t *testing.T) {
	laptop(t)
	for _, c := range []struct {
		name string
		args []string
		code int
		out  []string
		errs []string
	}{
		{name: "nothing is help", out: []string{"xinhari finds and calls services", "Exit codes", "call", "services", "version"}},
		{name: "help of a command", args: []string{"call", "--help"}, out: []string{"SERVICE METHOD", "@request.json"}},
		{name: "the version", args: []string{"version"}, out: []string{"VERSION"}},
		{name: "the version as JSON", args: []string{"version", "-o", "json"}, out: []string{`"version": `}},
		{name: "the version as a flag", args: []string{"--version"}, out: []string{"xinhari"}},
		{name: "completion", args: []string{"completion", "bash"}, out: []string{"complete"}},
		{name: "a command that there is not", args: []string{"services-list"}, code: exitUsage, errs: []string{"services-list", "xinhari --help"}},
		{name: "a slip of the pen", args: []string{"servcies"}, code: exitUsage, errs: []string{"servcies", "services"}},
		{name: "a flag that there is not", args: []string{"services", "--verbos"}, code: exitUsage, errs: []string{"--verbos", "--help"}},
		{name: "an argument too many", args: []string{"version", "now"}, code: exitUsage, errs: []string{"now"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out, errs := do(t.Context(), "", c.args...)
			if code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			for text, parts := range map[string][]string{out: c.out, errs: c.errs} {
				for _, part := range parts {
					if !strings.Contains(text, part) {
						t.Errorf("%q does not say %q", text, part)
					}
				}
			}
		})
	}
}

func TestInAPodWithoutATokenNobodyIsAsked(t *testing.T) {
	laptop(t)
	t.Setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
	code, _, errs := do(t.Context(), "", "services")
	if code != exitUnavailable || !strings.Contains(errs, "automountServiceAccountToken") {
		t.Errorf("exit code %d, standard error %q", code, errs)
	}
}
