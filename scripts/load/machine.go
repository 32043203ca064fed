//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/curia-mesh/curia/scripts/report"
)

// machine writes what the figures depend on.
func machine(ctx context.Context, r report.Report, o options) error {
	fsync, err := fsyncTime(o.dir)
	if err != nil {
		return err
	}
	r.Line("- command: `%s`, %s", o.command, time.Now().UTC().Format("2006-01-02 15:04 UTC"))
	r.Line("- machine: %s", report.Machine())
	r.Line("- disk of the data: %s, append + fdatasync %.2f ms (median of %d)", filesystem(o.dir), micros(fsync)/1e3, fsyncs)
	r.Line("- Curia: %s, commit %s, %s", version(ctx, o.curia, "version"), o.commit, runtime.Version())
	r.Line("- clients and servers on this machine, over loopback; every connection has one request under way; each figure is the "+
		"median of %d runs of %s after %s to warm up; the runs of the servers alternate", o.runs, o.length, o.warm)
	r.Line("- a cell is: operations/s (p50/p99 ms; server CPU µs per operation); `%s` marks a figure recorded elsewhere before: Consul "+
		"1.21.4 on two cores of an AMD EPYC, Linux 6.18, Nov 2026", strings.TrimSpace(recordedMark))
	return nil
}

// version is the first line that a program prints about itself, "-" when it is missing.
func version(ctx context.Context, path string, args ...string) string {
	if path == "" {
		return "-"
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, args...).CombinedOutput()
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if line == "" {
		return fmt.Sprintf("- (%v)", err)
	}
	return line
}

const fsyncs = 200

// fsyncTime is the median time of an append of 1 KiB with fdatasync, which bounds every write of one client.
func fsyncTime(dir string) (time.Duration, error) {
	f, err := os.OpenFile(filepath.Join(dir, "fsync"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	var all []time.Duration
	for range fsyncs {
		start := time.Now()
		if _, err := f.Write(make([]byte, 1<<10)); err != nil {
			return 0, err
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			return 0, fmt.Errorf("fdatasync %s: %w", f.Name(), err)
		}
		all = append(all, time.Since(start))
	}
	return report.Median(all), nil
}

// filesystem names the kind of a directory's file system and says so when fsync means nothing there.
func filesystem(dir string) string {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return "unknown file system"
	}
	switch s.Type { // statfs(2)
	case 0x01021994, 0x858458f6:
		return "MEMORY (tmpfs: fsync costs nothing here, do not believe the rows of writes)"
	case 0xef53:
		return "ext4"
	case 0x58465342:
		return "xfs"
	case 0x9123683e:
		return "btrfs"
	case 0x794c7630:
		return "overlayfs"
	}
	return fmt.Sprintf("file system %#x", s.Type)
}
