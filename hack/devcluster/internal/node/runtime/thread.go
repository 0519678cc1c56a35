package runtime

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// onThread runs f on an operating system thread of its own, which ends with f,
// so that f may move it to other namespaces or take rights from it.
func onThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The main thread cannot end, and /proc/self shows its
			// namespaces as those of the process: keep it out of the way.
			onThread(f)
			runtime.UnlockOSThread()
			return
		}
		f()
	}()
	<-done
}
