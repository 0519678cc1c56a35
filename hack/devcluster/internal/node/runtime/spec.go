package runtime

import (
	"bufio"
	"fmt"
	"os"
	"strings"
)

// Spec says what a container is.
type Spec struct {
	// Root is an empty folder of the host where the container's root is built,
	// in a mount namespace of its own.
	Root string
	// Args is the program and its arguments. The program is searched for in
	// the container's PATH.
	Args []string
	// Env is the whole environment, as NAME=VALUE.
	Env []string
	// Dir is the working directory; it is made if need be. Empty is /.
	Dir string
	// UID, GID and Groups are whom the program runs as.
	UID, GID int
	Groups   []int
	// Capabilities is the bounding set, as names without the prefix CAP_.
	Capabilities []string
	// NoNewPrivileges forbids more rights by set-user-ID programs.
	NoNewPrivileges bool
	// ReadOnlyRoot makes everything read-only but the writable mounts.
	ReadOnlyRoot bool
	// Mounts are files and folders of the host, in order.
	Mounts []Mount
	// Files are the contents of small files by path, such as /etc/hosts.
	Files map[string]string
}

// Mount is a file or folder of the host that a container sees.
type Mount struct {
	Source, Target string
	ReadOnly       bool
}

// Mapped reports whether user (or, in gid_map, group) ids exist in the
// caller's user namespace. In one of a single user only 0 does, which is that
// user outside.
type Mapped struct{ ranges [][2]int }

// MappedUsers returns the user ids that exist.
func MappedUsers() (Mapped, error) { return readMap("/proc/self/uid_map") }

// MappedGroups returns the group ids that exist.
func MappedGroups() (Mapped, error) { return readMap("/proc/self/gid_map") }

// Contains reports whether a process can have the id.
func (m Mapped) Contains(id int) bool {
	for _, r := range m.ranges {
		if id >= r[0] && id-r[0] < r[1] {
			return true
		}
	}
	return false
}

func readMap(path string) (Mapped, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Mapped{}, err
	}
	return parseMap(string(data))
}

func parseMap(text string) (Mapped, error) {
	var m Mapped
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		var inside, outside, count int
		if _, err := fmt.Sscan(lines.Text(), &inside, &outside, &count); err != nil {
			return Mapped{}, fmt.Errorf("read %q: %w", lines.Text(), err)
		}
		m.ranges = append(m.ranges, [2]int{inside, count})
	}
	return m, nil
}
