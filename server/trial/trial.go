// Package trial restores archives into a store of their own, to prove that they can be restored.
package trial

import (
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/server/fsm"
	"github.com/curia-mesh/curia/server/snapshot"
)

// Restored is an archive's state in a store of its own.
type Restored struct {
	Store *state.Store
	Rows  int
	// Wrong are the places where the state contradicts itself. It can be restored all the same.
	Wrong []error
}

// maxIndex leaves room for the entries to come.
const maxIndex = 1 << 62

// Restore loads an archive's state. The error says why it cannot be restored.
func Restore(a *snapshot.Archive) (*Restored, error) {
	content, err := a.State()
	if err != nil {
		return nil, err
	}
	r := &Restored{Store: state.New()}
	index, rows, err := fsm.Load(content, r.Store)
	if err != nil {
		return nil, err
	}
	if v := a.Meta.Version; v < raft.SnapshotVersionMin || v > raft.SnapshotVersionMax {
		return nil, fmt.Errorf("snapshot: version %d is none that this program knows", v)
	}
	if index > a.Meta.Index || a.Meta.Index > maxIndex {
		return nil, fmt.Errorf("snapshot: impossible index: the state is of %d, the archive of %d", index, a.Meta.Index)
	}
	r.Rows, r.Wrong = rows, r.Store.Check()
	return r, nil
}
