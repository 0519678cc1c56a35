package rules

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The README's program is examples/hello from its package clause on, so that
// it compiles and runs as it stands.
func TestTheProgramInTheREADMERuns(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile(filepath.Join(root, "examples", "hello", "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	const clause = "package main\n"
	_, want, ok := strings.Cut(string(example), "\n"+clause)
	if !ok {
		t.Fatal("examples/hello/main.go has no package clause")
	}
	var programs []string
	for _, block := range strings.Split(string(readme), "\n```go\n")[1:] {
		program, _, ended := strings.Cut(block, "\n```")
		if !ended {
			t.Fatal("a block of Go in README.md has no end")
		}
		if program, ok := strings.CutPrefix(program+"\n", clause); ok {
			programs = append(programs, program)
		}
	}
	if len(programs) != 1 {
		t.Fatalf("README.md has %d Go blocks that begin with %q, want examples/hello/main.go", len(programs), strings.TrimSpace(clause))
	}
	if diff := cmp.Diff(want, programs[0]); diff != "" {
		t.Errorf("README.md does not show examples/hello/main.go (-want +got):\n%s", diff)
	}
}
