package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/xinhari/xinhari/pkg/identity/localsource"
)

// TestMain keeps the tests' local CA out of the user's own folder.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "xinhari-tool-test-")
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
