package raftstore

import "github.com/hashicorp/raft"

// tail keeps the newest entries in memory, consecutive and bounded in bytes,
// for replication and for a follower that applies what it just stored.
type tail struct {
	limit int
	bytes int
	logs  []raft.Log
}

// logOverhead is what an entry costs besides its data.
const logOverhead = 128

func tailCost(l *raft.Log) int { return logOverhead + len(l.Data) + len(l.Extensions) }

// push adds the entry that follows the newest, dropping old ones over the limit.
func (t *tail) push(l *raft.Log) {
	t.logs = append(t.logs, *l)
	t.bytes += tailCost(l)
	drop := 0
	for ; drop < len(t.logs) && t.bytes > t.limit; drop++ {
		t.bytes -= tailCost(&t.logs[drop])
	}
	t.dropFront(drop)
}

// dropFront forgets n entries whose cost is already taken off. When append
// next grows the slice, only what is left is copied.
func (t *tail) dropFront(n int) {
	clear(t.logs[:n]) // lets the data go
	t.logs = t.logs[n:]
	if len(t.logs) == 0 {
		t.logs = nil
	}
}

// cut forgets all entries outside left.
func (t *tail) cut(left Bounds) {
	if len(t.logs) == 0 {
		return
	}
	if left.Empty() {
		t.logs, t.bytes = nil, 0
		return
	}
	for n := len(t.logs); n > 0 && t.logs[n-1].Index > left.Last; n-- {
		t.bytes -= tailCost(&t.logs[n-1])
		t.logs[n-1] = raft.Log{}
		t.logs = t.logs[:n-1]
	}
	drop := 0
	for ; drop < len(t.logs) && t.logs[drop].Index < left.First; drop++ {
		t.bytes -= tailCost(&t.logs[drop])
	}
	t.dropFront(drop)
}

// get copies the entry at index into l if it is here.
func (t *tail) get(index uint64, l *raft.Log) bool {
	if len(t.logs) == 0 || index < t.logs[0].Index || index-t.logs[0].Index >= uint64(len(t.logs)) {
		return false
	}
	*l = t.logs[index-t.logs[0].Index]
	return true
}
