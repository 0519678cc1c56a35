package rules

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// docs/security.md claims nothing that no test shows: every row of its table
// names a test, and its case, that there is.
func TestEveryRefusalThatIsClaimedHasItsTest(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "security.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(text), "\n## What is refused\n")
	if !ok {
		t.Fatal("there is no table of refusals")
	}
	table, _, _ = strings.Cut(table, "\n## ")
	named := regexp.MustCompile("^\\| .+ \\| `([^` ]+_test\\.go)` `(\\w+)`(?: \"([^\"]+)\")? \\|$")
	files := map[string]string{}
	count := 0
	for row := range strings.Lines(table) {
		row = strings.TrimSuffix(row, "\n")
		if !strings.HasPrefix(row, "| ") || strings.HasPrefix(row, "| **") || row == "| refused | test |" {
			continue
		}
		parts := named.FindStringSubmatch(row)
		if parts == nil {
			t.Errorf("the row names no test: %s", row)
			continue
		}
		count++
		path, test, name := parts[1], parts[2], parts[3]
		if _, ok := files[path]; !ok {
			code, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(path)))
			if err != nil {
				t.Error(err)
			}
			files[path] = string(code)
		}
		if !strings.Contains(files[path], "\nfunc "+test+"(") {
			t.Errorf("%s has no %s", path, test)
		}
		if name != "" && !strings.Contains(files[path], `"`+name+`"`) {
			t.Errorf("%s has no case %q", path, name)
		}
	}
	if count < 50 {
		t.Errorf("the table has %d tests: it had 50 and more", count)
	}
}
