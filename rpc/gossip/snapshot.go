package gossip

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// maxSnapshotBytes is more than the snapshot of 100,000 members takes.
const maxSnapshotBytes = 64 << 20

// prepareSnapshot makes the file ready for serf, which keeps it from then on. serf would leak goroutines where it
// cannot open it.
func prepareSnapshot(path, self string) (err error) {
	if path == "" {
		return nil
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("snapshot of members: %w", err)
		}
	}()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	// serf compacts into a second file, which is complete before the first is removed; a crash between leaves the second.
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		if err := os.Rename(path+".compact", path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() || fi.Size() > maxSnapshotBytes {
		return fmt.Errorf("%s is not a file of at most %d bytes: remove it and join anew", path, maxSnapshotBytes)
	}
	if fi.Size() == 0 {
		return nil
	}
	// This node is not one to look for. And a line that a crash cut off must not become one with the next.
	line := "not-alive: " + self + "\n"
	last := make([]byte, 1)
	if _, err := f.ReadAt(last, fi.Size()-1); err != nil {
		return err
	}
	if last[0] != '\n' {
		line = "\n" + line
	}
	_, err = f.WriteString(line)
	return err
}
