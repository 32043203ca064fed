package raftstore

import (
	"context"
	"errors"

	"github.com/hashicorp/raft"
)

// Verify reads all entries of an open log, whose store verifies their
// checksums, and returns how many there were and the first error: a
// *CorruptError for damage. Entries that are deleted meanwhile do not count.
func Verify(ctx context.Context, l raft.LogStore) (entries uint64, err error) {
	next, err := l.FirstIndex()
	if err != nil {
		return 0, err
	}
	for {
		if err := ctx.Err(); err != nil {
			return entries, err
		}
		err := l.GetLog(next, new(raft.Log))
		switch {
		case err == nil:
			entries, next = entries+1, next+1
			continue
		case !errors.Is(err, raft.ErrLogNotFound):
			return entries, err
		}
		first, err := l.FirstIndex()
		if err != nil || first <= next { // the end, not a compaction
			return entries, err
		}
		next = first
	}
}
