package api

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/curia-mesh/curia/rpc"
)

// Streams of snapshots. Whoever saves reads the index of the archive's last entry, 8 bytes big endian, and then
// the archive. Whoever restores writes an archive and reads nothing: the stream's end is the answer.
const (
	SnapshotSave    = "Snapshot.Save"
	SnapshotRestore = "Snapshot.Restore"
	// SnapshotFrom is who may ask for either, if the token allows it.
	SnapshotFrom = rpc.FromAgents
)

// RestoreRequest goes before an archive that is to be restored.
type RestoreRequest struct {
	Force bool // also over the data of another cluster
}

// Opener is a way to a server that also carries streams, such as a *rpc.Target.
type Opener interface {
	Open(ctx context.Context, call *rpc.Call) (*rpc.Stream, error)
}

// SaveSnapshot asks a server for an archive and writes it to the writer that begin returns, which is asked for
// once there is something to write.
func SaveSnapshot(ctx context.Context, to Opener, h rpc.Header, begin func(index uint64) io.Writer) error {
	stream, err := to.Open(ctx, &rpc.Call{Method: SnapshotSave, Header: h, Body: &Nothing{}})
	if err != nil {
		return err
	}
	defer stream.Close()
	var index [8]byte
	if _, err := io.ReadFull(stream, index[:]); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("snapshot: the server ended without an archive")
	} else if err != nil {
		return err
	}
	_, err = io.Copy(begin(binary.BigEndian.Uint64(index[:])), stream)
	return err
}

// RestoreSnapshot gives a server an archive to replace the cluster's state by.
func RestoreSnapshot(ctx context.Context, to Opener, h rpc.Header, req *RestoreRequest, from io.Reader) error {
	stream, err := to.Open(ctx, &rpc.Call{Method: SnapshotRestore, Header: h, Body: req})
	if err != nil {
		return err
	}
	defer stream.Close()
	broken := &source{from: from}
	_, err = io.Copy(stream, broken)
	if broken.err != nil {
		return fmt.Errorf("restore refused, nothing was changed: reading the archive: %w", broken.err)
	}
	if err == nil {
		err = stream.CloseWrite()
	}
	if _, end := io.Copy(io.Discard, stream); end != nil { // which says more than a write that failed
		return end
	}
	return err
}

// source remembers that it could not be read to its end.
type source struct {
	from io.Reader
	err  error
}

// Read implements io.Reader.
func (s *source) Read(p []byte) (int, error) {
	n, err := s.from.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}
