package runtime

import (
	"bytes"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMain(m *testing.M) {
	if main, ok := Lookup(filepath.Base(os.Args[0])); ok {
		main()
	}
	os.Exit(m.Run())
}

func TestPlay(t *testing.T) {
	s, err := NewSandbox("box", func(int) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	vol := t.TempDir()
	os.WriteFile(vol+"/f", []byte("hi"), 0o644)
	var out bytes.Buffer
	spec := &Spec{
		Root: t.TempDir(), Env: []string{"PATH=/usr/bin:/bin", "A=b"}, UID: 65532, GID: 65532, Capabilities: DefaultCapabilities(),
		NoNewPrivileges: true,
		Args:            []string{"sh", "-c", "hostname; id; cat /usr/share/x/y/f /etc/hosts; ps ax; echo $A; ls -l /; grep Cap /proc/self/status; trap 'exit 3' TERM; echo ready; while :; do sleep 0.1; done"},
		Mounts:          []Mount{{vol, "/usr/share/x/y", true}},
		Files:           map[string]string{"/etc/hosts": "127.0.0.1 localhost\n"},
	}
	c, err := Start(s, spec, &out, &out)
	if err != nil {
		t.Fatal(err)
	}
	var eo bytes.Buffer
	for range 3 {
		code, err := c.Exec(t.Context(), Command{Args: []string{"sh", "-c", "ps ax; id; grep Cap /proc/self/status; mount | wc -l; exit 5"}, Stdout: &eo, Stderr: &eo})
		if err != nil || code != 5 {
			t.Error(code, err)
		}
	}
	time.Sleep(time.Second)
	c.Signal(syscall.SIGTERM)
	time.AfterFunc(3*time.Second, func() { c.Signal(9) })
	t.Log(c.Exit(), out.String(), eo.String())
	if diff := cmp.Diff(1, 2); diff == "" {
		t.Error()
	}
}
