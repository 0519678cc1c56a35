//go:build unix

package localsource

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// owner says what is wrong with who owns path or may use it, and how to mend
// it; "" if nothing is.
func owner(path string, info fs.FileInfo) (why, mend string) {
	if stat, ok := info.Sys().(*syscall.Stat_t); !ok || int(stat.Uid) != os.Geteuid() {
		return "belongs to another user", "name a folder of your own by " + EnvDir
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Sprintf("may be used by others (mode %04o)", mode), "run chmod go= " + path
	}
	return "", ""
}
