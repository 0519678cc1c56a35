package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xinhari/xinhari/test/shopcluster"
)

// pemKey is a key as PEM has it, also where its lines are escaped.
var pemKey = regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----(\\n|\s)+[A-Za-z0-9+/]{16}`)

// derKeys returns how keys of P-256 and P-384 begin as DER has them.
func derKeys() []string {
	return []string{
		"\x02\x01\x00\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01", // PKCS #8
		"\x02\x01\x00\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01",
		"\x30\x77\x02\x01\x01\x04\x20", // SEC 1
		"\x30\x81\xa4\x02\x01\x01\x04\x30",
	}
}

// base64Keys returns "PRIVATE KEY" as it is inside of base64: in one of three
// ways, by where it begins.
func base64Keys() []string {
	var all []string
	for shift := range 3 {
		text := base64.StdEncoding.EncodeToString([]byte("   "[:shift] + "PRIVATE KEY   "))
		all = append(all, text[3:14]) // no bits of what stands around
	}
	return all
}

// holdsKey says whether a private key is in data.
func holdsKey(data []byte) bool {
	return pemKey.Match(data) || slices.ContainsFunc(slices.Concat(derKeys(), base64Keys()), func(s string) bool {
		return bytes.Contains(data, []byte(s))
	})
}

func TestHoldsKey(t *testing.T) {
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384()} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		must(t, err)
		pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
		must(t, err)
		sec1, err := x509.MarshalECPrivateKey(key)
		must(t, err)
		public, err := x509.MarshalPKIXPublicKey(key.Public())
		must(t, err)
		text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
		for name, test := range map[string]struct {
			data []byte
			want bool
		}{
			"PKCS #8":            {pkcs8, true},
			"SEC 1":              {sec1, true},
			"PEM of PKCS #8":     {text, true},
			"PEM of SEC 1":       {pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1}), true},
			"PEM in JSON":        {fmt.Appendf(nil, "{%q: %q}", "key", text), true},
			"base64":             {[]byte(base64.StdEncoding.EncodeToString(text)), true},
			"base64, shifted":    {[]byte(base64.StdEncoding.EncodeToString(append([]byte("x"), text...))), true},
			"base64, shifted 2":  {[]byte(base64.StdEncoding.EncodeToString(append([]byte("xy"), text...))), true},
			"a public key":       {public, false},
			"PEM of one":         {pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), false},
			"talk of one":        {[]byte("want a block PRIVATE KEY"), false},
			"a beginning and no": {[]byte("-----BEGIN PRIVATE KEY-----\n"), false},
		} {
			t.Run(curve.Params().Name+" "+name, func(t *testing.T) {
				if got := holdsKey(test.data); got != test.want {
					t.Errorf("got %v, want %v", got, test.want)
				}
			})
		}
	}
}

// noKeys holds that the only keys that are written anywhere are those of the
// operator's issuers.
func noKeys(t *testing.T, s *stage) {
	ctx := t.Context()
	t.Run("objects", func(t *testing.T) {
		kinds, err := shopcluster.Run(ctx, "kubectl", "api-resources", "--verbs=list", "-o", "name")
		must(t, err)
		var with []string
		looked := map[string]int{}
		for kind := range strings.FieldsSeq(kinds) {
			out, err := shopcluster.Run(ctx, "kubectl", "get", kind, "--all-namespaces", "--ignore-not-found",
				"-o", `go-template={{range .items}}{{.metadata.namespace}}/{{.metadata.name}} {{printf "%v" .}}{{"\x00"}}{{end}}`)
			must(t, err)
			for object := range strings.SplitSeq(out, "\x00") {
				name, _, _ := strings.Cut(object, " ")
				if looked[kind]++; holdsKey([]byte(object)) {
					with = append(with, kind+" "+name)
				}
			}
		}
		if diff := cmp.Diff([]string{"secrets xinhari-system/xinhari-ca", "secrets xinhari-system/xinhari-signing"}, slices.Sorted(slices.Values(with))); diff != "" {
			t.Errorf("objects that hold private keys (-want +got):\n%s", diff)
		}
		if looked["configmaps"] < 5 || looked["events"] < 5 {
			t.Errorf("only %d ConfigMaps and %d Events were looked at", looked["configmaps"], looked["events"])
		}
	})
	t.Run("logs of pods", func(t *testing.T) {
		for _, namespace := range []string{s.steady.Namespace, s.brief.Namespace, shopcluster.OperatorNamespace} {
			out, err := shopcluster.Run(ctx, "kubectl", "-n", namespace, "get", "pods", "-o", "jsonpath={.items[*].metadata.name}")
			must(t, err)
			pods := strings.Fields(out)
			if len(pods) == 0 {
				t.Errorf("%s has no pods", namespace)
			}
			for _, pod := range pods {
				for _, previous := range []string{"false", "true"} {
					text, err := shopcluster.Run(ctx, "kubectl", "-n", namespace, "logs", pod, "--previous="+previous)
					switch {
					case err != nil && previous == "true":
						continue // it has not restarted
					case err != nil:
						t.Error(err)
					case holdsKey([]byte(text)):
						t.Errorf("the log of %s/%s holds a private key", namespace, pod)
					}
				}
			}
		}
	})
	t.Run("logs of the cluster", func(t *testing.T) {
		logs, err := filepath.Glob(filepath.Join(os.Getenv("DEVCLUSTER_DIR"), "logs", "*.log"))
		must(t, err)
		if len(logs) < 5 {
			t.Errorf("only %d logs: %v", len(logs), logs)
		}
		for _, path := range logs {
			data, err := os.ReadFile(path)
			must(t, err)
			if holdsKey(data) {
				t.Errorf("%s holds a private key", path)
			}
		}
	})
	t.Run("files of pods", func(t *testing.T) {
		for program, pods := range programs(ctx, t, s) {
			for _, p := range pods {
				pids, err := shopcluster.Processes(p, program)
				must(t, err)
				for _, pid := range pids {
					seen, with, err := files(pid)
					must(t, err)
					for _, path := range with {
						t.Errorf("file %s of pod %s holds a private key", path, p.Name)
					}
					if !slices.ContainsFunc(seen, func(path string) bool {
						return strings.Contains(path, "/serviceaccount/") && filepath.Base(path) == "token"
					}) {
						t.Errorf("the token of %s was not looked at: %v", p.Name, seen)
					}
				}
			}
		}
	})
}

func programs(ctx context.Context, t *testing.T, s *stage) map[string][]shopcluster.Pod {
	t.Helper()
	operators, err := shopcluster.Operators(ctx)
	must(t, err)
	all := map[string][]shopcluster.Pod{"operator": operators}
	for _, shop := range s.shops() {
		for app, program := range map[string]string{"orders": "orders", "inventory": "inventory", "demo": "hello"} {
			pods, err := shop.Pods(ctx, app)
			must(t, err)
			all[program] = append(all[program], pods...)
		}
	}
	return all
}

// files reads the files that a process can have written or was given: all that
// it sees but the host's folders, the kernel's file systems and programs. It
// returns their paths, and those of the files that hold a private key.
func files(pid int) (seen, with []string, err error) {
	mounts, err := os.Open(fmt.Sprintf("/proc/%d/mountinfo", pid))
	if err != nil {
		return nil, nil, err
	}
	defer mounts.Close()
	root := fmt.Sprintf("/proc/%d/root", pid)
	skip := map[string]bool{}
	lines := bufio.NewScanner(mounts)
	for lines.Scan() {
		// proc(5): mount point, options; after a dash, the type.
		fields := strings.Fields(lines.Text())
		dash := slices.Index(fields, "-")
		if len(fields) < 6 || dash < 0 || dash+1 >= len(fields) {
			return nil, nil, fmt.Errorf("mountinfo: %q", lines.Text())
		}
		if hostOrKernel(fields[4], fields[dash+1]) {
			skip[filepath.Join(root, fields[4])] = true
		}
	}
	if err := lines.Err(); err != nil {
		return nil, nil, err
	}
	err = filepath.WalkDir(root+"/", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // it is gone
		case err != nil:
			return err
		case skip[filepath.Clean(path)]:
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		case !entry.Type().IsRegular():
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, root)
		seen = append(seen, name)
		if !bytes.HasPrefix(data, []byte("\x7fELF")) && holdsKey(data) {
			with = append(with, name)
		}
		return nil
	})
	return seen, with, err
}

func hostOrKernel(mountPoint, kind string) bool {
	if slices.Contains([]string{"proc", "sysfs", "cgroup", "cgroup2", "devpts", "mqueue", "devtmpfs"}, kind) {
		return true
	}
	return slices.ContainsFunc([]string{"/usr", "/bin", "/sbin", "/lib", "/opt", "/etc", "/dev"}, func(dir string) bool { return strings.HasPrefix(mountPoint, dir) })
}
