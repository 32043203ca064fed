package command

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/curia-mesh/curia/rpc/durable"
)

const archiveExt = ".tar.gz"

// pack makes a tar.gz of a folder's regular files, below the folder's own name.
func pack(dir, to string) error {
	return durable.Create(to, 0o600, func(f *os.File) error {
		compressed := gzip.NewWriter(f)
		archive := tar.NewWriter(compressed)
		err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() {
				return err
			}
			name, err := filepath.Rel(filepath.Dir(dir), path)
			if err != nil {
				return err
			}
			return packFile(archive, path, filepath.ToSlash(name))
		})
		return errors.Join(err, archive.Close(), compressed.Close())
	})
}

func packFile(archive *tar.Writer, path, name string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := archive.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: info.Size(), ModTime: info.ModTime()}); err != nil {
		return err
	}
	_, err = io.CopyN(archive, f, info.Size())
	return err
}
