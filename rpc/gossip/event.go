package gossip

import "net/netip"

// EventKind says what an Event tells.
type EventKind string

const (
	// Joined is a member that came, or came back; the own node is the first one.
	Joined EventKind = "joined"
	// Left is a member that went on purpose, or was made to by ForceLeave.
	Left EventKind = "left"
	// Failed is a member that no longer answers.
	Failed EventKind = "failed"
	// Updated is a member with other tags or another address.
	Updated EventKind = "updated"
	// Reaped is a member that left or failed and is now forgotten.
	Reaped EventKind = "reaped"
	// Conflict is somebody at Rival who calls himself as Member does, who has the name already.
	Conflict EventKind = "conflict"
	// User is a user event.
	User EventKind = "user"
)

// Event is one thing that happened in the pool.
type Event struct {
	Kind   EventKind
	Member Member         // of all but User: as it was at the time
	Rival  netip.AddrPort // of Conflict
	User   *UserEvent     // of User
}

// UserEvent is a small message to all nodes. It arrives at most once at each, the sender included, and may be lost.
type UserEvent struct {
	// LTime is the Lamport time at the sender: equal for one event on all nodes, rising from event to event.
	LTime   uint64
	Name    string
	Payload []byte // shared, read it only
	// Coalesce allows that a later event of the same name stands for this one.
	Coalesce bool
}

const (
	// maxUserEvents limits the user events that wait for the reader of Events.
	maxUserEvents = 256
	// maxConflicts limits the conflicts that do; they are told again.
	maxConflicts = 64
)

// queue holds what the reader of Events has not taken yet. News about a member replace what was still to be told about
// him, so its size is bounded by the number of members and the two limits, and the last word on a member is never lost.
// The zero queue is empty.
type queue struct {
	order   []*Event // a ring would do; the slice is compacted when its head has moved far
	head    int
	members map[string]*Event

	users, conflicts int    // in order
	dropped          uint64 // user events that found the queue full
}

func (q *queue) push(e Event) {
	switch e.Kind {
	case User:
		q.pushUser(e)
	case Conflict:
		if q.conflicts < maxConflicts {
			q.conflicts++
			q.append(&e)
		}
	default:
		if old := q.members[e.Member.Name]; old != nil {
			// The reader does not know of a member that is still to be told as joined: he stays joined.
			if e.Kind == Updated {
				e.Kind = old.Kind
			}
			*old = e
			return
		}
		if q.members == nil {
			q.members = map[string]*Event{}
		}
		q.members[e.Member.Name] = &e
		q.append(&e)
	}
}

func (q *queue) pushUser(e Event) {
	if e.User.Coalesce {
		for _, old := range q.order[q.head:] {
			if old.Kind == User && old.User.Coalesce && old.User.Name == e.User.Name {
				if old.User.LTime < e.User.LTime {
					*old = e
					return
				}
				if old.User.LTime > e.User.LTime {
					return
				}
			}
		}
	}
	if q.users >= maxUserEvents {
		q.dropped++
		return
	}
	q.users++
	q.append(&e)
}

func (q *queue) append(e *Event) {
	if q.head > 64 && q.head > len(q.order)/2 {
		n := copy(q.order, q.order[q.head:])
		clear(q.order[n:])
		q.order, q.head = q.order[:n], 0
	}
	q.order = append(q.order, e)
}

// first returns the oldest event; only when there is one is ok.
func (q *queue) first() (e Event, ok bool) {
	if q.head == len(q.order) {
		return Event{}, false
	}
	return *q.order[q.head], true
}

// pop removes the oldest event.
func (q *queue) pop() {
	e := q.order[q.head]
	q.order[q.head] = nil
	q.head++
	switch e.Kind {
	case User:
		q.users--
	case Conflict:
		q.conflicts--
	default:
		delete(q.members, e.Member.Name)
	}
	if q.head == len(q.order) {
		q.order, q.head, q.members = nil, 0, nil // a map stays as large as it was once
	}
}
