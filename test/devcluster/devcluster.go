// Package devcluster breaks the devcluster that a test runs in, and mends it
// when the test ends. The test is started by `devcluster run -- go test ./...`;
// elsewhere the functions fail it and say so, since a test that shows nothing
// is not to pass. Ask Running to skip instead.
//
// A pod is named NAMESPACE/NAME, or NAME in the namespace default; a node
// node-1, node-2 and so on; both may be an address. What each fault does is told
// by `devcluster cut --help` and the like.
package devcluster

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// Running reports whether the process is in a devcluster.
func Running() bool { return os.Getenv("DEVCLUSTER_DIR") != "" }

// Cut drops all packets between a pod or a node and one other, which may also
// be kube-apiserver, or all others.
func Cut(t testing.TB, of string, from ...string) {
	t.Helper()
	sides := append([]string{of}, from...)
	run(t, append([]string{"cut"}, sides...)...)
	undo(t, "cut", sides...)
}

// Slow holds each packet that leaves a pod or a node for some time.
func Slow(t testing.TB, of string, delay time.Duration) {
	t.Helper()
	run(t, "slow", of, delay.String())
	undo(t, "slow", of)
}

// Lose drops a share of the packets that leave a pod or a node.
func Lose(t testing.TB, of string, percent float64) {
	t.Helper()
	run(t, "lose", of, fmt.Sprint(percent))
	undo(t, "lose", of)
}

// Heal ends all faults that a pod or a node has a part in, or, of two, the cut
// between them, or, without any, all. None is no error.
func Heal(t testing.TB, sides ...string) {
	t.Helper()
	run(t, append([]string{"heal", "--ignore-not-found"}, sides...)...)
}

// undo ends one fault when the test ends, and leaves those alone that others
// of its tests made of the same pod or node.
func undo(t testing.TB, verb string, sides ...string) {
	t.Cleanup(func() {
		t.Helper()
		run(t, append([]string{"heal", "--ignore-not-found", "--only", verb}, sides...)...)
	})
}

// Stop ends a component of the control plane, or a node with its pods.
func Stop(t testing.TB, component string) {
	t.Helper()
	run(t, "stop", component)
	t.Cleanup(func() { Start(t, component) })
}

// Pause freezes a component of the control plane, or the agent of a node.
func Pause(t testing.TB, component string) {
	t.Helper()
	run(t, "pause", component)
	t.Cleanup(func() { Start(t, component) })
}

// Start undoes Stop and Pause.
func Start(t testing.TB, component string) {
	t.Helper()
	run(t, "start", component)
}

// run fails the test when the devcluster cannot do what is asked of it.
func run(t testing.TB, args ...string) {
	t.Helper()
	if !Running() {
		t.Fatal("this test needs a devcluster: start it by `devcluster run -- go test ./...`")
	}
	if out, err := exec.Command("devcluster", args...).CombinedOutput(); err != nil {
		t.Fatalf("devcluster %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
