package report

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strings"
)

// Machine says what the figures depend on: processor, memory, kernel, distribution and how busy it is now.
func Machine() string {
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	load, _ := os.ReadFile("/proc/loadavg")
	return fmt.Sprintf("%s, %d cores, %s of memory, Linux %s, %s; load average before: %s", after("/proc/cpuinfo", "model name"),
		runtime.NumCPU(), after("/proc/meminfo", "MemTotal"), bytes.TrimSpace(kernel), distribution(), firstFields(string(load), 3))
}

// after is the value of the first line "key : value" of a file.
func after(file, key string) string {
	text, _ := os.ReadFile(file)
	for line := range strings.Lines(string(text)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return "unknown " + key
}

func distribution() string {
	f, err := os.Open("/etc/os-release")
	if err != nil {
		return "unknown distribution"
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, ok := strings.CutPrefix(lines.Text(), "PRETTY_NAME="); ok {
			return strings.Trim(name, `"`)
		}
	}
	return "unknown distribution"
}

func firstFields(s string, n int) string {
	f := strings.Fields(s)
	return strings.Join(f[:min(n, len(f))], " ")
}
