package foldercatalog_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"sigs.k8s.io/yaml"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
	"github.com/xinhari/xinhari/internal/watchtest"
	"github.com/xinhari/xinhari/pkg/catalog"
	"github.com/xinhari/xinhari/pkg/catalog/catalogtest"
	"github.com/xinhari/xinhari/pkg/catalog/foldercatalog"
)

func TestConformance(t *testing.T) {
	catalogtest.Run(t, func(t testing.TB) *catalogtest.World {
		f := folder{t, t.TempDir()}
		c, err := foldercatalog.New(f.path, "shop")
		if err != nil {
			t.Fatal(err)
		}
		file := func(o catalog.Object) string { return fmt.Sprintf("%T-%s-%s.yaml", o, o.GetNamespace(), o.GetName()) }
		return &catalogtest.World{
			Catalog:   c,
			Namespace: "shop",
			Other:     "finance",
			Put: func(o catalog.Object) {
				data, err := yaml.Marshal(o)
				if err != nil {
					t.Fatal(err)
				}
				kind := strings.TrimPrefix(fmt.Sprintf("%T", o), "*v1alpha1.")
				f.write(file(o), "apiVersion: xinhari.com/v1alpha1\nkind: "+kind+"\n"+string(data))
			},
			Remove: func(o catalog.Object) { f.remove(file(o)) },
			Lose:   func() { f.write("broken.yaml", "{") },
			Find:   func() { f.remove("broken.yaml") },
		}
	})
}

// folder is a folder of manifests.
type folder struct {
	testing.TB
	path string
}

// write replaces a file at once, so that no half of it is read.
func (f folder) write(name, text string) {
	f.Helper()
	next := filepath.Join(f.path, name+".next")
	if err := os.MkdirAll(filepath.Dir(next), 0o755); err != nil {
		f.Fatal(err)
	}
	if err := os.WriteFile(next, []byte(text), 0o644); err != nil {
		f.Fatal(err)
	}
	if err := os.Rename(next, filepath.Join(f.path, name)); err != nil {
		f.Fatal(err)
	}
}

func (f folder) remove(name string) {
	f.Helper()
	if err := os.Remove(filepath.Join(f.path, name)); err != nil {
		f.Fatal(err)
	}
}

func (f folder) link(target, name string) {
	f.Helper()
	next := filepath.Join(f.path, name+".next")
	if err := os.Symlink(target, next); err != nil {
		f.Fatal(err)
	}
	if err := os.Rename(next, filepath.Join(f.path, name)); err != nil {
		f.Fatal(err)
	}
}

// service writes a Service as YAML.
func service(name, app string) string {
	return "apiVersion: xinhari.com/v1alpha1\nkind: Service\nmetadata: {name: " + name + "}\nspec: {selector: {app: " + app + "}}\n"
}

const deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {unheardOf: true}\n"

type snapshot = catalog.Snapshot[xinhariv1alpha1.Service]

func text(s snapshot) string {
	var all []string
	for _, o := range s.Objects {
		all = append(all, o.Namespace+"/"+o.Name+"="+string(o.Spec.Selector["app"]))
	}
	return strings.Join(all, " ")
}

// watch watches the Services of namespace shop.
func (f folder) watch() *watchtest.Recorder[snapshot] {
	f.Helper()
	c, err := foldercatalog.New(f.path, "shop")
	if err != nil {
		f.Fatal(err)
	}
	r := &watchtest.Recorder[snapshot]{}
	watchtest.Run(f, func(ctx context.Context) error { return c.WatchServices(ctx, "shop", "", r.Set) })
	return r
}

func TestWhatIsRead(t *testing.T) {
	large := "# " + strings.Repeat("x", 4<<20) + "\n"
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string
		errs  []string // parts of the error, all of them
	}{
		{name: "an empty folder has no objects"},
		{name: "several documents of a file", files: map[string]string{"all.yaml": service("b", "x") + "---\n" + service("a", "x")}, want: "shop/a=x shop/b=x"},
		{
			name:  "documents that are empty or comments are passed over",
			files: map[string]string{"all.yaml": "---\n# a comment\n---\n\n--- # and another\n" + service("a", "x") + "---\n"},
			want:  "shop/a=x",
		},
		{name: "Windows line ends", files: map[string]string{"all.yaml": strings.ReplaceAll(service("a", "x")+"---\n"+service("b", "x"), "\n", "\r\n")}, want: "shop/a=x shop/b=x"},
		{
			name:  "JSON",
			files: map[string]string{"a.json": `{"apiVersion":"xinhari.com/v1alpha1","kind":"Service","metadata":{"name":"a"},"spec":{"selector":{"app":"x"}}}`},
			want:  "shop/a=x",
		},
		{
			name:  "files of other names, folders of tools and other kinds are passed over",
			files: map[string]string{"a.yml": service("a", "x"), "notes.txt": "{", ".git/b.yaml": "{", "sub/c.yaml": service("c", "x"), "d.yaml": deployment},
			want:  "shop/a=x shop/c=x",
		},
		{name: "a namespace of its own", files: map[string]string{"a.yaml": strings.Replace(service("a", "x"), "{name: a}", "{name: a, namespace: finance}", 1)}},
		{
			name:  "a field that the kind does not have",
			files: map[string]string{"all.yaml": service("a", "x") + "---\n" + strings.Replace(service("b", "x"), "selector", "selektor", 1)},
			errs:  []string{"all.yaml, document 2", `unknown field "selektor"`},
		},
		{
			name:  "a key twice",
			files: map[string]string{"a.yaml": service("a", "x") + "kind: Service\n"},
			errs:  []string{"a.yaml, document 1", "kind"},
		},
		{
			name:  "two of one name",
			files: map[string]string{"a.yaml": service("a", "x"), "b.yaml": service("b", "x") + "---\n" + service("a", "z")},
			errs:  []string{"b.yaml, document 2", "Service shop/a is in", "a.yaml already"},
		},
		{
			name:  "every mistake of every file is named",
			files: map[string]string{"a.yaml": "{", "b.yaml": strings.Replace(service("b", "x"), "kind: Service", "kind: Servise", 1)},
			errs:  []string{"a.yaml, document 1", "b.yaml, document 1", "Servise", "want Service, AccessRule, ConfigSource or Topic"},
		},
		{
			name:  "a version that there is not",
			files: map[string]string{"a.yaml": strings.Replace(service("a", "x"), "v1alpha1", "v1", 1)},
			errs:  []string{"a.yaml, document 1", "apiVersion xinhari.com/v1: want xinhari.com/v1alpha1"},
		},
		{
			name:  "no name",
			files: map[string]string{"a.yaml": strings.Replace(service("a", "x"), "{name: a}", "{}", 1)},
			errs:  []string{"a.yaml, document 1", "Service without a metadata.name"},
		},
		{name: "a file that is too large", files: map[string]string{"a.yaml": large}, errs: []string{"a.yaml is larger than 4194304 bytes"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := folder{t, t.TempDir()}
			for name, text := range c.files {
				f.write(name, text)
			}
			s := f.watch().Await(t, 0, func(snapshot) string { return "" })
			if got := text(s); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if (s.Err != nil) != (c.errs != nil) {
				t.Fatalf("error %v, want parts %q", s.Err, c.errs)
			}
			for _, part := range c.errs {
				if !strings.Contains(s.Err.Error(), part) {
					t.Errorf("error %q does not say %q", s.Err, part)
				}
			}
			if s.Synced.IsZero() != (c.errs != nil) {
				t.Errorf("synced %v", s.Synced)
			}
		})
	}
}

func good(want string) func(snapshot) string {
	return func(s snapshot) string {
		if got := text(s); got != want || s.Err != nil {
			return fmt.Sprintf("got %q (error %v), want %q", got, s.Err, want)
		}
		return ""
	}
}

// A mounted ConfigMap is a folder of links into ..data, which is a link to a
// folder of a time; an update swaps that one link.
func TestAMountedConfigMapIsReadOnceAndFollowed(t *testing.T) {
	defer goleak.VerifyNone(t)
	t.Run("swap", func(t *testing.T) {
		f := folder{t, t.TempDir()}
		f.write("..2026_1/a.yaml", service("a", "x"))
		f.link("..2026_1", "..data")
		f.link("..data/a.yaml", "a.yaml")
		r := f.watch()
		r.Await(t, 0, good("shop/a=x"))
		f.write("..2026_2/a.yaml", service("a", "z"))
		f.link("..2026_2", "..data")
		r.Await(t, 0, good("shop/a=z"))
	})
}

func TestAFolderThatGoesAndComesBack(t *testing.T) {
	defer goleak.VerifyNone(t)
	t.Run("gone", func(t *testing.T) {
		f := folder{t, filepath.Join(t.TempDir(), "manifests")}
		f.write("a.yaml", service("a", "x"))
		r := f.watch()
		r.Await(t, 0, good("shop/a=x"))
		if err := os.Rename(f.path, f.path+".away"); err != nil {
			t.Fatal(err)
		}
		r.Await(t, 0, func(s snapshot) string {
			if got := text(s); got != "shop/a=x" || s.Err == nil {
				return fmt.Sprintf("got %q (error %v), want the last good and an error", got, s.Err)
			}
			return ""
		})
		seen := len(r.All())
		if err := os.Rename(f.path+".away", f.path); err != nil {
			t.Fatal(err)
		}
		r.Await(t, seen, good("shop/a=x"))
	})
}

func TestAFolderIsAsked(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.yaml")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, filepath.Join(t.TempDir(), "absent")} {
		if _, err := foldercatalog.New(path, "shop"); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("New(%s): error %v", path, err)
		}
	}
}
