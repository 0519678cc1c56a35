// Package foldercatalog reads the four kinds from a folder of manifests: the
// same YAML that kubectl apply takes.
//
// All files of the folder and the folders below it whose names end in .yaml,
// .yml or .json are read; documents of other kinds, such as Deployments, are
// passed over. A field that a kind does not have is an error that names the
// file and the document, and the last good objects are kept. The folder is
// looked at each second. A document without a namespace is of the one that
// the opener was given.
package foldercatalog

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"sigs.k8s.io/yaml"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
	"github.com/xinhari/xinhari/pkg/catalog"
)

const (
	interval = time.Second

	// maxFile bounds a manifest, as etcd bounds an object.
	maxFile = 4 << 20
)

// New returns a catalog of the folder. The folder must exist.
func New(folder, namespace string) (*catalog.Catalog, error) {
	info, err := os.Stat(folder)
	if err != nil {
		return nil, fmt.Errorf("folder of manifests: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("folder of manifests: %s is a file", folder)
	}
	return catalog.New(&driver{folder: folder, namespace: namespace}), nil
}

type driver struct {
	folder    string
	namespace string

	mu     sync.Mutex
	digest [sha256.Size]byte
	last   []catalog.Object
	synced time.Time
	err    error
}

func (d *driver) Name() string { return "folder " + d.folder }

func (d *driver) Watch(ctx context.Context, s catalog.Selection, set func(catalog.State)) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	var seen [sha256.Size]byte
	var seenErr string
	first := true
	for {
		digest, state := d.read()
		text := ""
		if state.Err != nil {
			text = state.Err.Error()
		}
		if first || digest != seen || text != seenErr {
			first, seen, seenErr = false, digest, text
			state.Objects = choose(state.Objects, s)
			set(state)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// read returns what the folder holds now, or held when it was last good. All
// watches share one reading of each state of the folder.
func (d *driver) read() ([sha256.Size]byte, catalog.State) {
	files, digest, err := load(d.folder)
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case err != nil:
		d.err = err
	case digest != d.digest || d.synced.IsZero():
		objects, err := parseFiles(files, d.namespace)
		d.digest, d.err = digest, err
		if err == nil {
			d.last, d.synced = objects, time.Now()
		}
	case d.err == nil:
		d.synced = time.Now()
	}
	return d.digest, catalog.State{Objects: d.last, Synced: d.synced, Err: d.err}
}

func choose(objects []catalog.Object, s catalog.Selection) []catalog.Object {
	var chosen []catalog.Object
	for _, o := range objects {
		if kindOf(o) == s.Kind && o.GetNamespace() == s.Namespace && (s.Name == "" || s.Name == o.GetName()) {
			chosen = append(chosen, o)
		}
	}
	return chosen
}

func kindOf(o catalog.Object) catalog.Kind {
	switch o.(type) {
	case *xinhariv1alpha1.Service:
		return catalog.Service
	case *xinhariv1alpha1.AccessRule:
		return catalog.AccessRule
	case *xinhariv1alpha1.ConfigSource:
		return catalog.ConfigSource
	case *xinhariv1alpha1.Topic:
		return catalog.Topic
	}
	return ""
}

type file struct {
	path string
	data []byte
}

// load reads the folder's manifests, in the order of their paths.
func load(folder string) ([]file, [sha256.Size]byte, error) {
	var files []file
	digest := sha256.New()
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && path != folder && strings.HasPrefix(entry.Name(), ".") {
			return fs.SkipDir // .git, and the ..data of a mounted ConfigMap
		}
		switch filepath.Ext(path) {
		case ".yaml", ".yml", ".json":
		default:
			return nil
		}
		info, err := os.Stat(path) // through links, which a mounted ConfigMap has
		if err != nil {
			return err
		}
		if info.IsDir() {
			return nil
		}
		if info.Size() > maxFile {
			return fmt.Errorf("%s is larger than %d bytes", path, maxFile)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files = append(files, file{path, data})
		digest.Write(fmt.Appendf(nil, "%s\x00%d\x00", path, len(data)))
		digest.Write(data)
		return nil
	})
	return files, [sha256.Size]byte(digest.Sum(nil)), err
}

func parseFiles(files []file, namespace string) ([]catalog.Object, error) {
	var objects []catalog.Object
	var errs []error
	from := map[string]string{}
	for _, f := range files {
		for i, doc := range splitDocuments(f.data) {
			o, err := parse(doc)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s, document %d: %w", f.path, i+1, err))
				continue
			}
			if o == nil {
				continue
			}
			if o.GetNamespace() == "" {
				o.SetNamespace(namespace)
			}
			id := fmt.Sprintf("%s %s/%s", kindOf(o), o.GetNamespace(), o.GetName())
			if first, dup := from[id]; dup {
				errs = append(errs, fmt.Errorf("%s, document %d: %s is in %s already", f.path, i+1, id, first))
				continue
			}
			from[id] = f.path
			objects = append(objects, o)
		}
	}
	slices.SortStableFunc(objects, func(a, b catalog.Object) int { return strings.Compare(a.GetName(), b.GetName()) })
	return objects, errors.Join(errs...)
}

// splitDocuments cuts a YAML stream at its --- lines.
func splitDocuments(data []byte) [][]byte {
	var docs [][]byte
	var doc []byte
	for line := range bytes.Lines(data) {
		if trimmed := bytes.TrimRight(line, " \t\r\n"); bytes.Equal(trimmed, []byte("---")) || bytes.HasPrefix(line, []byte("--- ")) {
			docs = append(docs, doc)
			doc = nil
			continue
		}
		doc = append(doc, line...)
	}
	return append(docs, doc)
}

// parse returns the object of a document, or nil for other kinds.
func parse(doc []byte) (catalog.Object, error) {
	var head struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
	}
	if err := yaml.Unmarshal(doc, &head); err != nil {
		return nil, err
	}
	group, _, _ := strings.Cut(head.APIVersion, "/")
	if group != xinhariv1alpha1.GroupName {
		return nil, nil
	}
	if head.APIVersion != xinhariv1alpha1.GroupVersion().String() {
		return nil, fmt.Errorf("apiVersion %s: want %s", head.APIVersion, xinhariv1alpha1.GroupVersion())
	}
	var o catalog.Object
	switch catalog.Kind(head.Kind) {
	case catalog.Service:
		o = &xinhariv1alpha1.Service{}
	case catalog.AccessRule:
		o = &xinhariv1alpha1.AccessRule{}
	case catalog.ConfigSource:
		o = &xinhariv1alpha1.ConfigSource{}
	case catalog.Topic:
		o = &xinhariv1alpha1.Topic{}
	default:
		return nil, fmt.Errorf("kind %s: want Service, AccessRule, ConfigSource or Topic", head.Kind)
	}
	if err := yaml.UnmarshalStrict(doc, o); err != nil {
		return nil, err
	}
	if o.GetName() == "" {
		return nil, fmt.Errorf("%s without a metadata.name", head.Kind)
	}
	return o, nil
}
