// Command lint is golangci-lint with kube-api-linter linked in, so that one pinned program, built from Go modules, checks all
// code by the rules of .golangci.yml.
package main

import (
	"os"
	"runtime/debug"

	"github.com/golangci/golangci-lint/v2/pkg/commands"
	"github.com/golangci/golangci-lint/v2/pkg/exitcodes"
	_ "sigs.k8s.io/kube-api-linter" // registers the linter kubeapilinter
)

func main() {
	if err := commands.Execute(info()); err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(exitcodes.Failure)
	}
}

// info says what golangci-lint shows as its version: that of its module.
func info() commands.BuildInfo {
	info := commands.BuildInfo{Version: "unknown", Commit: "none", Date: "unknown"}
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return info
	}
	info.GoVersion = build.GoVersion
	for _, module := range build.Deps {
		if module.Path == "github.com/golangci/golangci-lint/v2" {
			info.Version = module.Version
		}
	}
	return info
}
