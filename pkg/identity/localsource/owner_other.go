//go:build !unix

package localsource

import "io/fs"

// owner leaves it to the profile's folder, which is the user's own: there are
// no permission bits to look at.
func owner(string, fs.FileInfo) (why, mend string) { return "", "" }
