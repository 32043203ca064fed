package state

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/curia-mesh/curia/catalog"
)

var sessions = &table[catalog.Session]{
	name: "sessions",
	of:   func(v *version) *rows[catalog.Session] { return &v.sessions },
	keys: []func([]byte, *catalog.Session) []byte{
		primary:       func(key []byte, s *catalog.Session) []byte { return joined(key, s.ID) },
		sessionByNode: func(key []byte, s *catalog.Session) []byte { return joined(key, fold(s.Node), s.ID) },
	},
}

const sessionByNode = 1

// Session returns a session, nil when there is none.
func Session(tx *Txn, w *Watch, id string) (*catalog.Session, uint64) {
	if s := sessions.get(tx, w, primary, tx.key(id)); s != nil {
		return s, s.ModifyIndex
	}
	return nil, buried(tx, graveSession, id)
}

// Sessions returns all sessions.
func Sessions(tx *Txn, w *Watch) ([]*catalog.Session, uint64) {
	return listSessions(tx, w, primary, nil, indexOf(tx, sessionsIndex))
}

// NodeSessions returns the sessions of a node.
func NodeSessions(tx *Txn, w *Watch, node string) ([]*catalog.Session, uint64) {
	index := buried(tx, graveNodeSession, fold(node))
	return listSessions(tx, w, sessionByNode, tx.key(fold(node)), index)
}

func listSessions(tx *Txn, w *Watch, by int, prefix []byte, index uint64) ([]*catalog.Session, uint64) {
	index, found := max(index, 1), []*catalog.Session{}
	for s := range sessions.scan(tx, w, by, prefix) {
		index = max(index, s.ModifyIndex)
		found = append(found, s)
	}
	return found, index
}

// SessionCreate adds a normalized session, whose node and checks must exist and be healthy.
func SessionCreate(tx *Txn, s *catalog.Session) (*catalog.Session, error) {
	n := nodeNamed(tx, nil, s.Node)
	if n == nil {
		return nil, catalog.Errorf(catalog.Invalid, "session: node %q is not registered", s.Node)
	}
	if s.ID == "" || strings.IndexByte(s.ID, 0) >= 0 || sessions.get(tx, nil, primary, tx.key(s.ID)) != nil {
		return nil, catalog.Errorf(catalog.Invalid, "session: id %q is empty, taken or holds a zero byte", s.ID)
	}
	for _, id := range sessionChecks(s) {
		c := Check(tx, nil, s.Node, id)
		if c == nil {
			return nil, catalog.Errorf(catalog.Invalid, "session: check %q of node %q does not exist", id, s.Node)
		}
		if c.Status == catalog.Critical {
			return nil, catalog.Errorf(catalog.Invalid, "session: check %q of node %q is critical", id, s.Node)
		}
	}
	row := *s
	row.Node = n.Node
	row.CreateIndex, row.ModifyIndex = tx.Index, tx.Index
	sessions.put(tx, &row)
	return &row, nil
}

func sessionChecks(s *catalog.Session) []string {
	ids := slices.Clone(s.NodeChecks)
	for _, c := range s.ServiceChecks {
		ids = append(ids, c.ID)
	}
	return ids
}

// SessionDestroy ends a session if it is there: its locks are released or its keys removed, and its
// prepared queries go.
func SessionDestroy(tx *Txn, id string) {
	if s, _ := Session(tx, nil, id); s != nil {
		endSession(tx, s)
	}
}

func endSession(tx *Txn, s *catalog.Session) {
	sessions.remove(tx, s)
	bury(tx, graveSession, s.ID)
	bury(tx, graveNodeSession, fold(s.Node))
	setIndex(tx, sessionsIndex)
	for _, held := range pairs.all(tx, pairBySession, tx.key(s.ID)) {
		if s.LockDelay > 0 {
			tx.delayed = append(tx.delayed, delay{held.Key, s.LockDelay})
		}
		if s.Behavior == catalog.Delete {
			removePair(tx, held)
			continue
		}
		row := *held
		row.Session = ""
		putPair(tx, held, &row)
	}
	for _, q := range queries.all(tx, queryBySession, tx.key(s.ID)) {
		DeleteQuery(tx, q.ID)
	}
}

// endSessionsOf ends the sessions that depend on a check.
func endSessionsOf(tx *Txn, c *catalog.Check) {
	for _, s := range sessions.all(tx, sessionByNode, tx.key(fold(c.Node))) {
		if slices.Contains(sessionChecks(s), c.CheckID) {
			endSession(tx, s)
		}
	}
}

// lockDelays remembers which keys may not be locked yet, because the session that held them did not
// give them up by itself. It is the leader's own memory, by its clock, and no part of the tables.
type lockDelays struct {
	mu    sync.Mutex
	until map[string]time.Time
	sweep int // how many there must be before those that are over are looked for
	now   func() time.Time
}

type delay struct {
	key  string
	span time.Duration
}

func (d *lockDelays) add(delayed []delay) {
	if len(delayed) == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.until == nil {
		d.until = map[string]time.Time{}
	}
	now := d.now()
	if len(d.until) >= d.sweep {
		maps.DeleteFunc(d.until, func(_ string, until time.Time) bool { return !until.After(now) })
		d.sweep = max(64, 2*len(d.until))
	}
	for _, x := range delayed {
		d.until[x.key] = now.Add(x.span)
	}
}

// LockDelayed reports whether key may not be locked yet.
func (s *Store) LockDelayed(key string) bool {
	s.delays.mu.Lock()
	defer s.delays.mu.Unlock()
	until, ok := s.delays.until[key]
	return ok && until.After(s.delays.now())
}
