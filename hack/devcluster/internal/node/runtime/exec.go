package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrEnded says that there is no container to run a command in any more.
var ErrEnded = errors.New("the container has ended")

// Command is a further program to run in a container.
type Command struct {
	Args           []string
	Stdin          io.Reader // nil: nothing to read
	Stdout, Stderr io.Writer
	// Terminal, if any, takes the place of the three.
	Terminal *Terminal
}

// Exec runs a command in the container, as its user and with its environment,
// and returns its exit code. When ctx ends, the command is killed.
func (c *Container) Exec(ctx context.Context, command Command) (code int, err error) {
	namespaces, err := c.openAgain()
	if err != nil {
		return 0, err
	}
	defer func() {
		for _, file := range namespaces {
			file.Close()
		}
	}()
	groups := groupsAllowed() // Inside, /proc does not know this process.
	onThread(func() {
		if err = c.enter(namespaces); err == nil {
			code, err = c.execHere(ctx, command, groups)
		}
	})
	return code, err
}

// openAgain returns copies of the container's namespaces, which stay open when
// the container ends.
func (c *Container) openAgain() ([]*os.File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.namespaces) == 0 {
		return nil, ErrEnded
	}
	var copies []*os.File
	for _, file := range c.namespaces {
		fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("keep namespace: %w", err)
		}
		copies = append(copies, os.NewFile(uintptr(fd), file.Name()))
	}
	return copies, nil
}

// enterProcesses has the calling thread's children be processes of the container.
func (c *Container) enterProcesses() error {
	namespaces, err := c.openAgain()
	if err != nil {
		return err
	}
	for _, file := range namespaces {
		defer file.Close()
	}
	if err := unix.Setns(int(namespaces[len(namespaces)-1].Fd()), unix.CLONE_NEWPID); err != nil {
		return fmt.Errorf("enter the container's processes: %w", err)
	}
	return nil
}

// enter moves the calling thread, and the processes that it will start, into
// the container.
func (c *Container) enter(namespaces []*os.File) error {
	if err := c.sandbox.enter(); err != nil {
		return err
	}
	if err := keepCapabilities(append([]string{"SYS_ADMIN", "SYS_CHROOT"}, c.spec.Capabilities...)); err != nil {
		return err
	}
	// A thread that shares its root with others may not change it.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	for _, file := range namespaces {
		if err := unix.Setns(int(file.Fd()), 0); err != nil {
			return fmt.Errorf("enter container: %w", err)
		}
	}
	return setNoNewPrivileges(c.spec)
}

func (c *Container) execHere(ctx context.Context, command Command, setGroups bool) (int, error) {
	path, err := lookPath(command.Args[0], c.spec.Env)
	if err != nil {
		return 0, err
	}
	if err := keepCapabilities(c.spec.Capabilities); err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, path, command.Args[1:]...)
	cmd.Args[0] = command.Args[0]
	cmd.Env = c.spec.Env
	cmd.Dir = c.spec.Dir
	cmd.WaitDelay = time.Second
	groups := make([]uint32, len(c.spec.Groups))
	for i, group := range c.spec.Groups {
		groups[i] = uint32(group)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		// No Pdeathsig: seen from the container, the parent is none at all,
		// which package syscall takes for a dead one.
		Setsid: true,
		Credential: &syscall.Credential{
			Uid: uint32(c.spec.UID), Gid: uint32(c.spec.GID),
			Groups: groups, NoSetGroups: !setGroups,
		},
	}
	if command.Terminal != nil {
		tty := command.Terminal.tty
		cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
		cmd.SysProcAttr.Setctty = true
		cmd.Env = append(cmd.Env[:len(cmd.Env):len(cmd.Env)], "TERM=xterm")
	} else {
		cmd.Stdout, cmd.Stderr = command.Stdout, command.Stderr
	}
	if command.Terminal == nil && command.Stdin != nil {
		// Not cmd.Stdin, since Wait would then wait for the end of the input.
		input, err := cmd.StdinPipe()
		if err != nil {
			return 0, err
		}
		go func() {
			_, _ = io.Copy(input, command.Stdin)
			input.Close()
		}()
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	err = cmd.Wait()
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if cmd.ProcessState == nil {
		return 0, err
	}
	return exitOf(cmd.ProcessState).Code, nil
}
