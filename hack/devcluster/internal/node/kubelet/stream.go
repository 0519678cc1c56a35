package kubelet

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"

	"github.com/xinhari/xinhari/hack/devcluster/internal/node/console"
	"github.com/xinhari/xinhari/hack/devcluster/internal/node/runtime"
)

const (
	idleTimeout     = 4 * time.Hour
	creationTimeout = 30 * time.Second
)

func (s *Server) exec(w http.ResponseWriter, r *http.Request) {
	options, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	command := r.URL.Query()["command"]
	if len(command) == 0 {
		http.Error(w, "no command to run", http.StatusBadRequest)
		return
	}
	container, err := s.pods.Container(r.PathValue("namespace"), r.PathValue("pod"), r.PathValue("container"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	remotecommand.ServeExec(w, r, executor{container}, r.PathValue("pod"), "", r.PathValue("container"), command,
		options, idleTimeout, creationTimeout, remotecommand.SupportedStreamingProtocols)
}

type executor struct{ container *runtime.Container }

// ExecInContainer runs a command for the streams of a client.
func (e executor) ExecInContainer(
	ctx context.Context, _, _, _ string, command []string,
	in io.Reader, out, errs io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize, _ time.Duration,
) error {
	run := runtime.Command{Args: command, Stdin: in, Stdout: out, Stderr: errs}
	finish := func() {}
	if tty {
		terminal, err := runtime.OpenTerminal()
		if err != nil {
			return err
		}
		run = runtime.Command{Args: command, Terminal: terminal}
		finish = pump(terminal, in, out, resize)
	}
	code, err := e.container.Exec(ctx, run)
	finish()
	if err != nil {
		return err
	}
	if code != 0 {
		return utilexec.CodeExitError{Err: fmt.Errorf("exit code %d", code), Code: code}
	}
	return nil
}

// pump connects a terminal with a client until the returned function is called.
func pump(terminal *runtime.Terminal, in io.Reader, out io.Writer, resize <-chan remotecommand.TerminalSize) func() {
	done := make(chan struct{})
	var copies sync.WaitGroup
	copies.Go(func() {
		_, _ = io.Copy(out, terminal.File) // Ends with the last program on the terminal.
	})
	copies.Go(func() {
		for {
			select {
			case size, ok := <-resize:
				if !ok {
					return
				}
				_ = terminal.Resize(size.Width, size.Height)
			case <-done:
				return
			}
		}
	})
	if in != nil {
		go func() { // Ends with the client's stream, which the server closes after us.
			_, _ = io.Copy(terminal.File, in)
		}()
	}
	return func() {
		close(done)
		terminal.CloseTTY()
		copies.Wait()
		terminal.File.Close()
	}
}

func (s *Server) attach(w http.ResponseWriter, r *http.Request) {
	options, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	attach, err := s.pods.Console(r.PathValue("namespace"), r.PathValue("pod"), r.PathValue("container"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	remotecommand.ServeAttach(w, r, attacher{attach}, r.PathValue("pod"), "", r.PathValue("container"),
		options, idleTimeout, creationTimeout, remotecommand.SupportedStreamingProtocols)
}

type attacher struct{ console *console.Console }

// AttachContainer connects a client's streams with those of the container.
func (a attacher) AttachContainer(
	ctx context.Context, _, _, _ string,
	in io.Reader, out, errs io.WriteCloser, _ bool, resize <-chan remotecommand.TerminalSize,
) error {
	return a.console.Attach(ctx, console.Client{In: in, Out: out, Errs: errs, Resize: resize})
}

func (s *Server) portForward(w http.ResponseWriter, r *http.Request) {
	options, err := portforward.NewV4Options(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	dial := func(ctx context.Context, port int) (net.Conn, error) {
		return s.pods.Dial(ctx, r.PathValue("namespace"), r.PathValue("pod"), port)
	}
	portforward.ServePortForward(w, r, forwarder(dial), r.PathValue("pod"), "", options,
		idleTimeout, creationTimeout, portforward.SupportedProtocols)
}

type forwarder func(ctx context.Context, port int) (net.Conn, error)

// PortForward copies between a client's stream and a port, until one side is
// done with both directions.
func (f forwarder) PortForward(ctx context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	defer stream.Close()
	conn, err := f(ctx, int(port))
	if err != nil {
		return err
	}
	defer conn.Close()
	answered := make(chan error, 1)
	go func() {
		_, err := io.Copy(stream, conn)
		answered <- err
	}()
	go func() { // Ends with the stream, closed above.
		_, _ = io.Copy(conn, stream)
		if half, ok := conn.(*net.TCPConn); ok {
			half.CloseWrite()
		}
	}()
	select {
	case err := <-answered:
		return err
	case <-ctx.Done():
		return nil
	}
}
