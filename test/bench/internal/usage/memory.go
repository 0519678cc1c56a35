package usage

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// Memory is what a process has resident, in bytes: its own (heap, stacks,
// written data), and pages of files, above all of its program, which processes
// of one machine share.
type Memory struct {
	Resident  uint64 `json:"resident"`
	Anonymous uint64 `json:"anonymous"`
	File      uint64 `json:"file"`
}

// ReadMemory reads this process's memory.
func ReadMemory() (Memory, error) {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return Memory{}, fmt.Errorf("usage: %w", err)
	}
	return parseStatus(data)
}

// parseStatus reads the lines of /proc/PID/status that Memory wants; see
// proc_pid_status(5).
func parseStatus(data []byte) (Memory, error) {
	var m Memory
	want := map[string]*uint64{"VmRSS": &m.Resident, "RssAnon": &m.Anonymous, "RssFile": &m.File}
	for line := range bytes.Lines(data) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		to, ok := want[string(name)]
		if !ok {
			continue
		}
		kib, err := strconv.ParseUint(string(bytes.TrimSpace(bytes.TrimSuffix(bytes.TrimSpace(value), []byte("kB")))), 10, 64)
		if err != nil {
			return Memory{}, fmt.Errorf("usage: /proc/self/status: %s: %w", name, err)
		}
		*to = kib << 10
		delete(want, string(name))
	}
	if len(want) > 0 {
		return Memory{}, fmt.Errorf("usage: /proc/self/status lacks %d of VmRSS, RssAnon and RssFile", len(want))
	}
	return m, nil
}
