// Package snapshot is the archive that a cluster's state is saved in: a gzipped tar of meta.json,
// state.bin and SHA256SUMS.
//
// The layout is that of Consul's snapshots, so that tools that verify and move archives work on ours.
// What state.bin holds is our own.
package snapshot

import (
	"archive/tar"
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/raft"
)

// The archive's files.
const (
	metaFile = "meta.json"
	stateBin = "state.bin"
	sumsFile = "SHA256SUMS"
)

// What an archive may hold. It is refused as soon as it holds more, so that a small one cannot fill a disk.
const (
	maxMeta = 1 << 20
	maxSums = 64 << 10
	maxTail = 1 << 20 // after the last file
)

// limits are those of the state.
type limits struct {
	state int64
	// A state above bomb that is more than ratio times as long as its archive is no real one.
	bomb, ratio int64
}

var defaults = limits{state: 16 << 30, bomb: 1 << 30, ratio: 200}

// compression is a level that takes a quarter of the time of gzip's own choice for a sixth more bytes.
const compression = 2

// Write writes an archive of a state of meta.Size bytes.
func Write(to io.Writer, meta *raft.SnapshotMeta, state io.Reader) error {
	compressed, err := gzip.NewWriterLevel(to, compression)
	if err != nil {
		return fmt.Errorf("snapshot archive: %w", err)
	}
	archive := tar.NewWriter(compressed)
	encoded, err := json.Marshal(meta)
	if err != nil {
		return fmt.Errorf("snapshot archive: %w", err)
	}
	sums := &bytes.Buffer{}
	add := func(name string, size int64, from io.Reader) error {
		sum := sha256.New()
		h := &tar.Header{Name: name, Mode: 0o600, Size: size, ModTime: time.Now().Truncate(time.Second)}
		if err := archive.WriteHeader(h); err != nil {
			return fmt.Errorf("snapshot archive: %s: %w", name, err)
		}
		n, err := io.Copy(io.MultiWriter(archive, sum), from)
		if err == nil && n != size {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return fmt.Errorf("snapshot archive: %s: wrote %d of %d bytes: %w", name, n, size, err)
		}
		fmt.Fprintf(sums, "%x  %s\n", sum.Sum(nil), name)
		return nil
	}
	if err := add(metaFile, int64(len(encoded)), bytes.NewReader(encoded)); err != nil {
		return err
	}
	if err := add(stateBin, meta.Size, state); err != nil {
		return err
	}
	all := bytes.NewReader(bytes.Clone(sums.Bytes()))
	if err := add(sumsFile, all.Size(), all); err != nil {
		return err
	}
	return errors.Join(archive.Close(), compressed.Close())
}

// Archive is a verified archive. Its state lies in a temporary file until Close.
type Archive struct {
	Meta    raft.SnapshotMeta
	state   *os.File
	unnamed bool  // the file is gone from its directory already
	size    int64 // of the state so far
	read    *counted
	limits  limits
}

// counted counts what is read.
type counted struct {
	io.Reader
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += int64(n)
	return n, err
}

// Write takes a part of the state, up to what an archive may hold.
func (a *Archive) Write(p []byte) (int, error) {
	a.size += int64(len(p))
	if l := a.limits; a.size > l.state || a.size > l.bomb && a.size/l.ratio > a.read.n {
		return 0, fmt.Errorf("it is %d bytes long so far, of %d compressed ones: that is more than a state can be", a.size, a.read.n)
	}
	return a.state.Write(p)
}

// Read reads and verifies a whole archive. Anything but the three files, each once and with the sum that
// is promised, is an error.
func Read(from io.Reader) (*Archive, error) { return readWithin(defaults, from) }

func readWithin(l limits, from io.Reader) (*Archive, error) {
	read := &counted{Reader: from}
	compressed, err := gzip.NewReader(bufio.NewReaderSize(read, 64<<10))
	if err != nil {
		return nil, fmt.Errorf("snapshot archive: it is no gzip file: %w", err)
	}
	a := &Archive{read: read, limits: l}
	if a.state, err = os.CreateTemp("", "curia-snapshot-"); err != nil {
		return nil, fmt.Errorf("snapshot archive: %w", err)
	}
	a.unnamed = os.Remove(a.state.Name()) == nil // where that can be: a kill leaves nothing behind
	if err := a.unpack(compressed); err != nil {
		return nil, errors.Join(fmt.Errorf("snapshot archive: %w", err), a.Close())
	}
	return a, nil
}

func (a *Archive) unpack(compressed *gzip.Reader) error {
	sums := map[string]hash.Hash{}
	var promised []byte
	archive := tar.NewReader(compressed)
	for {
		h, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("reading it: %w", err)
		}
		if sums[h.Name] != nil || h.Name == sumsFile && promised != nil {
			return fmt.Errorf("file %q is in it twice", h.Name)
		}
		if h.Typeflag != tar.TypeReg {
			return fmt.Errorf("%q is no regular file", h.Name)
		}
		sum := sha256.New()
		content := io.TeeReader(archive, sum)
		switch h.Name {
		case metaFile:
			var encoded []byte
			if encoded, err = readAll(content, maxMeta); err == nil {
				err = json.Unmarshal(encoded, &a.Meta)
			}
		case stateBin:
			_, err = io.Copy(a, content)
		case sumsFile:
			if promised, err = readAll(content, maxSums); err == nil && len(promised) == 0 {
				err = errors.New("it is empty")
			}
		default:
			return fmt.Errorf("unexpected file %q", h.Name)
		}
		if err != nil {
			return fmt.Errorf("file %s: %w", h.Name, err)
		}
		if h.Name != sumsFile {
			sums[h.Name] = sum
		}
	}
	// The gzip trailer has a checksum of its own, which only reading to the end verifies.
	if n, err := io.Copy(io.Discard, io.LimitReader(compressed, maxTail+1)); err != nil || n > maxTail {
		return fmt.Errorf("reading its end: %w", cmp.Or(err, errors.New("much follows the last file")))
	}
	if err := verify(sums, string(promised)); err != nil {
		return err
	}
	if a.Meta.Size != a.size {
		return fmt.Errorf("%s says that the state has %d bytes, it has %d", metaFile, a.Meta.Size, a.size)
	}
	return nil
}

// readAll reads up to limit bytes; more are an error.
func readAll(from io.Reader, limit int64) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(from, limit+1))
	if err == nil && int64(len(content)) > limit {
		err = fmt.Errorf("it is longer than %d bytes", limit)
	}
	return content, err
}

func verify(sums map[string]hash.Hash, promised string) error {
	if promised == "" {
		return fmt.Errorf("%s is missing", sumsFile)
	}
	seen := 0
	for line := range strings.Lines(promised) {
		want, name, ok := strings.Cut(strings.TrimSpace(line), "  ")
		sum := sums[name]
		if !ok || sum == nil {
			return fmt.Errorf("%s names %q, which is not there", sumsFile, name)
		}
		if hex.EncodeToString(sum.Sum(nil)) != want {
			return fmt.Errorf("checksum mismatch of %s: the archive is damaged", name)
		}
		delete(sums, name) // a second sum of it counts for nothing
		seen++
	}
	if seen != 2 {
		return fmt.Errorf("want %s and %s with their checksums, found %d", metaFile, stateBin, seen)
	}
	return nil
}

// State returns a reader at the beginning of the state.
func (a *Archive) State() (io.Reader, error) {
	if _, err := a.state.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("snapshot archive: %w", err)
	}
	return bufio.NewReaderSize(a.state, 1<<20), nil
}

// Close removes the temporary file.
func (a *Archive) Close() error {
	err := a.state.Close()
	if !a.unnamed {
		err = errors.Join(err, os.Remove(a.state.Name()))
	}
	return err
}
