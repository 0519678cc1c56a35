package conformance

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// claim is one sentence of the documentation and what shows that it holds here.
type claim struct {
	name string
	doc  string // a page below https://kubernetes.io/docs/, with its section
	show func(*scene)
}

// subject is what a group of claims is about. Its name has no blanks, for -run.
type subject struct {
	name   string
	claims []claim
}

// table is everything that is claimed.
func table() []subject {
	return []subject{
		{"probes", probes()},
		{"restarts", restarts()},
		{"init", initContainers()},
		{"sidecars", sidecars()},
		{"hooks", hooks()},
		{"termination", terminations()},
		{"environment", environments()},
		{"volumes", volumes()},
		{"tokens", tokens()},
		{"owners", owners()},
		{"deployments", deployments()},
		{"sets", sets()},
		{"jobs", jobs()},
		{"services", services()},
		{"policies", policies()},
		{"nodes", nodes()},
		{"zones", zones()},
		{"security", securityContexts()},
		{"kubectl", kubectl()},
	}
}

func TestConformance(t *testing.T) {
	for _, subject := range table() {
		t.Run(subject.name, func(t *testing.T) {
			t.Parallel()
			for _, claim := range subject.claims {
				t.Run(claim.name, func(t *testing.T) {
					t.Parallel()
					claim.show(newScene(t))
				})
			}
		})
	}
}

func TestNamesAreSentencesOfTheirOwn(t *testing.T) {
	seen := map[string]bool{}
	for _, subject := range table() {
		for _, claim := range subject.claims {
			if claim.name == "" || claim.doc == "" || claim.show == nil || seen[claim.name] {
				t.Errorf("%s: %q lacks something or is there twice", subject.name, claim.name)
			}
			seen[claim.name] = true
		}
	}
}

var write = flag.Bool("write", false, "write README.md instead of comparing with it")

func TestReadme(t *testing.T) {
	want := readme()
	if *write {
		if err := os.WriteFile("README.md", want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("README.md is stale; write it with: go test ./conformance -run TestReadme -write\n(-want +got):\n%s", diff)
	}
}

// readme is the table for people.
func readme() []byte {
	var text bytes.Buffer
	count := 0
	for _, subject := range table() {
		count += len(subject.claims)
	}
	fmt.Fprintf(&text, `# What pods do here

%d sentences of the [Kubernetes documentation](https://kubernetes.io/docs/), each shown by a test on the devcluster: its real
control plane, and its node agent in place of a kubelet and containers. The tests write this table.

What is not claimed: what a cloud or a container runtime adds (images, load balancers, persistent volumes, limits
of CPU and memory), and NetworkPolicies, which are accepted and not enforced. Without root, the cluster
has one user: there the cases about users show that an event says so.
`, count)
	for _, subject := range table() {
		fmt.Fprintf(&text, "\n## %s\n\n| claim | documentation |\n|---|---|\n", subject.name)
		for _, claim := range subject.claims {
			fmt.Fprintf(&text, "| %s | [%s](https://kubernetes.io/docs/%s) |\n", claim.name, claim.doc, claim.doc)
		}
	}
	return text.Bytes()
}
