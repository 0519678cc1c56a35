package runtime

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// mountKernel mounts /proc and /sys.
func mountKernel(spec *Spec) error {
	proc := filepath.Join(spec.Root, "proc")
	if err := os.MkdirAll(proc, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("proc", proc, "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		// Where the host's own /proc is covered in parts, a user namespace may
		// not have a whole one: then that of the cluster must do.
		if err := bind("/proc", proc, 0); err != nil {
			return fmt.Errorf("mount /proc: %w", err)
		}
	}
	for _, name := range []string{"bus", "fs", "irq", "sys", "sysrq-trigger"} {
		path := filepath.Join(proc, name)
		if _, err := os.Stat(path); err != nil {
			continue
		}
		if err := bind(path, path, unix.MOUNT_ATTR_RDONLY); err != nil {
			return err
		}
	}
	return bind("/sys", filepath.Join(spec.Root, "sys"), unix.MOUNT_ATTR_RDONLY)
}

// mountDevices makes a /dev with the harmless devices of the host.
func mountDevices(spec *Spec) error {
	dev := filepath.Join(spec.Root, "dev")
	for _, name := range []string{"full", "null", "random", "tty", "urandom", "zero"} {
		if err := bind("/dev/"+name, filepath.Join(dev, name), 0); err != nil {
			return err
		}
	}
	links := map[string]string{
		"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1",
		"stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx",
	}
	for name, target := range links {
		if err := os.Symlink(target, filepath.Join(dev, name)); err != nil {
			return err
		}
	}
	pts := filepath.Join(dev, "pts")
	if err := os.MkdirAll(pts, 0o755); err != nil {
		return err
	}
	options := "newinstance,ptmxmode=0666,mode=0620"
	if err := unix.Mount("devpts", pts, "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, options); err != nil {
		return fmt.Errorf("mount /dev/pts: %w", err)
	}
	return mountTmpfs(filepath.Join(dev, "shm"), "mode=1777,size=64m")
}
