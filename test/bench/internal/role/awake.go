package role

import (
	"context"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/xinhari/xinhari/test/bench/internal/child"
	"github.com/xinhari/xinhari/test/bench/internal/usage"
)

// addAwake lets this process keep the machine's processors from sleeping: a
// thread for each runs when nothing else wants to (SCHED_IDLE, see sched(7)),
// for as long as the process does.
func addAwake(handlers map[string]child.Handler) error {
	running := make(chan error)
	for range runtime.NumCPU() {
		go func() {
			runtime.LockOSThread()
			running <- unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}, 0)
			for { //nolint:staticcheck // to spin is what it is for
			}
		}()
	}
	runtime.GOMAXPROCS(runtime.NumCPU() + 1) // and one for the questions
	for range runtime.NumCPU() {
		if err := <-running; err != nil {
			return fmt.Errorf("keeping processors awake: %w", err)
		}
	}
	handlers[Usage] = child.Handle(func(context.Context, any) (usage.Usage, error) { return usage.Read() })
	return nil
}
