package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/xinhari/xinhari/internal/shopcluster"
)

// connections are those that orders of a shop has to inventory, as the kernel
// tells of them.
type connections struct {
	table string // proc_net(5)
	seen  map[string]*span
}

// span is from when to when a connection was seen.
type span struct{ first, last time.Time }

func newConnections(t *testing.T, s *shopcluster.Shop) *connections {
	t.Helper()
	p, err := s.AnyPod(t.Context(), "orders")
	must(t, err)
	pids, err := shopcluster.Processes(p, "orders")
	must(t, err)
	return &connections{table: fmt.Sprintf("/proc/%d/net/tcp", pids[0]), seen: map[string]*span{}}
}

// look notes which there are.
func (c *connections) look() error {
	data, err := os.ReadFile(c.table)
	if err != nil {
		return err
	}
	now := time.Now()
	for line := range strings.Lines(string(data)) {
		// Number, local and remote address with hexadecimal ports, state.
		const port, established = ":1F90", "01"
		fields := strings.Fields(line)
		if len(fields) < 4 || !strings.HasSuffix(fields[2], port) || fields[3] != established {
			continue
		}
		key := fields[1] + " " + fields[2]
		if c.seen[key] == nil {
			c.seen[key] = &span{first: now}
		}
		c.seen[key].last = now
	}
	return nil
}

func (c *connections) count() int { return len(c.seen) }

func (c *connections) longest() time.Duration {
	var longest time.Duration
	for _, s := range c.seen {
		longest = max(longest, s.last.Sub(s.first))
	}
	return longest
}
