// Package rules holds the rules of this code that a machine can keep: what is
// linked, what is documented, how packages are named, and that the README
// shows a program that runs.
package rules

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// root is the folder of the repository.
const root = "../.."

// source is a package's files, without tests, by path.
type source struct {
	name  string
	files map[string]*ast.File
	tests bool // it has nothing but tests
}

// sources parses all packages of the repository, those of its other modules
// too, by folder.
func sources(t *testing.T) (map[string]*source, *token.FileSet) {
	t.Helper()
	all := map[string]*source{}
	positions := token.NewFileSet()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != root && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata" || path == filepath.Join(root, "bin")):
			return fs.SkipDir
		case entry.IsDir() || filepath.Ext(path) != ".go":
			return nil
		}
		file, err := parser.ParseFile(positions, path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		test := strings.HasSuffix(path, "_test.go")
		s, ok := all[dir]
		if !ok {
			s = &source{files: map[string]*ast.File{}, tests: true}
			all[dir] = s
		}
		if s.tests && !test {
			s.tests, s.files = false, map[string]*ast.File{}
		}
		if test == s.tests {
			s.name, s.files[path] = file.Name.Name, file
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 30 {
		t.Fatalf("%d packages in %s: there are more", len(all), root)
	}
	return all, positions
}

func TestEveryPackageHasOneComment(t *testing.T) {
	all, _ := sources(t)
	for dir, s := range all {
		var with []string
		for path, f := range s.files {
			if f.Doc == nil || strings.TrimSpace(f.Doc.Text()) == "" {
				continue // none, or directives alone
			}
			with = append(with, filepath.Base(path))
			want := "Package " + s.name + " "
			if s.name == "main" {
				want = "Command "
			}
			if !strings.HasPrefix(f.Doc.Text(), want) {
				t.Errorf("%s: the package comment does not begin %q", path, want)
			}
		}
		if slices.Sort(with); len(with) != 1 {
			t.Errorf("%s has %d package comments %v, want one", dir, len(with), with)
		}
	}
}

func TestPackagesAreNamedForWhatTheyAre(t *testing.T) {
	all, _ := sources(t)
	for dir, s := range all {
		for _, name := range []string{s.name, filepath.Base(dir)} {
			switch name {
			case "util", "utils", "common", "helper", "helpers", "misc", "base", "shared", "types":
				t.Errorf("%s: the package is named %s, which says nothing", dir, name)
			}
		}
	}
}

func TestNoInitButTheForcedOnes(t *testing.T) {
	forced := map[string]string{
		filepath.Join("pkg", "balancer"):                                   "gRPC knows balancers by a registry of the process alone",
		filepath.Join("hack", "devcluster", "internal", "node", "runtime"): "main comes after 60 ms of Kubernetes' initialization, in each container anew",
	}
	all, positions := sources(t)
	for dir, s := range all {
		for _, f := range s.files {
			if ast.IsGenerated(f) {
				continue // protobuf registers its types by one
			}
			for _, d := range f.Decls {
				fn, ok := d.(*ast.FuncDecl)
				if !ok || fn.Recv != nil || fn.Name.Name != "init" {
					continue
				}
				if forced[dir] == "" {
					t.Errorf("%s: init", positions.Position(fn.Pos()))
				}
				forced[dir] = ""
			}
		}
	}
	for dir, why := range forced {
		if why != "" {
			t.Errorf("%s has no init any more: take the exception (%s) out of this test", dir, why)
		}
	}
}

func TestExportedNamesAreDocumented(t *testing.T) {
	all, positions := sources(t)
	for _, s := range all {
		if s.name == "main" || s.tests {
			continue
		}
		for _, f := range s.files {
			if ast.IsGenerated(f) {
				continue
			}
			for _, d := range f.Decls {
				for _, name := range undocumented(d) {
					t.Errorf("%s: %s has no comment", positions.Position(name.Pos()), name.Name)
				}
			}
		}
	}
}

// undocumented returns the exported names of a declaration that neither have a
// comment nor are in a group that has one.
func undocumented(d ast.Decl) []*ast.Ident {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Doc == nil && d.Name.IsExported() && (d.Recv == nil || exported(d.Recv.List[0].Type)) {
			return []*ast.Ident{d.Name}
		}
	case *ast.GenDecl:
		var names []*ast.Ident
		for _, spec := range d.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				if d.Doc == nil && spec.Doc == nil && spec.Name.IsExported() {
					names = append(names, spec.Name)
				}
			case *ast.ValueSpec:
				for _, n := range spec.Names {
					if d.Doc == nil && spec.Doc == nil && spec.Comment == nil && n.IsExported() {
						names = append(names, n)
					}
				}
			}
		}
		return names
	}
	return nil
}

// exported says whether a receiver's type is.
func exported(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.StarExpr:
		return exported(e.X)
	case *ast.IndexExpr:
		return exported(e.X)
	case *ast.IndexListExpr:
		return exported(e.X)
	case *ast.Ident:
		return e.IsExported()
	}
	return false
}
