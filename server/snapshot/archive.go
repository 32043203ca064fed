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
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path"
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

const (
	maxMeta = 1 << 20
	maxSums = 64 << 10
)

// Write writes an archive of a state of meta.Size bytes.
func Write(to io.Writer, meta *raft.SnapshotMeta, state io.Reader) error {
	compressed := gzip.NewWriter(to)
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
		if n, err := io.Copy(io.MultiWriter(archive, sum), from); err != nil || n != size {
			return fmt.Errorf("snapshot archive: %s: wrote %d of %d bytes: %w", name, n, size, errors.Join(err, io.ErrUnexpectedEOF))
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
	Meta  raft.SnapshotMeta
	state *os.File
}

// Read reads and verifies a whole archive. Anything but the three files, each once and with the sum that
// is promised, is an error.
func Read(from io.Reader) (*Archive, error) {
	compressed, err := gzip.NewReader(bufio.NewReaderSize(from, 64<<10))
	if err != nil {
		return nil, fmt.Errorf("snapshot archive: it is no gzip file: %w", err)
	}
	a := &Archive{}
	if a.state, err = os.CreateTemp("", "curia-snapshot-"); err != nil {
		return nil, fmt.Errorf("snapshot archive: %w", err)
	}
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
		sum := sha256.New()
		content := io.TeeReader(archive, sum)
		switch h.Name {
		case metaFile:
			err = json.NewDecoder(io.LimitReader(content, maxMeta)).Decode(&a.Meta)
			_, rest := io.Copy(io.Discard, content)
			err = errors.Join(err, rest)
		case stateBin:
			_, err = io.Copy(a.state, content)
		case sumsFile:
			promised, err = io.ReadAll(io.LimitReader(content, maxSums))
		default:
			return fmt.Errorf("unexpected file %q", path.Clean(h.Name))
		}
		if err != nil {
			return fmt.Errorf("file %s: %w", h.Name, err)
		}
		if h.Name != sumsFile {
			sums[h.Name] = sum
		}
	}
	// The gzip trailer has a checksum of its own, which only reading to the end verifies.
	if _, err := io.Copy(io.Discard, compressed); err != nil {
		return fmt.Errorf("reading its end: %w", err)
	}
	return verify(sums, string(promised))
}

func verify(sums map[string]hash.Hash, promised string) error {
	if promised == "" {
		return fmt.Errorf("%s is missing or empty", sumsFile)
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
		seen++
	}
	if seen != 2 || sums[metaFile] == nil || sums[stateBin] == nil {
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
	return errors.Join(a.state.Close(), os.Remove(a.state.Name()))
}
