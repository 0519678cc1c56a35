package foldercatalog

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSplitDocuments(t *testing.T) {
	for _, c := range []struct {
		name, data string
		want       []string
	}{
		{"one", "a: 1\n", []string{"a: 1\n"}},
		{"no end of line", "a: 1\n---\nb: 2", []string{"a: 1\n", "b: 2"}},
		{"a marker at the beginning", "---\na: 1\n", []string{"", "a: 1\n"}},
		{"a marker with a comment", "a: 1\n--- # next\nb: 2\n", []string{"a: 1\n", "b: 2\n"}},
		{"dashes that are no marker", "a: |\n  ---\nb: ----\n----\n", []string{"a: |\n  ---\nb: ----\n----\n"}},
		{"Windows line ends", "a: 1\r\n---\r\nb: 2\r\n", []string{"a: 1\r\n", "b: 2\r\n"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, d := range splitDocuments([]byte(c.data)) {
				got = append(got, string(d))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// FuzzParse looks for documents that stop the process, for objects that are
// accepted without a name, and for lines that get lost.
func FuzzParse(f *testing.F) {
	samples, err := filepath.Glob("../../../config/samples/*.yaml")
	if err != nil || len(samples) == 0 {
		f.Fatalf("no samples: %v", err)
	}
	for _, path := range samples {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, s := range []string{"", "---", "---\n---\n", "{", "\x00", "a: &a [*a]", "- 1", "apiVersion: xinhari.com/v1alpha1\nkind: Topic\n", "!!binary x"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		docs := splitDocuments(data)
		kept := 0
		for _, d := range docs {
			kept += bytes.Count(d, []byte("\n"))
			if bytes.HasPrefix(d, []byte("---\n")) || bytes.Contains(d, []byte("\n---\n")) {
				t.Errorf("a marker is left in %q", d)
			}
			o, err := parse(d)
			if err == nil && o != nil && (o.GetName() == "" || kindOf(o) == "") {
				t.Errorf("accepted without name or kind: %+v", o)
			}
		}
		if lines := bytes.Count(data, []byte("\n")); kept > lines || kept < lines-(len(docs)-1) {
			t.Errorf("%d lines became %d in %d documents", lines, kept, len(docs))
		}
	})
}
