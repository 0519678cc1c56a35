package doctor

import (
	"errors"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func TestCheck(t *testing.T) {
	const good = "MemTotal: 99999999 kB\nMemAvailable: 9999999 kB\n"
	stuck := errors.New("operation not permitted")
	tests := []struct {
		name  string
		files map[string]string
		euid  int
		try   error
		want  []string // mends
	}{
		{name: "nothing missing", files: map[string]string{"proc/meminfo": good}},
		{name: "settings that did no harm are no problem", files: map[string]string{"proc/sys/user/max_user_namespaces": "0\n"}},
		{
			name:  "little memory and few watchers",
			files: map[string]string{"proc/meminfo": "MemAvailable: 1000 kB\n", "proc/sys/fs/inotify/max_user_instances": "8\n"},
			want:  []string{"end other programs, or give the machine more", "sudo sysctl -w fs.inotify.max_user_instances=128"},
		},
		{
			name:  "no user namespaces",
			files: map[string]string{"proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1\n"},
			euid:  1000,
			try:   stuck,
			want:  []string{"sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0 (to keep it: echo 'kernel.apparmor_restrict_unprivileged_userns = 0' | sudo tee /etc/sysctl.d/60-devcluster.conf), or run as root"},
		},
		{
			name:  "root needs no user namespaces",
			files: map[string]string{"proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1\n", "proc/self/status": "CapEff:\t0000000000000000\n"},
			try:   stuck,
			want:  []string{"start the container with --privileged, or run as an ordinary user"},
		},
		{
			name:  "a container with a seccomp filter",
			files: map[string]string{"proc/self/mountinfo": "1 0 0:1 / /proc rw - proc proc rw\n3 1 0:2 /null /proc/kcore rw - tmpfs tmpfs rw\n", "proc/self/status": "Seccomp:\t2\nCapEff:\t000001ffffffffff\n"},
			euid:  1000,
			try:   stuck,
			want:  []string{"start the container with --security-opt seccomp=unconfined --security-opt systempaths=unconfined, or with --privileged"},
		},
		{
			name:  "an initramfs",
			files: map[string]string{"proc/self/mountinfo": "1 1 0:1 / / rw - rootfs rootfs rw\n"},
			euid:  1000,
			try:   stuck,
			want:  []string{"start it in a chroot on a mounted file system: mount -t tmpfs or a disk, copy, switch_root"},
		},
		{
			name:  "a container",
			files: map[string]string{"proc/self/mountinfo": "1 0 0:1 / /proc rw - proc proc rw\n2 1 0:2 / /proc/sys/fs/binfmt_misc rw - x x rw\n3 1 0:2 /null /proc/kcore rw - tmpfs tmpfs rw\n"},
			euid:  1000,
			try:   stuck,
			want:  []string{"start the container with --security-opt systempaths=unconfined (a pod: procMount: Unmasked), or with --privileged"},
		},
		{
			name:  "an unknown cause",
			files: map[string]string{"proc/self/mountinfo": "1 0 0:1 / /proc rw - proc proc rw\n", "proc/self/status": "CapEff:\t000001ffffffffff\n"},
			try:   stuck,
			want:  []string{"look into `dmesg`; in a container, start that with --privileged"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			root := fstest.MapFS{"dev/net/tun": {}}
			for name, text := range test.files {
				root[name] = &fstest.MapFile{Data: []byte(text)}
			}
			var got []string
			for _, f := range Check(root, test.euid, func() error { return test.try }) {
				if f.Problem != "" {
					got = append(got, f.Mend)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("mends (-want +got):\n%s", diff)
			}
		})
	}
}

// A cluster does without the device that only some faults need.
func TestNoDeviceIsARemark(t *testing.T) {
	for _, f := range Check(fstest.MapFS{}, 0, func() error { return nil }) {
		want := f.Subject == "slow and lose"
		if got := f.Problem != "" && f.Remark; got != want {
			t.Errorf("%s: remark = %v, want %v (%q)", f.Subject, got, want, f.Problem)
		}
	}
}
