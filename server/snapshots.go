package server

import (
	"context"
	"fmt"
	"io"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/fsm"
	"github.com/curia-mesh/curia/server/snapshot"
)

// SaveSnapshot writes an archive of the cluster's state to the writer that begin returns, which is asked
// for only once there is something to write. The index is that of the last entry in it.
func (s *Server) SaveSnapshot(ctx context.Context, h rpc.Header, begin func(index uint64) io.Writer) error {
	if err := s.maySnapshot(ctx, h); err != nil {
		return err
	}
	if h.Consistency != rpc.Stale {
		if err := raftError(s.raft.Barrier(applyBarrier).Error()); err != nil {
			return err
		}
	}
	meta, state, err := s.raft.newestSnapshot()
	if err != nil {
		return raftError(err)
	}
	defer state.Close()
	return snapshot.Write(begin(meta.Index), meta, state)
}

// RestoreSnapshot replaces the cluster's state by an archive. The whole archive is read, verified and
// decoded before anything is touched.
func (s *Server) RestoreSnapshot(ctx context.Context, h rpc.Header, from io.Reader) error {
	if err := s.maySnapshot(ctx, h); err != nil {
		return err
	}
	archive, err := snapshot.Read(from)
	if err != nil {
		return catalog.Errorf(catalog.Invalid, "restore refused, nothing was changed: %w", err)
	}
	defer archive.Close()
	state, err := archive.State()
	if err == nil {
		_, err = fsm.Scan(state, func(string, any) error { return nil })
	}
	if err != nil {
		return catalog.Errorf(catalog.Invalid, "restore refused, nothing was changed: %w", err)
	}
	if state, err = archive.State(); err != nil {
		return err
	}
	s.log.Warn("restoring a snapshot: all present state is replaced", "index", archive.Meta.Index)
	if err := s.raft.Restore(&archive.Meta, state, 0); err != nil {
		return catalog.Errorf(catalog.Internal, "restoring the snapshot: %w", err)
	}
	if err := raftError(s.raft.Barrier(applyBarrier).Error()); err != nil {
		return err
	}
	s.sessions.end()
	s.sessions.begin(s.store.Read())
	s.Observe()
	return nil
}

func (s *Server) maySnapshot(ctx context.Context, h rpc.Header) error {
	if h.Datacenter != "" && h.Datacenter != s.cfg.Datacenter {
		_, err := s.host.Remote(h.Datacenter)
		return err
	}
	az, err := s.host.Authorize(ctx, h.Token)
	if err != nil {
		return err
	}
	if err := acl.Enforce(az, []acl.Need{{Resource: acl.ACL, Access: acl.Write}}); err != nil {
		return err
	}
	if h.Consistency != rpc.Stale && !s.host.Leading() {
		_, err := s.host.Leader()
		if err == nil {
			err = catalog.Errorf(catalog.NoLeader, "this server does not lead: ask %s", s.LeaderAddr())
		}
		return fmt.Errorf("snapshot: %w", err)
	}
	return nil
}
