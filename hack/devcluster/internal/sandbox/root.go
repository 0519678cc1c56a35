package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// makeRoot makes a tmpfs the root of the mount namespace, with all folders of
// the host's root bound into it, a /proc of the PID namespace, and Dir.
//
// A root of its own is what leaves no trace: a mount point for Dir would
// otherwise have to be made somewhere on the host.
func makeRoot(s spec) error {
	// Without this, mounts made as root would reach the host where its mounts are shared.
	if err := mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	// Any folder will do to enter the tmpfs; it shows its own content again once that is the root.
	const entrance = "/tmp"
	if err := mount("tmpfs", entrance, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		return err
	}
	const old = "/.host"
	if err := os.Mkdir(entrance+old, 0o700); err != nil {
		return err
	}
	if err := unix.PivotRoot(entrance, entrance+old); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if err := bindFolders(old); err != nil {
		return err
	}
	// The kernel allows this in a user namespace only while it sees another whole /proc.
	if err := mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return err
	}
	if err := makeDir(s, old); err != nil {
		return err
	}
	if err := unix.Unmount(old, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount the host's root: %w", err)
	}
	return os.Remove(old)
}

// bindFolders gives the new root all entries of old.
func bindFolders(old string) error {
	entries, err := os.ReadDir(old)
	if err != nil {
		return err
	}
	for _, e := range entries {
		from, to := filepath.Join(old, e.Name()), filepath.Join("/", e.Name())
		if to == Dir {
			continue
		}
		switch {
		case e.IsDir():
			err = os.Mkdir(to, 0o755)
		case e.Type()&fs.ModeSymlink != 0:
			if target, e := os.Readlink(from); e == nil {
				err = os.Symlink(target, to)
			}
			if err != nil {
				return err
			}
			continue
		default:
			err = os.WriteFile(to, nil, 0o644)
		}
		if err != nil {
			return err
		}
		if err := mount(from, to, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return err
		}
	}
	return nil
}

// makeDir fills Dir: the binary, the folder of logs, the resolver's
// configuration. What is the host's is taken from old, since the Dir of a
// sandbox around this one is hidden in the new root.
func makeDir(s spec, old string) error {
	for _, d := range []string{Dir, filepath.Dir(Executable), Logs} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(Executable, nil, 0o755); err != nil {
		return err
	}
	if err := mount(filepath.Join(old, s.Executable), Executable, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	if s.Logs != "" {
		if err := mount(filepath.Join(old, s.Logs), Logs, "", unix.MS_BIND, ""); err != nil {
			return err
		}
	}
	if s.Resolv == "" {
		return nil
	}
	if err := os.WriteFile(ResolvConf, []byte(s.Resolv), 0o644); err != nil {
		return err
	}
	// A host without the file has nothing to hide.
	if err := mount(ResolvConf, "/etc/resolv.conf", "", unix.MS_BIND, ""); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func mount(source, target, kind string, flags uintptr, data string) error {
	if err := unix.Mount(source, target, kind, flags, data); err != nil {
		return &os.PathError{Op: "mount", Path: target, Err: err}
	}
	return nil
}
