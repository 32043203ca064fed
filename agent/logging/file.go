package logging

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	defaultFileName = "curia.log"
	fileMode        = 0o640 // the operator's group may read, as under Consul
	rotateRetry     = time.Minute
)

// file is a log file that is renamed to NAME-UNIXNANO.EXT and begun anew when it is full or old. Its owner serialises
// calls.
type file struct {
	path     string
	maxBytes int64         // 0: no limit
	maxAge   time.Duration // counted from when this process began the file
	keep     int           // rotated files to keep: 0 all, -1 none
	mode     os.FileMode

	f       *os.File
	size    int64
	begun   time.Time
	retryAt time.Time // no rotation before this; set when one failed
}

func openFile(cfg Config) (*file, error) {
	switch {
	case cfg.RotateBytes < 0:
		return nil, fmt.Errorf("log_rotate_bytes is %d: use 0 for no limit, or a number of bytes", cfg.RotateBytes)
	case cfg.RotateDuration < 0:
		return nil, fmt.Errorf("log_rotate_duration is %s: use a positive duration such as 24h", cfg.RotateDuration)
	case cfg.RotateMaxFiles < -1:
		return nil, fmt.Errorf("log_rotate_max_files is %d: use 0 to keep all, -1 to keep none, or a number of files", cfg.RotateMaxFiles)
	}
	w := newFile(Rotation{Path: filePath(cfg.File), Bytes: cfg.RotateBytes, Duration: cfg.RotateDuration, MaxFiles: cfg.RotateMaxFiles, Mode: fileMode})
	if err := w.open(time.Now()); err != nil {
		if dir := filepath.Dir(w.path); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("log_file: directory %s does not exist: create it, or name another file", dir)
		}
		return nil, fmt.Errorf("log_file: %w: make it writable for this user, or name another file", err)
	}
	return w, nil
}

// Rotation says where a file of lines is and when it is begun anew.
type Rotation struct {
	Path     string
	Bytes    int64         // no file grows past it; 0 is no limit
	Duration time.Duration // no file is written to for longer; 0 is 24h
	MaxFiles int           // rotated files to keep: 0 all, -1 none
	Mode     os.FileMode
}

func newFile(r Rotation) *file {
	w := &file{path: r.Path, maxBytes: r.Bytes, maxAge: r.Duration, keep: r.MaxFiles, mode: r.Mode}
	if w.maxAge == 0 {
		w.maxAge = 24 * time.Hour
	}
	return w
}

// File is a file of lines for others than the log. Its owner serialises calls.
type File struct{ file }

// OpenFile opens or makes a file, whose directory must exist.
func OpenFile(r Rotation) (*File, error) {
	f := &File{*newFile(r)}
	if err := f.open(time.Now()); err != nil {
		return nil, err
	}
	return f, nil
}

// Write appends a line, which goes to a new file when it is time for one.
func (f *File) Write(line []byte) error { return f.write(line, time.Now()) }

// filePath completes the log_file setting to the path of a file.
func filePath(setting string) string {
	if info, err := os.Stat(setting); err == nil && info.IsDir() || os.IsPathSeparator(setting[len(setting)-1]) {
		return filepath.Join(setting, defaultFileName)
	}
	if filepath.Ext(setting) == "" {
		setting += ".log"
	}
	return filepath.Clean(setting)
}

func (w *file) open(now time.Time) error {
	f, err := os.OpenFile(w.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, w.mode)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	w.f, w.size, w.begun = f, info.Size(), now
	return nil
}

func (w *file) Close() error { return w.f.Close() }

// write appends one line, rotating first if the line would make the file too large or the file is too old. The line
// is written even when the rotation fails.
func (w *file) write(line []byte, now time.Time) error {
	var rotated error
	full := w.maxBytes > 0 && w.size+int64(len(line)) > w.maxBytes
	if w.size > 0 && (full || now.Sub(w.begun) >= w.maxAge) && !now.Before(w.retryAt) {
		if rotated = w.rotate(now); rotated != nil {
			w.retryAt = now.Add(rotateRetry)
		}
	}
	n, err := w.f.Write(line)
	w.size += int64(n)
	return errors.Join(rotated, err)
}

// rotate renames the file and begins a new one; the old one stays in use until the new one is open.
func (w *file) rotate(now time.Time) error {
	ext := filepath.Ext(w.path)
	stem := strings.TrimSuffix(w.path, ext)
	archive := ""
	for stamp := now.UnixNano(); ; stamp++ {
		archive = stem + "-" + strconv.FormatInt(stamp, 10) + ext
		if _, err := os.Lstat(archive); errors.Is(err, fs.ErrNotExist) {
			break
		} else if err != nil {
			return fmt.Errorf("cannot rotate the log file: %w", err)
		}
	}
	// Someone may have moved the file away meanwhile; then there is nothing to rename.
	if err := os.Rename(w.path, archive); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot rotate the log file: %w", err)
	}
	old := w.f
	if err := w.open(now); err != nil {
		return fmt.Errorf("cannot begin a new log file: %w", errors.Join(err, os.Rename(archive, w.path)))
	}
	if err := errors.Join(old.Close(), w.prune()); err != nil {
		return fmt.Errorf("cannot tidy up after rotating the log file: %w", err)
	}
	return nil
}

// prune removes the oldest rotated files beyond those to keep. It looks at exact names, never at a pattern, so that
// it cannot take a file that is not ours.
func (w *file) prune() error {
	if w.keep == 0 {
		return nil
	}
	dir, name := filepath.Split(w.path)
	ext := filepath.Ext(name)
	prefix := strings.TrimSuffix(name, ext) + "-"
	entries, err := os.ReadDir(filepath.Clean(dir))
	if err != nil {
		return err
	}
	var stamps []int64
	for _, e := range entries {
		digits, ok := strings.CutPrefix(e.Name(), prefix)
		digits, ok2 := strings.CutSuffix(digits, ext)
		stamp, _ := strconv.ParseInt(digits, 10, 64)
		if ok && ok2 && stamp > 0 && strconv.FormatInt(stamp, 10) == digits && e.Type().IsRegular() {
			stamps = append(stamps, stamp)
		}
	}
	slices.Sort(stamps)
	var errs []error
	for _, stamp := range stamps[:max(0, len(stamps)-max(0, w.keep))] {
		errs = append(errs, os.Remove(filepath.Join(dir, prefix+strconv.FormatInt(stamp, 10)+ext)))
	}
	return errors.Join(errs...)
}
