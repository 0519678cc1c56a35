package main

import (
	"bytes"
	"context"
	_ "embed" // the pods' manifests
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/xinhari/xinhari/test/bench/internal/bare"
	"github.com/xinhari/xinhari/test/bench/internal/material"
	"github.com/xinhari/xinhari/test/bench/internal/role"
	"github.com/xinhari/xinhari/test/bench/internal/usage"
)

//go:embed memory.yaml
var memoryManifests string

// memory is what a pod of each program has resident after the same calls.
type memory struct {
	Calls int          `json:"calls"`
	Bare  usage.Memory `json:"bare"`
	Own   usage.Memory `json:"own"`
}

// moreMemory is how many MB a program that links the runtime may have more.
const moreMemory = 12

// measureMemory starts both pods and waits until they have made their calls.
func measureMemory(ctx context.Context) (m memory, err error) {
	say("two pods call themselves, for their memory")
	dir, err := os.MkdirTemp("", "xinhari-bench-")
	if err != nil {
		return m, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := material.Write(ctx, dir, filepath.Join(dir, "ca"), bare.Server, bare.Client); err != nil {
		return m, err
	}
	files := []string{"create", "secret", "generic", "bench-bare"}
	for _, name := range []string{"ca.crt", bare.Server + ".crt", bare.Server + ".key", bare.Client + ".crt", bare.Client + ".key"} {
		files = append(files, "--from-file="+filepath.Join(dir, name))
	}
	if err := kubectl(ctx, "", files...); err != nil {
		return m, err
	}
	if err := kubectl(ctx, memoryManifests, "apply", "-f", "-"); err != nil {
		return m, err
	}
	b, err := podMemory(ctx, "bench-bare")
	if err != nil {
		return m, err
	}
	o, err := podMemory(ctx, "bench-own")
	if err != nil {
		return m, err
	}
	if b.Calls != o.Calls {
		return m, fmt.Errorf("bare made %d calls and own %d", b.Calls, o.Calls)
	}
	return memory{Calls: b.Calls, Bare: b.Memory, Own: o.Memory}, nil
}

// podMemory waits for what the pod of a deployment prints.
func podMemory(ctx context.Context, deployment string) (role.Memory, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		// There is no log yet, or it does not say yet; a log may hold lines of the runtime's own.
		out, err := exec.CommandContext(ctx, "kubectl", "-n", namespace, "logs", "deployment/"+deployment).Output()
		for line := range bytes.Lines(out) {
			var m role.Memory
			if json.Unmarshal(line, &m) == nil && m.Resident > 0 {
				return m, nil
			}
		}
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			return role.Memory{}, fmt.Errorf("%s told nothing of its memory: %w; its log:\n%s", deployment, errors.Join(ctx.Err(), err), out)
		}
	}
}

// more is how many MB more own has, and whether that is what it may be.
func (m memory) more() string {
	more := (float64(m.Own.Resident) - float64(m.Bare.Resident)) / 1e6
	verdict := "missed"
	if math.Round(10*more)/10 <= moreMemory { // as it is printed
		verdict = "ok"
	}
	return fmt.Sprintf("≤ %d MB more: %.1f %s", moreMemory, more, verdict)
}

// rows are the figures in MB, below a header.
func (m memory) rows() [][]string {
	rows := [][]string{{"pod, after " + fmt.Sprint(m.Calls) + " calls", "resident, MB", "its own", "of files", "target"}}
	for _, p := range []struct {
		name   string
		memory usage.Memory
		target string
	}{{"bare", m.Bare, ""}, {"own", m.Own, m.more()}} {
		mb := func(bytes uint64) string { return fmt.Sprintf("%.1f", float64(bytes)/1e6) }
		rows = append(rows, []string{p.name, mb(p.memory.Resident), mb(p.memory.Anonymous), mb(p.memory.File), p.target})
	}
	return rows
}
