//go:build linux

package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// BenchmarkReady is from the start of the program to the first command in a
// ready cluster, and from that command's end to nothing being left.
func BenchmarkReady(b *testing.B) {
	var ready, gone time.Duration
	for b.Loop() {
		began := time.Now()
		s := launch(b, where+"read line")
		s.inside()
		ready += time.Since(began)
		s.stdin.Close()
		began = time.Now()
		s.wait()
		gone += time.Since(began)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(ready.Seconds()/float64(b.N), "s-to-ready")
	b.ReportMetric(gone.Seconds()/float64(b.N), "s-to-gone")
}

// BenchmarkHundredPods is from the command that makes a Deployment of 100
// replicas to all of them being ready, and from its deletion to the last one being gone.
func BenchmarkHundredPods(b *testing.B) {
	folder := images(b)
	var ready, gone time.Duration
	for b.Loop() {
		s := launch(b, where+`read line
			kubectl create deployment web --image=xinhari.local/web:dev --replicas=100 >/dev/null
			kubectl rollout status deployment/web --timeout=5m >/dev/null && echo ready; read line
			kubectl delete deployment web --cascade=foreground >/dev/null && kubectl wait --for=delete pods --all --timeout=5m >/dev/null; echo gone`, "--images", folder)
		s.inside()
		step := func(want string) time.Duration {
			began := time.Now()
			fmt.Fprintln(s.stdin)
			if line := s.line(); line != want {
				b.Fatalf("got %q, want %s\n%s", line, want, s.stderr)
			}
			return time.Since(began)
		}
		ready += step("ready")
		gone += step("gone")
		s.stdin.Close()
		s.wait()
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(ready.Seconds()/float64(b.N), "s-to-ready")
	b.ReportMetric(gone.Seconds()/float64(b.N), "s-to-gone")
}

// BenchmarkIdle is what a cluster without pods takes when its start is over:
// memory of all its processes, with what they share counted once
// (proportional set size), and the share of one core over half a minute.
func BenchmarkIdle(b *testing.B) {
	const settle, window = 20 * time.Second, 30 * time.Second
	var bytes, share float64
	for b.Loop() {
		s := launch(b, where+"read line")
		s.inside()
		time.Sleep(settle)
		all := append(s.descendants(), s.cmd.Process.Pid)
		before := ticks(all)
		time.Sleep(window)
		share += float64(ticks(all)-before) / 100 / window.Seconds()
		for _, p := range all {
			bytes += proportional(b, p)
		}
		s.stdin.Close()
		s.wait()
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(bytes/1e6/float64(b.N), "MB")
	b.ReportMetric(100*share/float64(b.N), "%-of-a-core")
}

// ticks is the processor time of the processes, in hundredths of a second.
func ticks(pids []int) int {
	sum := 0
	for _, p := range pids {
		sum += stat(p, 14) + stat(p, 15) // utime and stime
	}
	return sum
}

// proportional is a process's proportional set size in bytes.
func proportional(b *testing.B, pid int) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var kib float64
		if n, _ := fmt.Sscanf(line, "Pss: %f kB", &kib); n == 1 {
			return kib * 1024
		}
	}
	b.Fatalf("no Pss of process %d", pid)
	return 0
}
