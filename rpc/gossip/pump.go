package gossip

import (
	"time"

	"github.com/hashicorp/serf/serf"
)

const (
	// burst is how many member events in a row make the pump compare with the truth afterwards: behind a snapshot serf
	// drops events when 1024 of them wait.
	burst = 512
	// burstQuiet is how long it must have been silent to be over.
	burstQuiet = 100 * time.Millisecond
)

// pump moves events from serf, which must never wait, to the reader, who may. It ends with serf.
//
// It must not ask serf for anything: serf holds the lock of its members while it sends an event, and so would wait for
// the pump, and the pump for it, when so many come at once that the channels between them are full.
func (p *Pool) pump() {
	defer close(p.events)
	var (
		seen  int // member events since the last comparison
		quiet <-chan time.Time
		truth chan []Member // of a comparison that has begun
	)
	for {
		var out chan Event
		first, ok := p.queue.first()
		if ok {
			out = p.events
		}
		select {
		case e := <-p.raw:
			if seen += p.take(e); seen >= burst {
				quiet = time.After(burstQuiet)
			}
		case e := <-p.conflicts:
			p.queue.push(e)
		case out <- first:
			p.queue.pop()
		case <-quiet:
			quiet, truth = nil, make(chan []Member, 1)
			p.wg.Go(func() { truth <- p.Members() })
		case members := <-truth:
			truth = nil
			if quiet != nil { // what came meanwhile may be newer
				continue
			}
			seen = 0
			for _, e := range p.roster.missing(members) {
				p.tell(e)
			}
		case <-p.serf.ShutdownCh():
			p.drain()
			return
		}
	}
}

// drain makes room in raw for what serf's goroutines still send before they see the shutdown.
func (p *Pool) drain() {
	for {
		select {
		case <-p.raw:
		default:
			return
		}
	}
}

// take queues what an event of serf tells and returns how many members it is about.
func (p *Pool) take(e serf.Event) int {
	switch e := e.(type) {
	case serf.MemberEvent:
		kind := memberKind(e.Type)
		if kind == "" {
			return 0
		}
		for i := range e.Members {
			p.tell(Event{Kind: kind, Member: fromSerf(&e.Members[i])})
		}
		return len(e.Members)
	case serf.UserEvent:
		// serf limits what it sends; what it takes from a peer in an exchange of state can be of any size.
		if len(e.Name)+len(e.Payload) > MaxUserEventSize {
			p.lostUserEvents.Add(1)
			return 0
		}
		before := p.queue.dropped
		p.queue.push(Event{Kind: User, User: &UserEvent{
			LTime: uint64(e.LTime), Name: e.Name, Payload: e.Payload, Coalesce: e.Coalesce,
		}})
		if p.queue.dropped != before && p.lostUserEvents.Add(1) == 1 {
			p.log.Warn("user events are lost: they come faster than they are taken", "limit", maxUserEvents)
		}
	case *serf.Query:
		if e.Name != keyringQuery || p.ring == nil {
			return 0
		}
		select {
		case p.keyQueries <- e:
		default:
			p.log.Warn("keyring query is dropped: too many wait", "node", e.SourceNode(), "limit", keyBacklog)
		}
	}
	return 0
}

func (p *Pool) tell(e Event) {
	known := p.roster.told(e.Kind, e.Member)
	if e.Kind == Joined {
		p.countJoined(known)
	}
	p.queue.push(e)
}

// memberKind is "" for what is not about members.
func memberKind(t serf.EventType) EventKind {
	switch t {
	case serf.EventMemberJoin:
		return Joined
	case serf.EventMemberLeave:
		return Left
	case serf.EventMemberFailed:
		return Failed
	case serf.EventMemberUpdate:
		return Updated
	case serf.EventMemberReap:
		return Reaped
	}
	return ""
}
