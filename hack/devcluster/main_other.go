//go:build !linux

package main

import (
	"fmt"
	"os"
	"runtime"
)

func main() {
	fmt.Fprintf(os.Stderr, `devcluster: %s cannot run a cluster, which is made of Linux namespaces.
Mend: work in a Linux virtual machine that sees this folder and has Go, make and a C compiler: Lima
(https://lima-vm.io) on macOS, WSL 2 on Windows. Run the same command there; `+"`devcluster doctor`"+`
says what that machine lacks.
`, runtime.GOOS)
	os.Exit(1)
}
