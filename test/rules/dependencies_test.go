package rules

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// list returns the lines that go list prints, sorted and each once.
func list(t *testing.T, args ...string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list"}, args...)...)
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	lines = slices.DeleteFunc(lines, func(l string) bool { return l == "" })
	slices.Sort(lines)
	return slices.Compact(lines)
}

// linked are the modules of which a program has code that links the runtime.
// A new one is a decision: each weighs on every workload.
func linked() []string {
	return []string{
		"github.com/beorn7/perks",
		"github.com/cespare/xxhash/v2",
		"github.com/davecgh/go-spew",
		"github.com/fxamacker/cbor/v2",
		"github.com/go-logr/logr",
		"github.com/json-iterator/go",
		"github.com/modern-go/concurrent",
		"github.com/modern-go/reflect2",
		"github.com/munnerz/goautoneg",
		"github.com/pmezard/go-difflib",
		"github.com/prometheus/client_golang",
		"github.com/prometheus/client_model",
		"github.com/prometheus/common",
		"github.com/prometheus/procfs",
		"github.com/x448/float16",
		"github.com/xinhari/xinhari",
		"go.opentelemetry.io/otel",
		"go.opentelemetry.io/otel/trace",
		"go.yaml.in/yaml/v2",
		"golang.org/x/net",
		"golang.org/x/oauth2",
		"golang.org/x/sys",
		"golang.org/x/term",
		"golang.org/x/text",
		"golang.org/x/time",
		"google.golang.org/genproto/googleapis/rpc",
		"google.golang.org/grpc",
		"google.golang.org/protobuf",
		"gopkg.in/inf.v0",
		"k8s.io/apimachinery",
		"k8s.io/client-go",
		"k8s.io/klog/v2",
		"k8s.io/kube-openapi",
		"k8s.io/utils",
		"sigs.k8s.io/json",
		"sigs.k8s.io/randfill",
		"sigs.k8s.io/structured-merge-diff/v6",
		"sigs.k8s.io/yaml",
	}
}

func TestWhatAWorkloadLinks(t *testing.T) {
	for _, pkg := range []string{"./examples/hello", "./pkg/runtime"} {
		t.Run(pkg, func(t *testing.T) {
			modules := list(t, "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", pkg)
			if diff := cmp.Diff(linked(), modules); diff != "" {
				t.Errorf("modules (-want +got):\n%s", diff)
			}
			for _, p := range list(t, "-deps", pkg) {
				for _, heavy := range []string{
					"k8s.io/api", // internal/kubekinds has what is needed of it
					"k8s.io/client-go/kubernetes", "k8s.io/client-go/informers", "k8s.io/client-go/listers", "k8s.io/client-go/dynamic", "k8s.io/client-go/discovery",
					"google.golang.org/grpc/encoding/gzip", // grpc-go tells of it with each call
					"testing", "github.com/xinhari/xinhari/controllers", "github.com/xinhari/xinhari/internal/apiservertest",
				} {
					if p == heavy || strings.HasPrefix(p, heavy+"/") {
						t.Errorf("%s is linked", p)
					}
				}
			}
		})
	}
}

// Who brings other metrics or traces, or none, takes the model and the calls alone.
func TestCallsLinkNoTelemetry(t *testing.T) {
	packages := list(t, "-deps", "./pkg/rpc", "./pkg/middleware", "./pkg/middleware/accesslog")
	if !slices.Contains(packages, "github.com/xinhari/xinhari/pkg/middleware/accesslog") {
		t.Fatal("nothing is listed")
	}
	for _, p := range packages {
		if strings.HasPrefix(p, "github.com/prometheus/") || strings.HasPrefix(p, "go.opentelemetry.io/") {
			t.Errorf("%s is linked", p)
		}
	}
	for _, p := range list(t, "-deps", "./pkg/runtime") {
		if strings.HasPrefix(p, "go.opentelemetry.io/otel/sdk") {
			t.Errorf("%s is linked: which SDK there is, the application says", p)
		}
	}
}

// The API types are for everybody's import, and take nothing along.
func TestTheAPITypesImportAPIMachineryOnly(t *testing.T) {
	for _, p := range list(t, "-f", `{{join .Imports "\n"}}`, "./api/...") {
		first, _, _ := strings.Cut(p, "/")
		if strings.Contains(first, ".") && !strings.HasPrefix(p, "k8s.io/apimachinery/") {
			t.Errorf("api imports %s", p)
		}
	}
}
