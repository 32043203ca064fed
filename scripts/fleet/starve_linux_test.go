package fleet

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"
)

// few is the fewest of which one is starved.
const few = starvedPart

// longEnv makes TestStarve take a minute.
const longEnv = "CURIA_LONG"

func TestStarve(t *testing.T) {
	length := 3 * starvedFor
	if os.Getenv(longEnv) != "" {
		length = time.Minute
	}
	with, without, err := starveBoth(t.Context(), few, length, 0, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []starvation{with, without} {
		if v.stopped.Worst < starvedFor/2 { // a busy machine stops it late
			t.Errorf("the clock of the agent that was stopped was late by %s at most", v.stopped.Worst)
		}
		if v.late.Ticks == 0 {
			t.Error("nobody has looked at the clocks of the others")
		}
	}
}

// TestStarvedEndWithTheirParent kills it while agents are stopped: nobody could let them go on.
func TestStarvedEndWithTheirParent(t *testing.T) {
	parent := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestStarve$")
	parent.Env = append(os.Environ(), longEnv+"=1")
	stderr, err := parent.StderrPipe() // all processes have it, and so it ends with the last of them
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stderr)
	for stopped := false; !stopped; {
		if !lines.Scan() {
			t.Fatalf("no process was seen stopped: %v, %v", lines.Err(), parent.Wait())
		}
		stopped = hasStopped(t, parent.Process.Pid)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, stderr); err != nil {
		t.Fatal(err)
	}
	parent.Wait() // it was killed
}

// hasStopped reports whether a process started by another one is stopped (proc_pid_stat(5)).
func hasStopped(t *testing.T, parent int) bool {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%s/stat", e.Name()))
		if err != nil {
			continue // it has ended
		}
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if string(fields[0]) == "T" && string(fields[1]) == strconv.Itoa(parent) {
			return true
		}
	}
	return false
}
