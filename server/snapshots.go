package server

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/snapshot"
	"github.com/curia-mesh/curia/server/trial"
)

// Snapshots saves and restores the cluster's state, on the leader unless a stale one is asked for.
type Snapshots struct {
	*Server
	restoring sync.Mutex // held while one is restored
}

// SaveSnapshot writes an archive of the cluster's state to the writer that begin returns, which is asked
// for only once there is something to write. The index is that of the last entry in it. A writer that is
// slow holds nothing but an open file.
func (s *Snapshots) SaveSnapshot(ctx context.Context, h rpc.Header, begin func(index uint64) io.Writer) error {
	way, err := s.way(ctx, &h, h.Consistency != rpc.Stale)
	if err != nil {
		return err
	}
	if way != nil {
		return api.SaveSnapshot(ctx, way, h, begin)
	}
	if h.Consistency != rpc.Stale {
		if err := raftError(s.raft.Barrier(applyBarrier).Error()); err != nil {
			return err
		}
	}
	meta, state, err := s.newestSnapshot()
	if err != nil {
		return err
	}
	defer state.Close()
	return snapshot.Write(begin(meta.Index), meta, state)
}

// newestSnapshot takes a snapshot, or opens the last one when nothing was written since: whoever asks
// often costs the disk nothing.
func (s *Snapshots) newestSnapshot() (*raft.SnapshotMeta, io.ReadCloser, error) {
	s.raft.saving.Lock() // so that no later one takes the place of this one before it is opened
	defer s.raft.saving.Unlock()
	taken, err := s.raft.snapshots.List()
	if err != nil {
		return nil, nil, fmt.Errorf("listing snapshots: %w", err)
	}
	if len(taken) > 0 && taken[0].Index >= s.fsm.Applied() {
		if meta, state, err := s.raft.snapshots.Open(taken[0].ID); err == nil {
			return meta, state, nil
		}
	}
	future := s.raft.Snapshot()
	if err := future.Error(); err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) {
		// Raft takes none while the configuration has just changed and nothing behind it is applied.
		if s.raft.Barrier(applyBarrier).Error() == nil {
			future = s.raft.Snapshot()
		}
	}
	if err := future.Error(); errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return nil, nil, catalog.Errorf(catalog.Unavailable, "snapshot: this server has nothing to save yet")
	} else if err != nil {
		return nil, nil, fmt.Errorf("taking a snapshot: %w", raftError(err))
	}
	return future.Open()
}

// RestoreSnapshot replaces the cluster's state by an archive. The whole archive is read, verified and
// loaded beside the present state before anything is touched: what Raft has begun to restore it must be
// able to finish. What others have written here is not replaced by another cluster's state unless that is forced.
func (s *Snapshots) RestoreSnapshot(ctx context.Context, h rpc.Header, req *api.RestoreRequest, from io.Reader) error {
	way, err := s.way(ctx, &h, true)
	if err != nil {
		return err
	}
	if way != nil {
		return api.RestoreSnapshot(ctx, way, h, req, from)
	}
	if !s.restoring.TryLock() { // one archive fills the disk, not many
		return catalog.Errorf(catalog.Conflict, "restore refused, nothing was changed: another one is under way")
	}
	defer s.restoring.Unlock()
	archive, err := snapshot.Read(from)
	if err == nil {
		defer archive.Close()
		err = s.tryArchive(archive, req.Force)
	}
	if catalog.CodeOf(err) == catalog.Conflict {
		return err
	}
	if err != nil {
		return catalog.Errorf(catalog.Invalid, "restore refused, nothing was changed: %w", err)
	}
	s.log.Warn("restoring a snapshot: all present state is replaced", "index", archive.Meta.Index)
	if err := s.replace(archive); err != nil {
		return fmt.Errorf("restoring the snapshot: %w", raftError(err))
	}
	if err := raftError(s.raft.Barrier(applyBarrier).Error()); err != nil {
		return err
	}
	s.sessions.restart(s.store.Read)
	s.leadership.seedACL(ctx) // the archive may be of a time before there were tokens
	s.Observe()
	select {
	case s.restored <- struct{}{}:
	default: // a look is due already
	}
	if s.cfg.LeaderChanged != nil {
		s.cfg.LeaderChanged() // what is on this node has to be in the catalog again
	}
	return nil
}

// replace restores an archive. Raft does that only when the last change of the configuration is applied, with an
// entry behind it.
func (s *Snapshots) replace(archive *snapshot.Archive) error {
	for try := 0; ; try++ {
		if err := s.raft.Barrier(applyBarrier).Error(); err != nil {
			return err
		}
		content, err := archive.State()
		if err != nil {
			return err
		}
		err = s.raft.Restore(&archive.Meta, content, 0)
		if err == nil || try == restoreTries || !strings.Contains(err.Error(), "cannot restore snapshot now") {
			return err
		}
	}
}

// restoreTries is how often a restore gives way to a change of Raft's configuration.
const restoreTries = 3

// tryArchive loads an archive's state into a store of its own. What contradicts itself is told of and no
// more: it may be the only backup.
func (s *Snapshots) tryArchive(a *snapshot.Archive, force bool) error {
	restored, err := trial.Restore(a)
	if err != nil {
		return err
	}
	if len(restored.Wrong) > 0 {
		s.log.Warn("the state in the archive contradicts itself", "places", len(restored.Wrong), "first", restored.Wrong[0])
	}
	if force {
		return nil
	}
	return stranger(restored.Store.Read(), s.store.Read())
}

// stranger returns an error when an archive is of another cluster than this one, which has data of its own. A cluster
// that has just been made to be restored into has none; nodes and services do not count, since agents bring them back.
func stranger(archive, present *state.Txn) error {
	theirs, ours := state.CA(archive, nil), state.CA(present, nil)
	if theirs == nil || ours == nil || theirs.ClusterID == ours.ClusterID {
		return nil
	}
	keys := state.KVCount(present)
	entries, _ := state.ConfigEntries(present, nil, "")
	queries, _ := state.Queries(present, nil)
	if keys+len(entries)+len(queries) == 0 {
		return nil
	}
	return catalog.Errorf(catalog.Conflict, "restore refused, nothing was changed: the archive is of the cluster with trust domain %s, and this one is %s, which has data of its own that would be lost: %d keys, %d config entries, %d prepared queries; if that is meant, restore with -force (?force)",
		connect.TrustDomain(theirs.ClusterID), connect.TrustDomain(ours.ClusterID), keys, len(entries), len(queries))
}

// way checks that the token may, and returns the way to the leader when it has to answer, nil when this server
// does.
func (s *Snapshots) way(ctx context.Context, h *rpc.Header, leads bool) (api.Opener, error) {
	if h.Datacenter != "" && h.Datacenter != s.cfg.Datacenter {
		if h.Forwarded++; h.Forwarded > maxHops {
			return nil, catalog.Errorf(catalog.Internal, "snapshot: it was forwarded %d times and is for another datacenter still", h.Forwarded)
		}
		way, err := s.abroad.remote(h.Datacenter)
		if err != nil {
			return nil, err
		}
		return way, nil
	}
	az, err := s.host.Authorize(ctx, h.Token)
	if err != nil {
		return nil, err
	}
	if err := acl.Enforce(az, []acl.Need{{Resource: acl.ACL, Access: acl.Write}}); err != nil {
		return nil, err
	}
	if !leads || s.host.Leading() {
		return nil, nil
	}
	if err := s.host.AwaitLeader(ctx, nil, time.Now()); err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	if s.host.Leading() {
		return nil, nil
	}
	if h.Forwarded++; h.Forwarded > maxHops {
		return nil, catalog.Errorf(catalog.Internal, "snapshot: it was forwarded %d times: the servers disagree about who leads", h.Forwarded)
	}
	way, err := s.host.Leader()
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	return way.(*leader), nil
}

// maxHops is how many servers a snapshot may come through.
const maxHops = 4

// serve answers a stream that came over the network, if its peer may ask for it.
func (s *Snapshots) serve(ctx context.Context, peer rpc.Peer, call *rpc.Call, stream io.ReadWriter) error {
	if err := s.demands().Refuse(api.SnapshotFrom, peer); err != nil {
		return catalog.Errorf(catalog.Denied, "rpc: %s is refused: %w", call.Method, err)
	}
	switch call.Method {
	case api.SnapshotSave:
		var failed error
		err := s.SaveSnapshot(ctx, call.Header, func(index uint64) io.Writer {
			_, failed = stream.Write(binary.BigEndian.AppendUint64(nil, index))
			return stream
		})
		return cmp.Or(err, failed)
	case api.SnapshotRestore:
		var req api.RestoreRequest
		if raw, ok := call.Body.(rpc.Raw); ok {
			if err := rpc.Decode(raw, &req); err != nil {
				return catalog.Errorf(catalog.Invalid, "rpc: request of %s: %w", call.Method, err)
			}
		}
		return s.RestoreSnapshot(ctx, call.Header, &req, stream)
	}
	return catalog.Errorf(catalog.NotFound, "rpc: no stream %q on this server; is it older than the caller?", call.Method)
}
