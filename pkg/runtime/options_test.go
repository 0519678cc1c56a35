package runtime

import (
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xinhari/xinhari/pkg/discovery"
	"github.com/xinhari/xinhari/pkg/discovery/memorydiscovery"
	"github.com/xinhari/xinhari/pkg/identity"
)

// environment returns a getenv of "NAME=value" pairs.
func environment(pairs ...string) func(string) string {
	return func(name string) string {
		for _, p := range pairs {
			if n, v, _ := strings.Cut(p, "="); n == name {
				return v
			}
		}
		return ""
	}
}

func TestDecide(t *testing.T) {
	// decided is what the table looks at.
	type decided struct {
		Profile                          Profile
		Why                              string
		Service                          string
		Address, AdminAddress, Manifests string
		DrainTimeout, ShutdownTimeout    time.Duration
		HasLogger, HasNetwork            bool
	}
	local := decided{
		Profile: Local, Why: "neither XINHARI_PROFILE nor KUBERNETES_SERVICE_HOST is set", Service: "orders.default",
		Address: "127.0.0.1:0", AdminAddress: "off", DrainTimeout: 5 * time.Second, ShutdownTimeout: 25 * time.Second,
		HasLogger: true, HasNetwork: true,
	}
	with := func(change func(*decided)) decided {
		d := local
		change(&d)
		return d
	}
	for _, c := range []struct {
		name    string
		options Options
		env     []string
		want    decided
	}{
		{name: "a laptop, nothing said", want: local},
		{
			name: "the environment says it all",
			env: []string{
				"XINHARI_PROFILE=local", "XINHARI_NAMESPACE=shop", "XINHARI_ADDRESS=127.0.0.1:9", "XINHARI_ADMIN_ADDRESS=:10",
				"XINHARI_MANIFESTS=/etc/m", "XINHARI_LOG=off", "KUBERNETES_SERVICE_HOST=10.0.0.1",
			},
			want: with(func(d *decided) {
				d.Why, d.Service, d.Address, d.AdminAddress, d.Manifests = "XINHARI_PROFILE is local", "orders.shop", "127.0.0.1:9", ":10", "/etc/m"
			}),
		},
		{
			name:    "options come before the environment",
			options: Options{Profile: Local, Namespace: "shop", Address: ":1", AdminAddress: "off", Manifests: "m", DrainTimeout: 1, ShutdownTimeout: 2},
			env:     []string{"XINHARI_PROFILE=kubernetes", "XINHARI_NAMESPACE=x", "XINHARI_ADDRESS=x", "XINHARI_ADMIN_ADDRESS=x", "XINHARI_MANIFESTS=x"},
			want: with(func(d *decided) {
				d.Why, d.Service, d.Address, d.Manifests, d.DrainTimeout, d.ShutdownTimeout = "Options.Profile is local", "orders.shop", ":1", "m", 1, 2
			}),
		},
		{
			name: "a pod",
			env:  []string{"KUBERNETES_SERVICE_HOST=10.0.0.1", "XINHARI_NAMESPACE=shop"},
			want: with(func(d *decided) {
				d.Profile, d.Why, d.Service, d.Address, d.AdminAddress = Kubernetes, "KUBERNETES_SERVICE_HOST is set", "orders.shop", ":8080", ":8081"
			}),
		},
		{
			name:    "a test",
			options: Options{Profile: Test, Discovery: memorydiscovery.New(discovery.Options{}), Transport: identity.Plaintext()},
			want:    with(func(d *decided) { d.Profile, d.Why = Test, "Options.Profile is test" }),
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := decide("orders", c.options, environment(c.env...))
			if err != nil {
				t.Fatal(err)
			}
			got := decided{
				s.Profile, s.why, s.service.String(), s.Address, s.AdminAddress, s.Manifests, s.DrainTimeout, s.ShutdownTimeout,
				s.Logger != nil, s.Network != nil,
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestBadOptionsSayWhatToDo(t *testing.T) {
	pod := []string{"KUBERNETES_SERVICE_HOST=10.0.0.1", "KUBERNETES_SERVICE_PORT=443"}
	for _, c := range []struct {
		name    string
		service string // "" is orders
		options Options
		env     []string
		want    []string
	}{
		{name: "a name with a dot", service: "or.ders", want: []string{`"or.ders"`, "DNS labels"}},
		{name: "a name in capitals", service: "Orders", want: []string{`"Orders"`, "DNS labels"}},
		{name: "a name that is too long", service: strings.Repeat("a", 64), want: []string{"up to 63"}},
		{name: "a name that begins with a dash", service: "-a", want: []string{"DNS labels"}},
		{name: "a namespace with a dot", options: Options{Namespace: "a.b"}, want: []string{`namespace "a.b"`, "DNS labels"}},
		{name: "an address without a port", options: Options{Address: "127.0.0.1"}, want: []string{`address "127.0.0.1"`, "want host:port", ":8080"}},
		{name: "an address of the environment", env: []string{"XINHARI_ADDRESS=8080"}, want: []string{`address "8080"`, "want host:port"}},
		{name: "an admin address without a port", options: Options{AdminAddress: "on"}, want: []string{`admin address "on"`, "host:port", `"off" for none`}},
		{name: "a profile", options: Options{Profile: "cloud"}, want: []string{`"cloud" from Options.Profile`, "local, kubernetes or test"}},
		{name: "a profile of the environment", env: []string{"XINHARI_PROFILE=k8s"}, want: []string{`"k8s" from XINHARI_PROFILE`, "local, kubernetes or test"}},
		{name: "a log level", env: []string{"XINHARI_LOG=loud"}, want: []string{`XINHARI_LOG="loud"`, "debug, info, warn, error or off"}},
		{name: "manifests in a cluster", options: Options{Namespace: "a", Manifests: "m"}, env: pod, want: []string{"XINHARI_MANIFESTS", "kubectl"}},
		{name: "the test profile without a network", options: Options{Profile: Test}, want: []string{"runtimetest.New(t).Service"}},
		{name: "a compressor that is not linked", options: Options{Profile: Local, Compressor: "gzip"}, want: []string{`"gzip"`, `import _ "google.golang.org/grpc/encoding/gzip"`}},
		{name: "a negative drain timeout", options: Options{DrainTimeout: -1}, want: []string{"DrainTimeout", "negative"}},
		{name: "a negative shutdown timeout", options: Options{ShutdownTimeout: -1}, want: []string{"ShutdownTimeout", "negative"}},
		{name: "manifests that are not there", options: Options{Manifests: "/nowhere"}, want: []string{"/nowhere"}},
		{name: "a pod without a token", env: pod, want: []string{"no service account token", "automountServiceAccountToken", "XINHARI_PROFILE=local"}},
		{
			name: "a pod without a token, its namespace known", env: append(pod, "XINHARI_NAMESPACE=shop"),
			want: []string{"no service account token", "automountServiceAccountToken", "XINHARI_PROFILE=local"},
		},
		{name: "the kubernetes profile on a laptop", options: Options{Profile: Kubernetes}, want: []string{"outside of a pod", "XINHARI_PROFILE", "local"}},
		{
			name: "the kubernetes profile on a laptop, the namespace known", options: Options{Profile: Kubernetes, Namespace: "shop"},
			want: []string{"outside of a pod", "XINHARI_PROFILE", "local"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, name := range []string{
				"XINHARI_PROFILE", "XINHARI_NAMESPACE", "XINHARI_ADDRESS", "XINHARI_ADMIN_ADDRESS", "XINHARI_MANIFESTS", "XINHARI_LOG",
				"KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT",
			} {
				t.Setenv(name, environment(c.env...)(name))
			}
			if _, err := os.Stat(accountFolder); err == nil {
				t.Fatalf("this test wants a machine that is no pod: %s exists", accountFolder)
			}
			service := c.service
			if service == "" {
				service = "orders"
			}
			_, err := New(service, c.options)
			if err == nil {
				t.Fatal("no error")
			}
			if !strings.HasPrefix(err.Error(), "xinhari: ") {
				t.Errorf("error %q does not say whose it is", err)
			}
			for _, part := range c.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not say %q", err, part)
				}
			}
		})
	}
}

func TestLogLevels(t *testing.T) {
	for _, c := range []struct {
		level string
		want  slog.Level // the lowest that is written
	}{{"", slog.LevelInfo}, {"debug", slog.LevelDebug}, {"info", slog.LevelInfo}, {"WARN", slog.LevelWarn}, {"error", slog.LevelError}} {
		for _, p := range []Profile{Local, Kubernetes} {
			l, err := newLogger(p, c.level)
			if err != nil {
				t.Fatal(err)
			}
			if !l.Enabled(t.Context(), c.want) || l.Enabled(t.Context(), c.want-1) {
				t.Errorf("%s, level %q: does not begin at %v", p, c.level, c.want)
			}
		}
	}
	l, err := newLogger(Local, "off")
	if err != nil || l.Enabled(t.Context(), slog.LevelError) {
		t.Errorf("off is not silent (error %v)", err)
	}
}
