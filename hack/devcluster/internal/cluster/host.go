package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/xinhari/xinhari/hack/devcluster/internal/controlplane"
	"github.com/xinhari/xinhari/hack/devcluster/internal/proxy"
	"github.com/xinhari/xinhari/hack/devcluster/internal/sandbox"
)

// hostMark begins a kubeconfig that a cluster wrote for the host, which alone it may replace and remove.
const hostMark = "# Of a devcluster, and gone with it.\n"

// hostPort is a door from the host to the API server: a socket that listens
// on the host's loopback interface and whose connections the supervisor
// takes, since a socket stays in the namespace that it was made in.
type hostPort struct {
	kubeconfig string
	listener   *os.File
}

// openHostPort makes the socket, on a port that the kernel chooses.
func openHostPort(kubeconfig string) (*hostPort, error) {
	path, err := filepath.Abs(kubeconfig)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Stat(filepath.Dir(path)); err != nil {
			return nil, fmt.Errorf("--kubeconfig: %w", err)
		}
	case err != nil:
		return nil, fmt.Errorf("--kubeconfig: %w", err)
	case !bytes.HasPrefix(text, []byte(hostMark)):
		return nil, fmt.Errorf("--kubeconfig: %s is there already and is not of a devcluster: name a new file", path)
	case living(text):
		return nil, fmt.Errorf("--kubeconfig: %s is of a cluster that runs: name another file", path)
	}
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	file, err := listener.File()
	if err != nil {
		return nil, err
	}
	return &hostPort{kubeconfig: path, listener: file}, nil
}

// living reports whether the cluster that wrote a kubeconfig still answers; one that was killed left it.
func living(text []byte) bool {
	config, err := clientcmd.Load(text)
	if err != nil {
		return false
	}
	for _, c := range config.Clusters {
		conn, err := net.DialTimeout("tcp", strings.TrimPrefix(c.Server, "https://"), time.Second)
		if err == nil {
			conn.Close()
			return true
		}
	}
	return false
}

// close removes what the cluster wrote, if it could not itself.
func (h *hostPort) close() error {
	return errors.Join(h.listener.Close(), removeHostConfig(h.kubeconfig))
}

func removeHostConfig(path string) error {
	text, err := os.ReadFile(path)
	if err == nil && bytes.HasPrefix(text, []byte(hostMark)) {
		err = os.Remove(path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// serveHost passes connections of the host on to the API server until ctx
// ends, and returns when the host's kubeconfig is there.
func (s *supervisor) serveHost(ctx context.Context) error {
	file := sandbox.File(0)
	listener, err := net.FileListener(file)
	file.Close()
	if err != nil {
		return fmt.Errorf("take the host's port: %w", err)
	}
	text, err := s.plane.AdminKubeconfig("https://" + listener.Addr().String())
	if err != nil {
		return err
	}
	if err := writeHostConfig(s.Kubeconfig, append([]byte(hostMark), text...)); err != nil {
		return err
	}
	s.part(ctx, "host port", func(ctx context.Context) error {
		proxy.Forward(ctx, listener.(*net.TCPListener), netip.MustParseAddrPort(controlplane.APIServer+":443"))
		return removeHostConfig(s.Kubeconfig)
	})
	s.progress("for programs of the host: export KUBECONFIG=%s", s.Kubeconfig)
	return nil
}

// writeHostConfig replaces path as a whole, readable by its user alone.
func writeHostConfig(path string, text []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), ".devcluster-")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	_, err = file.Write(text)
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}
