// Package usage reads what this process, and the whole machine, have used of
// processors and memory. It is for Linux.
package usage

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// Usage is what a process has used since it began, or between two readings.
type Usage struct {
	CPU      time.Duration `json:"cpu"`      // user and system, all threads
	Mallocs  uint64        `json:"mallocs"`  // heap allocations
	Bytes    uint64        `json:"bytes"`    // heap bytes allocated, freed ones too
	Resident uint64        `json:"resident"` // bytes resident at the (later) reading
}

// Read reads this process's usage. It stops the process for a moment.
func Read() (Usage, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return Usage{}, fmt.Errorf("usage: %w", err)
	}
	resident, err := resident()
	if err != nil {
		return Usage{}, err
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return Usage{
		CPU:      time.Duration(u.Utime.Nano() + u.Stime.Nano()),
		Mallocs:  m.Mallocs,
		Bytes:    m.TotalAlloc,
		Resident: resident,
	}, nil
}

// Since returns what was used between the reading before and u.
func (u Usage) Since(before Usage) Usage {
	return Usage{
		CPU:      u.CPU - before.CPU,
		Mallocs:  u.Mallocs - before.Mallocs,
		Bytes:    u.Bytes - before.Bytes,
		Resident: u.Resident,
	}
}

// Plus adds the usage of another process.
func (u Usage) Plus(other Usage) Usage {
	return Usage{
		CPU:      u.CPU + other.CPU,
		Mallocs:  u.Mallocs + other.Mallocs,
		Bytes:    u.Bytes + other.Bytes,
		Resident: u.Resident + other.Resident,
	}
}

func resident() (uint64, error) {
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, fmt.Errorf("usage: %w", err)
	}
	fields := bytes.Fields(data)
	if len(fields) < 2 {
		return 0, fmt.Errorf("usage: /proc/self/statm holds %q", data)
	}
	pages, err := strconv.ParseUint(string(fields[1]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("usage: /proc/self/statm: %w", err)
	}
	return pages * uint64(os.Getpagesize()), nil
}

// userHz is the unit of /proc/stat, which Linux has fixed for user space.
const userHz = 100

// Machine returns how long all processors together have been busy since the
// machine began, to 10 ms.
func Machine() (time.Duration, error) {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("usage: %w", err)
	}
	return parseStat(data)
}

// parseStat reads the first line of /proc/stat: user, nice, system, idle,
// iowait, irq, softirq, steal; guests are within user. See proc_stat(5).
func parseStat(data []byte) (time.Duration, error) {
	line, _, _ := bytes.Cut(data, []byte("\n"))
	fields := bytes.Fields(line)
	if len(fields) < 9 || string(fields[0]) != "cpu" {
		return 0, fmt.Errorf("usage: /proc/stat begins with %q", line)
	}
	var ticks uint64
	for i, f := range fields[1:9] {
		if i == 3 || i == 4 { // idle, iowait
			continue
		}
		n, err := strconv.ParseUint(string(f), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("usage: /proc/stat: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * (time.Second / userHz), nil
}
