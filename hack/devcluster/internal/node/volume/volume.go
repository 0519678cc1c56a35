// Package volume fills the folders that pods mount: from ConfigMaps, Secrets,
// service account tokens and the pod's own description, and empty ones.
//
// What comes from the API is renewed in place: readers see a whole old or a
// whole new set of files, never a mixture.
package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	volumeutil "k8s.io/kubernetes/pkg/volume/util"

	"github.com/xinhari/xinhari/hack/devcluster/internal/node/pod"
)

// Tokens gives tokens of the pod's service account, bound to the pod.
type Tokens interface {
	Token(ctx context.Context, audience string, seconds int64) (string, error)
}

// Sources are what volumes are filled from.
type Sources struct {
	Objects pod.Objects
	Tokens  Tokens
	Facts   pod.Facts
	// OwnGroups says whether the node can give files to a pod's fsGroup.
	OwnGroups func(gid int) bool
}

// Path is the folder of a volume, under the folder of the pod's volumes.
func Path(dir, volume string) string { return filepath.Join(dir, volume) }

// Fill makes each volume of the pod in dir what it must now be. Called again,
// it changes only what has changed.
func Fill(ctx context.Context, dir string, p *corev1.Pod, sources Sources) error {
	var errs []error
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		if err := fill(ctx, Path(dir, v.Name), p, v, sources); err != nil {
			errs = append(errs, fmt.Errorf("volume %q: %w", v.Name, err))
		}
	}
	return errors.Join(errs...)
}

func fill(ctx context.Context, dir string, p *corev1.Pod, v *corev1.Volume, sources Sources) error {
	group := fsGroup(p, sources)
	if v.EmptyDir != nil {
		return makeEmpty(dir, v.EmptyDir, group)
	}
	payload, err := Payload(ctx, p, v, sources)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	writer, err := volumeutil.NewAtomicWriter(dir, "volume "+v.Name)
	if err != nil {
		return err
	}
	return writer.Write(payload, func(subfolder string) error {
		if group == nil {
			return nil
		}
		return give(filepath.Join(dir, subfolder), *group)
	})
}

func fsGroup(p *corev1.Pod, sources Sources) *int {
	sc := p.Spec.SecurityContext
	if sc == nil || sc.FSGroup == nil || !sources.OwnGroups(int(*sc.FSGroup)) {
		return nil
	}
	group := int(*sc.FSGroup)
	return &group
}

// give lets the group read all files under dir.
func give(dir string, group int) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := os.Lchown(path, -1, group); err != nil {
			return err
		}
		if entry.Type()&fs.ModeSymlink != 0 {
			return nil
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		return os.Chmod(path, info.Mode()|0o040)
	})
}

func makeEmpty(dir string, v *corev1.EmptyDirVolumeSource, group *int) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	if v.Medium == corev1.StorageMediumMemory {
		options := "mode=0777"
		if v.SizeLimit != nil && v.SizeLimit.Value() > 0 {
			options += fmt.Sprintf(",size=%d", v.SizeLimit.Value())
		}
		if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
			return fmt.Errorf("mount memory: %w", err)
		}
	}
	mode := fs.FileMode(0o777)
	if group != nil {
		if err := os.Chown(dir, -1, *group); err != nil {
			return err
		}
		mode |= fs.ModeSetgid
	}
	return os.Chmod(dir, mode) // Past the umask.
}

// MakeFolder makes a folder below that of a volume, for those who may write to
// the volume.
func MakeFolder(volume, folder string) error {
	info, err := os.Stat(volume)
	if err != nil || folder == volume {
		return err
	}
	if err := MakeFolder(volume, filepath.Dir(folder)); err != nil {
		return err
	}
	if err := os.Mkdir(folder, 0o700); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		return err
	}
	return os.Chmod(folder, info.Mode()) // Past the umask.
}

// Remove empties the folder of a pod's volumes and removes it.
func Remove(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		// EINVAL: only those in memory are mounts.
		err := unix.Unmount(filepath.Join(dir, entry.Name()), unix.MNT_DETACH)
		if err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount %s: %w", entry.Name(), err)
		}
	}
	return os.RemoveAll(dir)
}
