package backup

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/curia-mesh/curia/rpc/durable"
	"github.com/curia-mesh/curia/server/snapshot"
	"github.com/curia-mesh/curia/server/trial"
)

const suffix = ".snap"

// files are the snapshots in a directory. Each appears whole and proven, or not at all.
type files struct{ dir, prefix string }

func openDir(dir, prefix string) (*files, error) {
	if dir == "" {
		return nil, errors.New("no directory for the snapshots is given")
	}
	if prefix == "" || strings.ContainsAny(prefix, `/\`) {
		return nil, fmt.Errorf("prefix %q of the snapshots' files is none that a name can begin with", prefix)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil { // a snapshot holds every secret of the cluster
		return nil, err
	}
	return &files{dir, prefix}, nil
}

// add writes a snapshot, restores it on trial, and gives it its name.
func (f *files) add(write func(io.Writer) error) (_ *Saved, err error) {
	temp, err := os.CreateTemp(f.dir, "."+f.prefix+"-*"+suffix) // 0600
	if err != nil {
		return nil, err
	}
	defer func() {
		temp.Close()
		if err != nil {
			os.Remove(temp.Name())
		}
	}()
	if err := write(temp); err != nil {
		return nil, err
	}
	if err := temp.Sync(); err != nil {
		return nil, err
	}
	saved, err := verify(temp)
	if err != nil {
		return nil, fmt.Errorf("what was received cannot be restored: %w", err)
	}
	saved.Path = filepath.Join(f.dir, f.prefix+"-"+strconv.FormatInt(time.Now().UnixNano(), 10)+suffix)
	if err := os.Rename(temp.Name(), saved.Path); err != nil {
		return nil, err
	}
	return saved, durable.SyncDir(f.dir)
}

// Verify restores the snapshot in a file on trial.
func Verify(path string) (*Saved, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	saved, err := verify(file)
	if err != nil {
		return nil, fmt.Errorf("%s cannot be restored: %w", path, err)
	}
	saved.Path = path
	return saved, nil
}

// verify restores a snapshot from the beginning of a file.
func verify(file *os.File) (*Saved, error) {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	archive, err := snapshot.Read(file)
	if err != nil {
		return nil, err
	}
	defer archive.Close()
	restored, err := trial.Restore(archive)
	if err != nil {
		return nil, err
	}
	if len(restored.Wrong) > 0 {
		return nil, fmt.Errorf("its state contradicts itself in %d places, first: %w", len(restored.Wrong), restored.Wrong[0])
	}
	return &Saved{Index: archive.Meta.Index, Size: info.Size(), Rows: restored.Rows}, nil
}

// prune removes the oldest files beyond those to keep, 0 for all, and what a runner that was killed has left. It returns
// the paths of the others, oldest first. It looks at exact names, so that it takes no file that is not its own.
func (f *files) prune(keep int) (kept []string, err error) {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return nil, err
	}
	var stamps []int64
	for _, e := range entries {
		if rest, ok := strings.CutPrefix(e.Name(), f.prefix+"-"); ok && e.Type().IsRegular() {
			digits, ok := strings.CutSuffix(rest, suffix)
			if stamp, err := strconv.ParseInt(digits, 10, 64); ok && err == nil && strconv.FormatInt(stamp, 10) == digits {
				stamps = append(stamps, stamp)
			}
		}
		if strings.HasPrefix(e.Name(), "."+f.prefix+"-") && strings.HasSuffix(e.Name(), suffix) {
			if info, err := e.Info(); err == nil && info.Mode().IsRegular() && time.Since(info.ModTime()) > leftover {
				os.Remove(filepath.Join(f.dir, e.Name()))
			}
		}
	}
	slices.Sort(stamps)
	for i, stamp := range stamps {
		path := filepath.Join(f.dir, f.prefix+"-"+strconv.FormatInt(stamp, 10)+suffix)
		if keep > 0 && i < len(stamps)-keep {
			if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
				return nil, err
			}
			continue
		}
		kept = append(kept, path)
	}
	return kept, nil
}

// leftover is the age from which an unfinished file is no one's any more.
const leftover = 24 * time.Hour
