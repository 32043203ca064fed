package logging_test

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/agent/logging"
	"golang.org/x/sys/unix"
)

// TestColoursOnATerminalOnly: a pseudo-terminal gets colours, unless lines are JSON; a file gets none.
func TestColoursOnATerminalOnly(t *testing.T) {
	ptm, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer ptm.Close()
	if err := unix.IoctlSetPointerInt(int(ptm.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(ptm.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	pts, err := os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer pts.Close()
	plain, err := os.Create(filepath.Join(t.TempDir(), "plain"))
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	log := func(cfg logging.Config, to *os.File) {
		o, err := logging.New(cfg, to)
		if err != nil {
			t.Fatal(err)
		}
		o.Logger().Warn("x")
		_ = o.Close()
	}
	log(logging.Config{}, pts)
	log(logging.Config{JSON: true}, pts)
	log(logging.Config{}, plain)
	lines := bufio.NewReader(ptm)
	text, _ := lines.ReadString('\n')
	js, _ := lines.ReadString('\n')
	file, err := os.ReadFile(plain.Name())
	if !strings.Contains(text, " \x1b[93m[WARN] \x1b[0m x") {
		t.Errorf("on a terminal: %q", text)
	}
	if err != nil || strings.Contains(js+string(file), "\x1b") || !strings.Contains(js, `"@level":"warn"`) || len(file) == 0 {
		t.Errorf("JSON %q, file %q", js, file)
	}
}
