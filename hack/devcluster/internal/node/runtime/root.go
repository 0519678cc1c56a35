package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	securejoin "github.com/cyphar/filepath-securejoin"
	"golang.org/x/sys/unix"
)

// hostFolders are what a container sees of the host's root, read-only.
func hostFolders() []string {
	return []string{"/bin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/sbin", "/usr"}
}

// hostSettings are the pieces of /etc that programs need and that hold no secrets.
func hostSettings() []string {
	return []string{
		"alternatives", "ca-certificates", "crypto-policies", "ld.so.cache", "ld.so.conf", "ld.so.conf.d",
		"localtime", "mime.types", "pki", "protocols", "services", "ssl", "timezone",
	}
}

// buildRoot puts the container's root together on spec.Root. It runs in the
// container's mount and PID namespaces.
func buildRoot(spec *Spec) error {
	// Nothing that is mounted from here on may be seen by the host.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := mountTmpfs(spec.Root, "mode=0755"); err != nil {
		return err
	}
	steps := []func(*Spec) error{bindHost, makeFolders, writeFiles, mountKernel, mountDevices, bindMounts}
	for _, step := range steps {
		if err := step(spec); err != nil {
			return err
		}
	}
	if spec.Dir != "" {
		if dir, err := securejoin.SecureJoin(spec.Root, spec.Dir); err == nil {
			// A read-only place is no error yet: the folder may exist.
			_ = os.MkdirAll(dir, 0o755)
		}
	}
	return nil
}

// pivot makes spec.Root the root, and lets go of the host's.
func pivot(spec *Spec) error {
	if err := unix.Chdir(spec.Root); err != nil {
		return fmt.Errorf("enter root: %w", err)
	}
	// The old root lands on top of the new one and is taken off again.
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("let go of the host's root: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("enter root: %w", err)
	}
	if !spec.ReadOnlyRoot {
		return nil
	}
	return setReadOnly("/", 0)
}

func bindHost(spec *Spec) error {
	var targets []string
	for _, m := range spec.Mounts {
		targets = append(targets, filepath.Clean(m.Target))
	}
	folders := hostFolders()
	for _, name := range hostSettings() {
		folders = append(folders, "/etc/"+name)
	}
	for _, folder := range folders {
		for _, path := range open(folder, targets, os.DirFS("/")) {
			if err := bindHostPath(spec.Root, path); err != nil {
				return err
			}
		}
	}
	return nil
}

// open returns what to bind of the host's folder so that each target below it
// can be mounted on: the folder, or, if a target is missing in it, its entries.
func open(folder string, targets []string, host fs.FS) []string {
	missing := slices.ContainsFunc(targets, func(target string) bool {
		if !strings.HasPrefix(target, folder+"/") {
			return false
		}
		_, err := fs.Stat(host, target[1:])
		return err != nil
	})
	if !missing {
		return []string{folder}
	}
	entries, err := fs.ReadDir(host, folder[1:])
	if err != nil {
		return []string{folder}
	}
	var paths []string
	for _, entry := range entries {
		paths = append(paths, open(folder+"/"+entry.Name(), targets, host)...)
	}
	return paths
}

func bindHostPath(root, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	target := filepath.Join(root, path)
	if info.Mode()&fs.ModeSymlink != 0 {
		link, err := os.Readlink(path)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		return os.Symlink(link, target)
	}
	if !info.IsDir() && !info.Mode().IsRegular() {
		return nil
	}
	return bind(path, target, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID)
}

func makeFolders(spec *Spec) error {
	folders := []struct {
		path string
		mode fs.FileMode
	}{
		{"home", 0o755}, {"mnt", 0o755}, {"root", 0o700}, {"run", 0o755}, {"srv", 0o755},
		{"tmp", 0o777 | fs.ModeSticky}, {"var", 0o755}, {"var/cache", 0o755}, {"var/lib", 0o755},
		{"var/log", 0o755}, {"var/run", 0o755}, {"var/tmp", 0o777 | fs.ModeSticky},
	}
	for _, folder := range folders {
		path := filepath.Join(spec.Root, folder.path)
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
		if err := os.Chmod(path, folder.mode); err != nil { // Past the umask.
			return err
		}
	}
	return nil
}

func writeFiles(spec *Spec) error {
	for path, content := range spec.Files {
		path = filepath.Join(spec.Root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func bindMounts(spec *Spec) error {
	for _, m := range spec.Mounts {
		target, err := securejoin.SecureJoin(spec.Root, m.Target)
		if err != nil {
			return fmt.Errorf("mount on %s: %w", m.Target, err)
		}
		var attributes uint64
		if m.ReadOnly {
			attributes = unix.MOUNT_ATTR_RDONLY
		}
		if err := bind(m.Source, target, attributes); err != nil {
			return fmt.Errorf("mount on %s: %w", m.Target, err)
		}
	}
	return nil
}

// bind shows the file or folder source at target, with attributes, which is made.
func bind(source, target string, attributes uint64) error {
	info, err := os.Stat(source)
	if err != nil {
		return err
	}
	if info.IsDir() {
		err = os.MkdirAll(target, 0o755)
	} else {
		err = makeFile(target)
	}
	if err != nil {
		return err
	}
	// With all that is mounted below: in a user namespace the kernel refuses to
	// show a folder without what covers parts of it.
	if err := unix.Mount(source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind %s: %w", source, err)
	}
	if attributes == 0 {
		return nil
	}
	attr := &unix.MountAttr{Attr_set: attributes}
	if err := unix.MountSetattr(unix.AT_FDCWD, target, unix.AT_RECURSIVE, attr); err != nil {
		return fmt.Errorf("set the attributes of %s: %w", target, err)
	}
	return nil
}

func makeFile(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if _, err := os.Lstat(path); err == nil {
		return nil
	}
	return os.WriteFile(path, nil, 0o644)
}

func mountTmpfs(target, options string) error {
	if err := os.MkdirAll(target, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", target, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return fmt.Errorf("mount tmpfs on %s: %w", target, err)
	}
	return nil
}

func setReadOnly(path string, flags uint) error {
	attr := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	if err := unix.MountSetattr(unix.AT_FDCWD, path, flags, attr); err != nil {
		return fmt.Errorf("make %s read-only: %w", path, err)
	}
	return nil
}
