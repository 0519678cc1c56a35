package main

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"google.golang.org/grpc"
)

// machine is what figures depend on.
type machine struct {
	Processor string  `json:"processor"`
	Cores     int     `json:"cores"`
	MemoryGiB float64 `json:"memoryGiB"`
	Kernel    string  `json:"kernel"`
	Go        string  `json:"go"`
	GRPC      string  `json:"grpc"`
}

// describeMachine reads what Linux says of this machine; what it does not say
// stays empty.
func describeMachine() machine {
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	cpu, _ := os.ReadFile("/proc/cpuinfo")
	memory, _ := os.ReadFile("/proc/meminfo")
	kib, _ := strconv.ParseFloat(strings.TrimSuffix(field(memory, "MemTotal"), " kB"), 64)
	return machine{
		Processor: field(cpu, "model name"),
		Cores:     runtime.NumCPU(),
		MemoryGiB: kib / (1 << 20),
		Kernel:    strings.TrimSpace(string(kernel)),
		Go:        strings.TrimPrefix(runtime.Version(), "go"),
		GRPC:      grpc.Version,
	}
}

func (m machine) String() string {
	return fmt.Sprintf("%s, %d cores, %.0f GiB, Linux %s, Go %s, grpc-go %s.", m.Processor, m.Cores, m.MemoryGiB, m.Kernel, m.Go, m.GRPC)
}

// field returns the value of the first line "name : value".
func field(data []byte, name string) string {
	for line := range bytes.Lines(data) {
		if key, value, ok := bytes.Cut(line, []byte(":")); ok && string(bytes.TrimSpace(key)) == name {
			return string(bytes.TrimSpace(value))
		}
	}
	return ""
}
