// Package version says which build a program is.
package version

import "runtime/debug"

// String returns the module's version, or the commit for a build from a
// checkout, or "devel".
func String() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "devel-" + s.Value[:12]
		}
	}
	return "devel"
}

// Module returns the version of this module that a program is built with,
// which may be the program's own.
func Module() string {
	const path = "github.com/xinhari/xinhari"
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Path == path {
		return String()
	}
	for _, m := range info.Deps {
		if m.Path == path {
			return m.Version
		}
	}
	return "devel"
}
