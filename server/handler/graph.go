package handler

import (
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
)

// checkGraph checks the entries that depend on one that was just written or removed.
func checkGraph(tx *state.Txn, kind catalog.EntryKind, name string) error { return nil }
