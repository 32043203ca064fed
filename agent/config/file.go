package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// maxFile is how many bytes a file may have, readTime how long a pipe may take.
const (
	maxFile  = 4 << 20
	readTime = 10 * time.Second
)

// source is a document with configuration.
type source struct {
	name string
	hcl  bool
	data []byte
}

// read returns the documents at paths: files as they are, of directories the files *.hcl and *.json in
// the order of their names. With a format every file counts. Directories inside are left out.
func read(paths []string, format string) ([]source, error) {
	if format != "" && format != "hcl" && format != "json" {
		return nil, fmt.Errorf("-config-format %q is neither hcl nor json", format)
	}
	var found []source
	var errs []error
	add := func(name string, data []byte, err error) {
		if err != nil {
			errs = append(errs, err)
			return
		}
		hcl := format == "hcl" || format == "" && filepath.Ext(name) == ".hcl"
		found = append(found, source{name, hcl, data})
	}
	for _, path := range paths {
		info, err := os.Stat(path)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("read configuration: %w", err))
		case info.IsDir():
			names, err := list(path, format)
			if err != nil {
				errs = append(errs, fmt.Errorf("read configuration: %w", err))
			}
			for _, name := range names {
				data, err := readFile(name)
				add(name, data, err)
			}
		case format == "" && !known(path):
			errs = append(errs, fmt.Errorf("%s: unknown format: name the file *.hcl or *.json, or set -config-format", path))
		default:
			data, err := readFile(path)
			add(path, data, err)
		}
	}
	return found, errors.Join(errs...)
}

func known(path string) bool {
	return filepath.Ext(path) == ".hcl" || filepath.Ext(path) == ".json"
}

// list returns the files of dir that hold configuration. Links are followed once: one that leads to a
// directory, nowhere or in a circle is no file.
func list(dir, format string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		name := filepath.Join(dir, entry.Name())
		if format == "" && !known(name) {
			continue
		}
		info, err := os.Stat(name)
		if err != nil {
			if entry.Name()[0] == '.' {
				continue // the lock of an editor is a hidden link that leads nowhere
			}
			return nil, err
		}
		if info.Mode().IsRegular() {
			names = append(names, name)
		}
	}
	return names, nil
}

// empty returns the directories among the paths that hold no configuration.
func empty(paths []string, format string) []string {
	var found []string
	for _, path := range paths {
		if info, err := os.Stat(path); err != nil || !info.IsDir() {
			continue
		}
		if names, err := list(path, format); err == nil && len(names) == 0 {
			found = append(found, path)
		}
	}
	return found
}

// readFile reads a file, or a pipe as a shell makes for <(command), within maxFile and readTime.
func readFile(path string) ([]byte, error) {
	// Opening a pipe that nobody writes to would wait for ever without O_NONBLOCK.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if !info.Mode().IsRegular() {
		if info.Mode()&fs.ModeNamedPipe == 0 {
			return nil, fmt.Errorf("read configuration: %s is neither a file nor a pipe", path)
		}
		f.SetReadDeadline(time.Now().Add(readTime)) // where it is not supported, EOF ends the read
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("read configuration: %s has more than %d bytes", path, maxFile)
	}
	return bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")), nil
}
