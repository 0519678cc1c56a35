package binaries

import (
	"runtime/debug"
	"strings"
	_ "unsafe" // for go:linkname

	"k8s.io/component-base/version"
)

// Kubernetes takes its version from variables that its own build scripts have
// the linker set. Set here, they are right however this binary is built, by
// `go install` too.

//go:linkname componentVersion k8s.io/component-base/version.gitVersion
//go:linkname componentMajor k8s.io/component-base/version.gitMajor
//go:linkname componentMinor k8s.io/component-base/version.gitMinor
//go:linkname clientVersion k8s.io/client-go/pkg/version.gitVersion
//go:linkname clientMajor k8s.io/client-go/pkg/version.gitMajor
//go:linkname clientMinor k8s.io/client-go/pkg/version.gitMinor

//nolint:gochecknoglobals // they are those of other packages
var componentVersion, componentMajor, componentMinor, clientVersion, clientMajor, clientMinor string

// SetVersion makes every program tell the version of the Kubernetes module
// that is linked. It is called once, before anything else.
func SetVersion() {
	v := Version()
	if v == "" {
		return
	}
	part := strings.SplitN(strings.TrimPrefix(v, "v"), ".", 3)
	componentVersion, componentMajor, componentMinor = v, part[0], part[1]
	clientVersion, clientMajor, clientMinor = v, part[0], part[1]
	if err := version.SetDynamicVersion(v); err != nil {
		panic(err) // it is what it is compared with
	}
}

// Version is that of the Kubernetes module, such as v1.36.3; empty where the binary does not tell.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, m := range info.Deps {
		if m.Path == "k8s.io/kubernetes" && strings.Count(m.Version, ".") >= 2 {
			return m.Version
		}
	}
	return ""
}
