// Package conformance shows, against the real control plane, that pods behave as
// the Kubernetes documentation says they do, and that programs made by others
// (Helm, NATS, etcd) run in the cluster as they are.
//
// All tests share one cluster: the test binary starts itself again in it. It is
// also the image of the pods, under another name. README.md is the table of what
// is claimed, with links; a test holds it equal to the cases.
package conformance

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Environment of the tests; make test sets it.
const (
	binaryEnv = "DEVCLUSTER_BINARY"  // devcluster
	helmEnv   = "HELM"               // Helm
	imagesEnv = "CONFORMANCE_IMAGES" // a folder with nats-server
	insideEnv = "CONFORMANCE_INSIDE" // set by the tests themselves: they are in the cluster
)

const howToRun = "run `make test`, or, after `make devcluster helm nats-server`:\n" +
	"  DEVCLUSTER_BINARY=$PWD/bin/devcluster HELM=$PWD/bin/helm CONFORMANCE_IMAGES=$PWD/bin GOFLAGS=-trimpath go test -C hack/devcluster ./conformance"

// atOnce is how many cases run at a time. They wait most of the time.
const atOnce = 16

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == actorName {
		os.Exit(act(os.Args[1:]))
	}
	if os.Getenv(insideEnv) != "" {
		os.Exit(m.Run())
	}
	code, err := inCluster()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// inCluster runs this program again in a cluster of its own and returns its exit code.
func inCluster() (int, error) {
	devcluster := os.Getenv(binaryEnv)
	if devcluster == "" {
		return 0, fmt.Errorf("%s is not set: %s", binaryEnv, howToRun)
	}
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	images, err := os.MkdirTemp("", "conformance-images-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(images)
	if err := os.Chmod(images, 0o755); err != nil {
		return 0, err
	}
	for name, program := range map[string]string{
		actorName:     self,
		"etcd":        devcluster, // which is etcd by that name
		"nats-server": filepath.Join(os.Getenv(imagesEnv), "nats-server"),
	} {
		if err := os.Symlink(program, filepath.Join(images, name)); err != nil {
			return 0, err
		}
	}
	args := append([]string{"run", "--nodes", "3", "--images", images, "--", self}, os.Args[1:]...)
	if !slices.ContainsFunc(os.Args, func(arg string) bool { return strings.HasPrefix(arg, "-test.parallel") }) {
		args = append(args, fmt.Sprint("-test.parallel=", atOnce))
	}
	cmd := exec.Command(devcluster, args...)
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return max(exit.ExitCode(), 1), nil
	}
	return 0, err
}

// mapsUsers reports whether there are more users than one: without root there is only the one who started the cluster.
func mapsUsers(s *scene) bool {
	s.Helper()
	data, err := os.ReadFile("/proc/self/uid_map")
	s.must(err)
	return !strings.HasSuffix(strings.TrimSpace(string(data)), " 1")
}
