package runtime_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/xinhari/xinhari/pkg/identity/localsource"
	xinhari "github.com/xinhari/xinhari/pkg/runtime"
)

// TestMain keeps the tests' local CA out of the user's own folder. For the
// tests of exit codes the test program is also the program that exits.
func TestMain(m *testing.M) {
	if name := os.Getenv(programEnv); name != "" {
		os.Exit(xinhari.ExitCode(programs()[name]()))
	}
	dir, err := os.MkdirTemp("", "xinhari-runtime-test-")
	if err == nil {
		err = os.Setenv(localsource.EnvDir, filepath.Join(dir, "ca"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}
