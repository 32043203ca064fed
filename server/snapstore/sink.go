package snapstore

import (
	"bufio"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"time"

	"github.com/hashicorp/raft"
)

// sink takes the state of a snapshot that is being made.
type sink struct {
	s      *Store
	meta   meta
	temp   string // its directory until it is whole
	file   *os.File
	out    *bufio.Writer
	sum    hash.Hash32
	closed bool
}

// Create implements raft.SnapshotStore. The snapshot is there once the sink's Close has returned without an
// error; an error of Close means that it is not, unless Options.Doubt was told.
func (s *Store) Create(version raft.SnapshotVersion, index, term uint64, c raft.Configuration, configIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	if version != raft.SnapshotVersionMax {
		return nil, fmt.Errorf("a snapshot of version %d cannot be made", version)
	}
	id := ID{Term: term, Index: index, Millis: uint64(time.Now().UnixMilli())}
	k := &sink{s: s, temp: s.path(id.String() + tempSuffix), sum: newSum()}
	k.meta = meta{Format: format, SnapshotMeta: raft.SnapshotMeta{
		Version: version, ID: id.String(), Index: index, Term: term, Configuration: c, ConfigurationIndex: configIndex,
	}}
	if err := os.Mkdir(k.temp, 0o700); err != nil {
		return nil, err
	}
	var err error
	if k.file, err = create(k.temp, stateFile); err != nil {
		return nil, errors.Join(err, os.RemoveAll(k.temp))
	}
	k.out = bufio.NewWriterSize(io.MultiWriter(k.file, k.sum), 64<<10)
	return k, nil
}

func create(dir, name string) (*os.File, error) {
	return os.OpenFile(dir+string(os.PathSeparator)+name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}

// ID implements raft.SnapshotSink.
func (k *sink) ID() string { return k.meta.ID }

// Write implements raft.SnapshotSink.
func (k *sink) Write(b []byte) (int, error) {
	n, err := k.out.Write(b)
	k.meta.Size += int64(n)
	return n, err
}

// Cancel implements raft.SnapshotSink.
func (k *sink) Cancel() error {
	if k.closed {
		return nil
	}
	k.closed = true
	return errors.Join(k.file.Close(), os.RemoveAll(k.temp))
}

// Close implements raft.SnapshotSink.
func (k *sink) Close() error {
	if k.closed {
		return nil
	}
	k.closed = true
	path := k.s.path(k.meta.ID)
	err := k.complete()
	if err == nil {
		err = os.Rename(k.temp, path)
	}
	if err != nil {
		return fmt.Errorf("snapshot %s: %w", path, errors.Join(err, os.RemoveAll(k.temp)))
	}
	if err := k.s.opts.SyncDir(k.s.dir); err != nil {
		err = fmt.Errorf("snapshot %s: it may or may not be there after a restart: %w", path, err)
		if k.s.opts.Doubt != nil {
			k.s.opts.Doubt(err)
		}
		return err
	}
	k.s.reap()
	return nil
}

// complete makes everything durable but the name.
func (k *sink) complete() error {
	err := k.out.Flush()
	if err == nil {
		err = k.file.Sync()
	}
	if err = errors.Join(err, k.file.Close()); err != nil {
		return err
	}
	k.meta.StateSum = k.sum.Sum32()
	b, err := encodeMeta(&k.meta)
	if err != nil {
		return err
	}
	f, err := create(k.temp, metaFile)
	if err != nil {
		return err
	}
	if _, err = f.Write(b); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return k.s.opts.SyncDir(k.temp)
}
