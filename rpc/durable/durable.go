// Package durable replaces files in one step: after a crash, a power cut or with a full disk there is the old file or
// the new one, whole.
package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Suffix ends the names of files that are not whole yet. A crash may leave one beside the file it was to become; nobody
// reads it.
const Suffix = ".tmp"

// Write puts data into the place of what path names, be it a link, with that mode. When it returns nil, the data is on
// the disk and so is its name.
func Write(path string, data []byte, mode fs.FileMode) error {
	return Create(path, mode, func(f *os.File) error {
		_, err := f.Write(data)
		return err
	})
}

// Create is Write with what write puts into the file. If that fails, its error is returned and nothing has changed.
func Create(path string, mode fs.FileMode, write func(*os.File) error) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*"+Suffix) // of mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already when all went well
	err = write(f)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return SyncDir(dir)
}

// SyncDir makes names that were given, changed or taken away in a directory last.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
