package server

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/hashicorp/raft"

	"github.com/curia-mesh/curia/server/fsm"
	"github.com/curia-mesh/curia/server/raftstore"
	"github.com/curia-mesh/curia/server/snapstore"
)

// past is what a server begins with: the log and the snapshots in its data directory.
type past struct {
	n         *raftNode
	snapshots *snapstore.Store
	log       raftstore.Log
	first     uint64 // index of the log; 0 with last 0 is an empty one
	last      uint64
}

// settlePast makes the log and the snapshots fit each other before Raft, which would panic or could never
// lead, reads them. Only what nobody has been told of is dropped; where more is missing the error names the
// files and the ways out.
func (n *raftNode) settlePast(snapshots *snapstore.Store, log raftstore.Log) error {
	p := &past{n: n, snapshots: snapshots, log: log}
	var err error
	if p.first, err = log.FirstIndex(); err != nil {
		return err
	}
	if p.last, err = log.LastIndex(); err != nil {
		return err
	}
	ids, err := snapshots.IDs()
	if err != nil {
		return err
	}
	base, bad, err := p.newestWhole(ids)
	if err != nil {
		return err
	}
	if len(bad) > 0 {
		if err := p.passOver(ids[:len(bad)], base, bad[0]); err != nil {
			return err
		}
	}
	if p.last > 0 && p.first > base.Index+1 {
		return fmt.Errorf("raft log %s begins with entry %d, and the newest snapshot in %s is of entry %d: what is between them is missing; %s",
			p.path("log"), p.first, p.path("snapshots"), base.Index, p.waysOut())
	}
	return p.dropStale(base)
}

func (p *past) path(name string) string { return filepath.Join(p.n.cfg.DataDir, "raft", name) }

func (p *past) waysOut() string {
	return fmt.Sprintf("put back %[1]s from a backup of the whole directory, or move it away, start, and restore a snapshot archive", filepath.Join(p.n.cfg.DataDir, "raft"))
}

// newestWhole returns the newest snapshot that can be read as it was written, the zero ID if there is
// none, and why each that is newer cannot.
func (p *past) newestWhole(ids []snapstore.ID) (base snapstore.ID, bad []error, err error) {
	for _, id := range ids {
		err := p.snapshots.Verify(id)
		if err == nil {
			return id, bad, nil
		}
		if damage := (*snapstore.DamagedError)(nil); !errors.As(err, &damage) {
			return base, nil, fmt.Errorf("reading the snapshot %s: %w", p.snapshots.Path(id), err)
		}
		bad = append(bad, err)
	}
	return base, bad, nil
}

// passOver sets damaged snapshots aside when the log has all that they held, from the one at base, or from
// the very beginning, to the newest of them.
func (p *past) passOver(damaged []snapstore.ID, base snapstore.ID, why error) error {
	newest := damaged[0]
	switch {
	case p.first > 0 && p.first <= base.Index+1 && p.last >= newest.Index:
	case p.first > 0 && p.last < newest.Index:
		// A restore, or a leader's snapshot, that ended before the log was emptied.
		return fmt.Errorf("%w; nobody has been told of it, for the log, which ends with entry %d, has nothing behind it: move %s away to go on without it, or %s", why, p.last, p.snapshots.Path(newest), p.waysOut())
	default:
		return fmt.Errorf("%w; the log has only entries %d to %d and no other snapshot that they follow: %s", why, p.first, p.last, p.waysOut())
	}
	for _, id := range damaged {
		to, err := p.snapshots.SetAside(id)
		if err != nil {
			return err
		}
		p.n.cfg.Log.Error("a snapshot is damaged and was set aside: nothing is lost, the log makes up for it, but look after the disk", "err", why, "path", to)
	}
	return nil
}

// dropStale empties a log that the snapshot at base has replaced. Raft writes the snapshot of a restore, or
// of a leader, and then empties the log: a kill in between leaves both, and a log that ends before the
// snapshot can never be appended to. (Raft paper, section 7)
func (p *past) dropStale(base snapstore.ID) error {
	if p.last == 0 || base.Index == 0 || p.first == base.Index+1 {
		return nil
	}
	if p.last >= base.Index {
		at := new(raft.Log)
		if err := p.log.GetLog(base.Index, at); err != nil {
			return err
		}
		if at.Term == base.Term {
			return nil
		}
	}
	p.n.cfg.Log.Warn("the end of a restore was interrupted: the log that it replaces is dropped", "snapshot", p.snapshots.Path(base), "first", p.first, "last", p.last)
	return p.log.DeleteRange(p.first, p.last)
}

// loading is the state machine while Raft starts. It keeps why a snapshot could not be loaded, which Raft
// only logs.
type loading struct {
	*fsm.FSM
	err error
}

// Restore implements raft.FSM.
func (l *loading) Restore(from io.ReadCloser) error {
	err := l.FSM.Restore(from)
	l.err = err
	return err
}
