package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/xinhari/xinhari/pkg/identity/localsource"
	baregrpc "github.com/xinhari/xinhari/test/bench/internal/bare"
	"github.com/xinhari/xinhari/test/bench/internal/material"
)

// folder is where the programs that are measured are.
const folder = "github.com/xinhari/xinhari/test/bench/"

// prepare makes what a run needs in dir: the subjects' programs, each linking
// its own only, so that it has no other's memory; and certificates of one CA.
func prepare(ctx context.Context, dir string) error {
	for _, name := range []string{bare, own} {
		var out bytes.Buffer
		c := exec.CommandContext(ctx, "go", "build", "-o", program(dir, name), folder+name)
		c.Stdout, c.Stderr = &out, &out
		if err := c.Run(); err != nil {
			return fmt.Errorf("building %s: %w\n%s", name, err, out.Bytes())
		}
	}
	ca := filepath.Join(dir, "ca")
	if err := material.Write(ctx, dir, ca, baregrpc.Server, baregrpc.Client); err != nil {
		return err
	}
	return errors.Join(os.Setenv(localsource.EnvDir, ca), os.Setenv(baregrpc.EnvFolder, dir))
}

func program(dir, name string) string { return filepath.Join(dir, name) }
