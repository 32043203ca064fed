package raftstore

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/curia-mesh/curia/rpc/durable"
)

// FS is the directory that a store lives in. Names have no directory part.
// Tests put faults here; everything else uses the operating system's.
type FS interface {
	// Lock takes the lock called name, or fails with ErrLocked at once.
	// Closing the result, or the end of the process, gives it back.
	Lock(name string) (io.Closer, error)
	// List returns the names of all files.
	List() ([]string, error)
	// Create makes an empty file, readable by its owner only; it replaces one
	// of that name.
	Create(name string) (File, error)
	// Open opens a file for reading and writing.
	Open(name string) (File, error)
	// Rename gives a file another name, replacing what had it.
	Rename(from, to string) error
	// Remove deletes a file.
	Remove(name string) error
	// SyncDir makes Create, Rename and Remove before it durable.
	SyncDir() error
}

// File is one file of an FS.
type File interface {
	io.ReaderAt
	io.WriterAt // grows the file when needed
	io.Closer
	// Sync makes all writes before it durable (fdatasync: times need not be).
	// After a failure nothing may be assumed about any of them.
	Sync() error
	// Size returns the file's length in bytes.
	Size() (int64, error)
}

// osFS is a directory of the operating system.
type osFS struct{ dir string }

// openOSFS creates dir, mode 0700, durably if it is not there.
func openOSFS(dir string) (*osFS, error) {
	parents := []string{filepath.Dir(dir)}
	for p := parents[0]; ; p = filepath.Dir(p) {
		if _, err := os.Stat(p); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		parents = append(parents, filepath.Dir(p))
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	for _, p := range parents {
		if err := durable.SyncDir(p); err != nil && !errors.Is(err, fs.ErrPermission) { // not ours, made by others
			return nil, err
		}
	}
	return &osFS{dir: dir}, nil
}

func (d *osFS) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(filepath.Join(d.dir, name), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lockFile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (d *osFS) List() ([]string, error) {
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func (d *osFS) Create(name string) (File, error) {
	return openOSFile(filepath.Join(d.dir, name), os.O_RDWR|os.O_CREATE|os.O_TRUNC)
}

func (d *osFS) Open(name string) (File, error) {
	return openOSFile(filepath.Join(d.dir, name), os.O_RDWR)
}

func (d *osFS) Rename(from, to string) error {
	return os.Rename(filepath.Join(d.dir, from), filepath.Join(d.dir, to))
}

func (d *osFS) Remove(name string) error { return os.Remove(filepath.Join(d.dir, name)) }

func (d *osFS) SyncDir() error { return durable.SyncDir(d.dir) }

// osFile is a file of the operating system.
type osFile struct{ *os.File }

func openOSFile(path string, flag int) (File, error) {
	f, err := os.OpenFile(path, flag, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (f osFile) Sync() error {
	if err := datasync(f.File); err != nil {
		return &fs.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
	}
	return nil
}

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
