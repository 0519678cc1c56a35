package localsource_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xinhari/xinhari/pkg/identity"
	"github.com/xinhari/xinhari/pkg/identity/localsource"
)

// obtain returns the first credentials of the service called name.
func obtain(t testing.TB, name string, o localsource.Options) (identity.Credentials, error) {
	t.Helper()
	s, err := localsource.New(name, o)
	if err != nil {
		return identity.Credentials{}, err
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	failed := make(chan error, 1)
	running.Go(func() { failed <- s.Run(ctx) })
	select {
	case <-s.Ready():
		return s.Current(), nil
	case err := <-failed:
		if err == nil {
			err = context.Cause(ctx)
		}
		return identity.Credentials{}, errors.Join(err, s.Err())
	}
}

func mustObtain(t testing.TB, name string, o localsource.Options) identity.Credentials {
	t.Helper()
	c, err := obtain(t, name, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestIdentity(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "xinhari")
	c := mustObtain(t, "orders", localsource.Options{Dir: dir, Life: time.Hour})
	if diff := cmp.Diff(identity.ID{TrustDomain: "local", Namespace: "default", ServiceAccount: "orders"}, c.ID()); diff != "" {
		t.Errorf("ID (-want +got):\n%s", diff)
	}
	leaf := c.Certificate().Leaf
	if diff := cmp.Diff([]string{"orders.default.svc"}, leaf.DNSNames); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	if life := c.NotAfter().Sub(c.IssuedAt()); life < 59*time.Minute || life > time.Hour {
		t.Errorf("life %s", life)
	}
	other := mustObtain(t, "batch", localsource.Options{Dir: dir, Namespace: "jobs"})
	if other.BundleHash() != c.BundleHash() || other.ID().Namespace != "jobs" {
		t.Errorf("%s under another root", other.ID())
	}
	for path, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, "ca.pem"): 0o600} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %04o, want %04o", path, got, want)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("in the folder: %v, %v", entries, err)
	}
}

func TestNamesThatCannotBe(t *testing.T) {
	for _, name := range []string{"", "Orders", "a/b", "a b"} {
		if _, err := localsource.New(name, localsource.Options{Dir: t.TempDir()}); !errors.Is(err, identity.ErrInvalidID) {
			t.Errorf("New(%q): %v", name, err)
		}
	}
	if _, err := localsource.New("a", localsource.Options{Dir: t.TempDir(), Life: -1}); err == nil {
		t.Error("a negative life is taken")
	}
}

func TestDefaultDir(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", "/config")
	t.Setenv(localsource.EnvDir, "/elsewhere")
	if dir, err := localsource.DefaultDir(); dir != "/elsewhere" || err != nil {
		t.Errorf("DefaultDir() = %q, %v", dir, err)
	}
	t.Setenv(localsource.EnvDir, "")
	if dir, err := localsource.DefaultDir(); filepath.Base(dir) != "xinhari" || err != nil {
		t.Errorf("DefaultDir() = %q, %v", dir, err)
	}
}

func TestFoldersThatAreRefused(t *testing.T) {
	good := func(t *testing.T) string {
		dir := t.TempDir()
		mustChmod(t, dir, 0o700)
		mustObtain(t, "orders", localsource.Options{Dir: dir})
		return dir
	}
	for _, tt := range []struct {
		name  string
		spoil func(t *testing.T, dir, ca string)
		mend  string
	}{
		{name: "readable by the group", spoil: func(t *testing.T, dir, _ string) { mustChmod(t, dir, 0o740) }, mend: "chmod go= "},
		{name: "open to all", spoil: func(t *testing.T, dir, _ string) { mustChmod(t, dir, 0o701) }, mend: "chmod go= "},
		{name: "a file that others read", spoil: func(t *testing.T, _, ca string) { mustChmod(t, ca, 0o604) }, mend: "chmod go= "},
		{name: "a folder of another user", spoil: func(t *testing.T, dir, _ string) { mustChown(t, dir) }, mend: localsource.EnvDir},
		{name: "a file of another user", spoil: func(t *testing.T, _, ca string) { mustChown(t, ca) }, mend: localsource.EnvDir},
		{name: "a damaged file", spoil: func(t *testing.T, _, ca string) { mustTruncate(t, ca, 300) }, mend: "remove the file"},
		{name: "a file without a key", spoil: func(t *testing.T, _, ca string) {
			text, err := os.ReadFile(ca)
			if err != nil {
				t.Fatal(err)
			}
			mustTruncate(t, ca, int64(strings.Index(string(text), "-----BEGIN PRIVATE")))
		}, mend: "remove the file"},
		{name: "a link", spoil: func(t *testing.T, _, ca string) {
			if err := errors.Join(os.Rename(ca, ca+".real"), os.Symlink("ca.pem.real", ca)); err != nil {
				t.Fatal(err)
			}
		}, mend: "remove it"},
		{name: "the key of another", spoil: func(t *testing.T, _, ca string) {
			other := good(t)
			mine, err := os.ReadFile(ca)
			if err != nil {
				t.Fatal(err)
			}
			theirs, err := os.ReadFile(filepath.Join(other, "ca.pem"))
			if err != nil {
				t.Fatal(err)
			}
			cert, _, _ := strings.Cut(string(mine), "-----BEGIN PRIVATE")
			_, key, _ := strings.Cut(string(theirs), "-----BEGIN PRIVATE")
			if err := os.WriteFile(ca, []byte(cert+"-----BEGIN PRIVATE"+key), 0o600); err != nil {
				t.Fatal(err)
			}
		}, mend: "remove the file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := good(t)
			tt.spoil(t, dir, filepath.Join(dir, "ca.pem"))
			_, err := obtain(t, "orders", localsource.Options{Dir: dir})
			if !errors.Is(err, identity.ErrSetup) || !strings.Contains(err.Error(), tt.mend) || !strings.Contains(err.Error(), dir) {
				t.Errorf("the error is %v; want the folder and %q", err, tt.mend)
			}
			if err != nil && strings.Contains(err.Error(), "PRIVATE") {
				t.Errorf("the error quotes the file: %v", err)
			}
		})
	}
	t.Run("a CA that ended", func(t *testing.T) {
		later := func() time.Time { return time.Now().AddDate(11, 0, 0) }
		if _, err := obtain(t, "orders", localsource.Options{Dir: good(t), Source: identity.SourceOptions{Now: later}}); !errors.Is(err, identity.ErrSetup) {
			t.Errorf("the error is %v", err)
		}
	})
}

func TestLeafEndsWithTheCA(t *testing.T) {
	dir := t.TempDir()
	mustChmod(t, dir, 0o700)
	ca := mustObtain(t, "orders", localsource.Options{Dir: dir}).Bundle()[0]
	late := func() time.Time { return ca.NotAfter.Add(-time.Hour) }
	if c := mustObtain(t, "orders", localsource.Options{Dir: dir, Source: identity.SourceOptions{Now: late}}); !c.NotAfter().Equal(ca.NotAfter) {
		t.Errorf("the leaf ends %s, the CA %s", c.NotAfter(), ca.NotAfter)
	}
}

// TestSignsNothingElse holds that a CA that somebody told a browser to trust
// is no danger to the web.
func TestSignsNothingElse(t *testing.T) {
	dir := t.TempDir()
	mustChmod(t, dir, 0o700)
	root := mustObtain(t, "orders", localsource.Options{Dir: dir}).Bundle()[0]
	if !root.PermittedDNSDomainsCritical || !root.MaxPathLenZero || root.KeyUsage != x509.KeyUsageCertSign {
		t.Error("the CA may sign what it likes")
	}
	if diff := cmp.Diff([][]string{{"svc"}, {"local"}}, [][]string{root.PermittedDNSDomains, root.PermittedURIDomains}); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

// TestOneCAForAll is the race for a new folder, often enough to be lost by
// whoever writes the file in place.
func TestOneCAForAll(t *testing.T) {
	for range 30 {
		dir := filepath.Join(t.TempDir(), "ca")
		hashes := make([]string, 16)
		start := make(chan struct{})
		var all sync.WaitGroup
		for i := range hashes {
			all.Go(func() {
				<-start
				if c, err := obtain(t, "orders", localsource.Options{Dir: dir}); err != nil {
					t.Error(err)
				} else {
					hashes[i] = c.BundleHash()
				}
			})
		}
		close(start)
		all.Wait()
		for _, h := range hashes {
			if h != hashes[0] {
				t.Fatal("two CAs in one folder")
			}
		}
	}
}

const envHelper = "XINHARI_TEST_CA_HELPER"

// TestMain is a service of its own when it is told to: it prints the hash of
// the roots it trusts.
func TestMain(m *testing.M) {
	if os.Getenv(envHelper) == "" {
		os.Exit(m.Run())
	}
	s, err := localsource.New("orders", localsource.Options{})
	if err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		go func() { <-s.Ready(); cancel() }()
		err = s.Run(ctx)
	}
	if err != nil || s.Current().IsZero() {
		fmt.Fprintln(os.Stderr, "no credentials", err)
		os.Exit(1)
	}
	fmt.Print(s.Current().BundleHash())
	os.Exit(0)
}

// TestProcessesThatStartTogether agree on one CA.
func TestProcessesThatStartTogether(t *testing.T) {
	const processes = 20
	for range 3 {
		dir := filepath.Join(t.TempDir(), "ca")
		outputs := make([]string, processes)
		errs := make([]error, processes)
		var all sync.WaitGroup
		for i := range processes {
			all.Go(func() {
				command := exec.Command(os.Args[0])
				command.Env = append(os.Environ(), envHelper+"=1", localsource.EnvDir+"="+dir)
				out, err := command.Output()
				outputs[i], errs[i] = string(out), err
			})
		}
		all.Wait()
		for i := range processes {
			if errs[i] != nil || outputs[i] != outputs[0] || outputs[i] == "" {
				t.Errorf("process %d: %q, %v; process 0: %q", i, outputs[i], errs[i], outputs[0])
			}
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
			t.Errorf("in the folder: %v, %v", entries, err)
		}
	}
}

func mustChmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func mustChown(t *testing.T, path string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	if err := os.Chown(path, 65534, -1); err != nil {
		t.Fatal(err)
	}
}

func mustTruncate(t *testing.T, path string, size int64) {
	t.Helper()
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
}
