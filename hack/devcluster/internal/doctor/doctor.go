// Package doctor finds out whether this machine can run a cluster, and says
// what is missing and how to mend it. It changes nothing.
package doctor

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	minMemory   = 1536 << 20 // bytes: measured with one node and a few pods, and some more
	minFiles    = 4096       // descriptors of one process
	minWatchers = 32         // inotify instances of one user
)

// Finding is the answer to one question.
type Finding struct {
	Subject string
	Problem string // empty: all is well
	Mend    string // what to do about Problem
	Remark  bool   // clusters work without; see Subject
}

// Check asks everything. Try makes a sandbox with the cluster's namespaces and
// network in it, and ends it again; its error is what stood in the way.
func Check(root fs.FS, euid int, try func() error) []Finding {
	findings := []Finding{memory(root), files(), inotify(root), tun(root)}
	err := try()
	if err == nil {
		return append(findings, Finding{Subject: "namespaces"})
	}
	causes := namespaces(root, euid)
	if len(causes) == 0 {
		causes = []Finding{{
			Problem: "none of the known causes",
			Mend:    "look into `dmesg`; in a container, start that with --privileged",
		}}
	}
	for _, c := range causes {
		c.Subject = "namespaces"
		c.Problem = fmt.Sprintf("%v: %s", err, c.Problem)
		findings = append(findings, c)
	}
	return findings
}

func memory(root fs.FS) Finding {
	f := Finding{Subject: "memory"}
	text, err := fs.ReadFile(root, "proc/meminfo")
	if err != nil {
		return f
	}
	for line := range strings.Lines(string(text)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "MemAvailable: %d kB", &kib); n == 1 && kib<<10 < minMemory {
			f.Problem = fmt.Sprintf("%d MiB are available, a cluster takes up to %d", kib>>10, minMemory>>20)
			f.Mend = "end other programs, or give the machine more"
		}
	}
	return f
}

func files() Finding {
	f := Finding{Subject: "open files"}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err == nil && limit.Max < minFiles {
		f.Problem = fmt.Sprintf("a process may have %d, the API server takes up to %d", limit.Max, minFiles)
		f.Mend = fmt.Sprintf("raise the hard limit: ulimit -Hn %d as root, or in /etc/security/limits.conf", minFiles)
	}
	return f
}

func inotify(root fs.FS) Finding {
	const name = "fs.inotify.max_user_instances"
	f := Finding{Subject: "inotify"}
	if n, ok := sysctl(root, name); ok && n < minWatchers {
		f.Problem = fmt.Sprintf("%s is %d, a cluster takes up to %d", name, n, minWatchers)
		f.Mend = "sudo sysctl -w " + name + "=128"
	}
	return f
}

// tun is what packets are held and lost by.
func tun(root fs.FS) Finding {
	f := Finding{Subject: "slow and lose", Remark: true}
	device, err := root.Open("dev/net/tun")
	if err != nil {
		f.Problem = fmt.Sprintf("%v: faults of these two kinds cannot be made, all else can", err)
		f.Mend = "sudo modprobe tun; in a container, start that with --device /dev/net/tun"
		if errors.Is(err, fs.ErrPermission) {
			f.Mend = "sudo chmod 666 /dev/net/tun"
		}
		return f
	}
	device.Close()
	return f
}

// apparmor is Ubuntu's switch for the namespaces of ordinary users.
const apparmor = "kernel.apparmor_restrict_unprivileged_userns"

// namespaces are the known causes for which namespaces cannot be made.
func namespaces(root fs.FS, euid int) []Finding {
	var causes []Finding
	for _, s := range []struct {
		name string
		bad  func(int) bool
		mend string
		user bool // only user namespaces, which root needs none of
	}{
		{"user.max_user_namespaces", func(n int) bool { return n == 0 }, "15000", true},
		{"kernel.unprivileged_userns_clone", func(n int) bool { return n == 0 }, "1", true},
		{"user.max_net_namespaces", func(n int) bool { return n < 16 }, "15000", false},
		{"user.max_pid_namespaces", func(n int) bool { return n < 16 }, "15000", false},
		{"user.max_mnt_namespaces", func(n int) bool { return n < 16 }, "15000", false},
	} {
		if n, ok := sysctl(root, s.name); ok && s.bad(n) && (!s.user || euid != 0) {
			causes = append(causes, Finding{
				Problem: fmt.Sprintf("%s is %d", s.name, n),
				Mend:    "sudo sysctl -w " + s.name + "=" + s.mend,
			})
		}
	}
	if n, ok := sysctl(root, apparmor); ok && n != 0 && euid != 0 {
		causes = append(causes, Finding{
			Problem: fmt.Sprintf("%s is %d: AppArmor takes the rights of ordinary users' namespaces away, as on Ubuntu since 23.10", apparmor, n),
			Mend:    "sudo sysctl -w " + apparmor + "=0 (to keep it: echo '" + apparmor + " = 0' | sudo tee /etc/sysctl.d/60-devcluster.conf), or run as root",
		})
	}
	if status(root, "Seccomp") == "2" {
		causes = append(causes, Finding{
			Problem: "a seccomp filter is on, which in Docker and its like forbids namespaces",
			Mend:    "start the container with --security-opt seccomp=unconfined --security-opt systempaths=unconfined, or with --privileged",
		})
	} else if masked(root) {
		causes = append(causes, Finding{
			Problem: "parts of /proc are covered, as container engines do",
			Mend:    "start the container with --security-opt systempaths=unconfined (a pod: procMount: Unmasked), or with --privileged",
		})
	}
	if initial(root) {
		causes = append(causes, Finding{
			Problem: "the root is the kernel's initial one (an initramfs), which pivot_root cannot leave",
			Mend:    "start it in a chroot on a mounted file system: mount -t tmpfs or a disk, copy, switch_root",
		})
	}
	if euid == 0 && !has(root, unix.CAP_SYS_ADMIN) {
		causes = append(causes, Finding{
			Problem: "this root may not make namespaces (no CAP_SYS_ADMIN)",
			Mend:    "start the container with --privileged, or run as an ordinary user",
		})
	}
	return causes
}

func sysctl(root fs.FS, name string) (int, bool) {
	text, err := fs.ReadFile(root, "proc/sys/"+strings.ReplaceAll(name, ".", "/"))
	if err != nil {
		return 0, false
	}
	n, err := strconv.Atoi(string(bytes.TrimSpace(text)))
	return n, err == nil
}

// masked reports whether something is mounted below /proc that hides parts of it.
func masked(root fs.FS) bool {
	text, err := fs.ReadFile(root, "proc/self/mountinfo")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		field := strings.Fields(line)
		// binfmt_misc is mounted there on every host, and hides nothing.
		if len(field) > 4 && strings.HasPrefix(field[4], "/proc/") && field[4] != "/proc/sys/fs/binfmt_misc" {
			return true
		}
	}
	return false
}

// initial reports whether the root is the kernel's first mount.
func initial(root fs.FS) bool {
	text, err := fs.ReadFile(root, "proc/self/mountinfo")
	if err != nil {
		return false
	}
	var kind string
	for line := range strings.Lines(string(text)) {
		field := strings.Fields(line)
		if i := slices.Index(field, "-"); len(field) > 4 && field[4] == "/" && i > 0 && i+1 < len(field) {
			kind = field[i+1] // the last one is on top
		}
	}
	return kind == "rootfs"
}

// status is a field of this process's status.
func status(root fs.FS, name string) string {
	text, err := fs.ReadFile(root, "proc/self/status")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// has reports whether this process has a capability.
func has(root fs.FS, capability uint) bool {
	set, err := strconv.ParseUint(status(root, "CapEff"), 16, 64)
	return err != nil || set&(1<<capability) != 0
}
