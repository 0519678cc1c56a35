package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	securejoin "github.com/cyphar/filepath-securejoin"
	corev1 "k8s.io/api/core/v1"

	"github.com/xinhari/xinhari/hack/devcluster/internal/node/logs"
	"github.com/xinhari/xinhari/hack/devcluster/internal/node/pod"
	"github.com/xinhari/xinhari/hack/devcluster/internal/node/runtime"
	"github.com/xinhari/xinhari/hack/devcluster/internal/node/volume"
)

// program returns the path of the image's program.
func (c *containerRun) program() (string, error) {
	name, err := pod.Program(c.spec.Image)
	if err != nil {
		return "", err
	}
	images := c.worker.agent.o.Images
	path := filepath.Join(images, name)
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
		return path, nil
	}
	var have []string
	entries, _ := os.ReadDir(images)
	for _, entry := range entries {
		if !entry.IsDir() && !strings.HasPrefix(entry.Name(), ".") {
			have = append(have, entry.Name())
		}
	}
	return "", fmt.Errorf("image %s is not here: there is no program %s. Build it, as with: go build -o %s ./path/to/%s. Images here: %s",
		c.spec.Image, name, path, name, strings.Join(have, ", "))
}

// noImage says that the program is missing, as Kubernetes says it of an image.
func (c *containerRun) noImage(err error) *refusal {
	switch {
	case errors.Is(err, pod.ErrImageName):
		return &refusal{"InvalidImageName", err}
	case c.spec.ImagePullPolicy == corev1.PullNever:
		return &refusal{"ErrImageNeverPull", err}
	case c.attempts > pullAttempts:
		return &refusal{"ImagePullBackOff", fmt.Errorf("back-off pulling image %s: %w", c.spec.Image, err)}
	}
	return &refusal{"ErrImagePull", err}
}

// pullAttempts is how often an image is looked for, in 0.7 s, before that is
// called a back-off. It is looked for all the same: somebody may be building it.
const pullAttempts = 3

// plan turns the container's spec into a process.
func (c *containerRun) plan(p *corev1.Pod, program string) (*runtime.Spec, error) {
	w := c.worker
	env, err := pod.Environment(p, c.spec, c.sources.Objects, w.agent.services.in(p.Namespace), c.sources.Facts)
	if err != nil {
		return nil, err
	}
	rights, err := pod.RightsOf(p, c.spec, runtime.DefaultCapabilities())
	if err != nil {
		return nil, err
	}
	c.fitRights(p, &rights)
	inside := "/" + filepath.Base(program)
	args := pod.Expand(c.spec.Command, env)
	if len(args) == 0 {
		args = []string{inside}
	}
	args = append(args, pod.Expand(c.spec.Args, env)...)
	mounts, err := c.mounts(p, env)
	if err != nil {
		return nil, err
	}
	files, err := pod.Files(p, c.sources.Facts)
	if err != nil {
		return nil, err
	}
	message, err := c.messageFile()
	if err != nil {
		return nil, err
	}
	mounts = append([]runtime.Mount{
		{Source: program, Target: inside, ReadOnly: true},
		{Source: message, Target: c.spec.TerminationMessagePath},
	}, mounts...)
	root := filepath.Join(w.dir, "root", c.spec.Name)
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, err
	}
	return &runtime.Spec{
		Root: root, Args: args, Env: env, Dir: c.spec.WorkingDir,
		UID: rights.UID, GID: rights.GID, Groups: rights.Groups,
		Capabilities: rights.Capabilities, NoNewPrivileges: rights.NoNewPrivileges, ReadOnlyRoot: rights.ReadOnlyRoot,
		Mounts: mounts,
		Files:  files,
	}, nil
}

// fitRights replaces users and groups that do not exist in the cluster's user
// namespace by the one that does: without root there is only one. Whoever
// asked for a certain user is told.
func (c *containerRun) fitRights(p *corev1.Pod, r *pod.Rights) {
	a := c.worker.agent
	if !a.users.Contains(r.UID) {
		if pod.AsksForUser(p, c.spec) && c.restarts == 0 && c.attempts == 0 {
			c.event(corev1.EventTypeWarning, "UserNotMapped", fmt.Sprintf("Container %s runs as the user who started the cluster, not as %d: "+
				"without root the cluster has one user. Start it as root to have runAsUser", c.spec.Name, r.UID))
		}
		r.UID = 0
	}
	if !a.groups.Contains(r.GID) {
		r.GID = 0
	}
	r.Groups = slices.DeleteFunc(r.Groups, func(g int) bool { return !a.groups.Contains(g) })
}

func (c *containerRun) mounts(p *corev1.Pod, env []string) ([]runtime.Mount, error) {
	var mounts []runtime.Mount
	for _, m := range c.spec.VolumeMounts {
		root := volume.Path(c.worker.volumes(), m.Name)
		source := root
		sub := m.SubPath
		if m.SubPathExpr != "" {
			sub = pod.Expand([]string{m.SubPathExpr}, env)[0]
		}
		empty := slices.ContainsFunc(p.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name && v.EmptyDir != nil })
		if sub != "" {
			if !filepath.IsLocal(sub) {
				return nil, fmt.Errorf("volume %q: subPath %q leads out of it", m.Name, sub)
			}
			// What a container left in the volume must not lead elsewhere.
			var err error
			if source, err = securejoin.SecureJoin(source, sub); err != nil {
				return nil, err
			}
			if _, err := os.Stat(source); errors.Is(err, os.ErrNotExist) && empty {
				if err := volume.MakeFolder(root, source); err != nil {
					return nil, err
				}
			}
		}
		mounts = append(mounts, runtime.Mount{Source: source, Target: m.MountPath, ReadOnly: m.ReadOnly || !empty})
	}
	return mounts, nil
}

// messageFile makes the file for the container's last words.
func (c *containerRun) messageFile() (string, error) {
	folder := filepath.Join(c.worker.dir, "messages")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	path := filepath.Join(folder, c.spec.Name)
	if err := os.WriteFile(path, nil, 0o666); err != nil {
		return "", err
	}
	return path, os.Chmod(path, 0o666)
}

// message returns the container's last words, bounded.
func (c *containerRun) message(exit runtime.Exit) string {
	const limit = 4096
	file, err := os.Open(filepath.Join(c.worker.dir, "messages", c.spec.Name))
	if err != nil {
		return ""
	}
	defer file.Close()
	data, _ := io.ReadAll(io.LimitReader(file, limit))
	if len(data) > 0 || exit.Code == 0 || c.spec.TerminationMessagePolicy != corev1.TerminationMessageFallbackToLogsOnError {
		return string(data)
	}
	c.worker.mu.Lock()
	log := c.worker.logs[c.spec.Name].current
	c.worker.mu.Unlock()
	var last strings.Builder
	_ = log.Read(context.Background(), &last, logs.Options{Tail: 80})
	text := last.String()
	return text[max(0, len(text)-limit/2):]
}
