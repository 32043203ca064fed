//go:build !unix

package demo

import (
	"errors"
	"os"
	"os/exec"
)

// errNoGroups is why there is no demo where processes have no groups.
var errNoGroups = errors.New("the demo needs a Unix system, such as Linux or macOS")

type keeper struct {
	program string
	ended   chan struct{}
}

func startKeeper(string, string, bool) (*keeper, error) { return nil, errNoGroups }

func (k *keeper) adopt(*exec.Cmd) {}
func (k *keeper) end()            {}

// Keep does nothing here.
func Keep(string, bool) error { return errNoGroups }

func own(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.IsDir()
}

func (a *process) freeze() error { return errNoGroups }
func (a *process) thaw() error   { return errNoGroups }
