package gossip

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/serf/serf"
)

// roster remembers what was told about each member: to find conflicts of names, and what got lost on the way here.
type roster struct {
	mu      sync.Mutex
	members map[string]told
	rivals  map[rival]time.Time // when a conflict was last told
	avoided map[netip.AddrPort]error
}

// told is what was told of a member last, without its name. There is one for each member on each node: it is small.
type told struct {
	addr   netip.Addr
	port   uint16
	status uint8
	tags   map[string]string
}

func (t told) member(name string) Member {
	return Member{Name: name, Addr: t.addr, Port: t.port, Tags: t.tags, Status: Status(t.status)}
}

type rival struct {
	name string
	addr netip.AddrPort
}

const (
	// conflictPeriod is how often one conflict is told: peers repeat it with every exchange of state.
	conflictPeriod = time.Minute
	maxRivals      = 256
)

// told takes in an event about a member, and says how many are known now.
func (r *roster) told(kind EventKind, m Member) (known int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if kind == Reaped {
		delete(r.members, m.Name)
		return len(r.members)
	}
	if r.members == nil {
		r.members = map[string]told{}
	}
	r.members[m.Name] = told{m.Addr, m.Port, uint8(m.Status), m.Tags}
	return len(r.members)
}

// missing compares with the truth and returns the events that it takes to get there.
func (r *roster) missing(truth []Member) []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	var events []Event
	gone := maps.Clone(r.members)
	for _, m := range truth {
		delete(gone, m.Name)
		was, known := r.members[m.Name]
		old := was.member(m.Name)
		switch {
		case known && settled(old.Status) == settled(m.Status):
			if old.AddrPort() != m.AddrPort() || !maps.Equal(old.Tags, m.Tags) {
				events = append(events, Event{Kind: Updated, Member: m})
			}
		case m.Status == StatusFailed:
			events = append(events, Event{Kind: Failed, Member: m})
		case m.Status == StatusLeft:
			events = append(events, Event{Kind: Left, Member: m})
		default:
			events = append(events, Event{Kind: Joined, Member: m})
		}
	}
	for name, was := range gone {
		events = append(events, Event{Kind: Reaped, Member: was.member(name)})
	}
	return events
}

// settled takes a member that is about to leave for the living one that it still is: serf tells nothing of leaving.
func settled(s Status) Status {
	if s == StatusLeaving {
		return StatusAlive
	}
	return s
}

// conflict tells whether m, who speaks up now, uses the name of a living member at another address, and whether it is
// time to say so again.
func (r *roster) conflict(m Member, now time.Time) (holder Member, tell bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	was, known := r.members[m.Name]
	holder = was.member(m.Name)
	if !known || settled(holder.Status) != StatusAlive || holder.AddrPort() == m.AddrPort() {
		return Member{}, false
	}
	key := rival{m.Name, m.AddrPort()}
	if last, ok := r.rivals[key]; ok && now.Sub(last) < conflictPeriod {
		return Member{}, false
	}
	if r.rivals == nil || len(r.rivals) >= maxRivals {
		r.rivals = map[rival]time.Time{}
	}
	r.rivals[key] = now
	return holder, true
}

// gate is asked by serf about everybody who is heard of: in an exchange of state about all at once, in gossip about one.
type gate struct{ p *Pool }

// NotifyMerge refuses with an error. memberlist's locks are held.
func (g gate) NotifyMerge(members []*serf.Member) error {
	var avoided error
	taken := false
	for _, sm := range members {
		m := fromSerf(sm)
		if m.Status == StatusLeft || (m.Name == g.p.cfg.Name && m.AddrPort() == g.p.self) {
			continue
		}
		if err := ValidateName(m.Name); err != nil {
			return fmt.Errorf("member at %s: %w", m.AddrPort(), err)
		}
		if admit := g.p.cfg.Admit; admit != nil {
			if err := admit(m); err != nil {
				return fmt.Errorf("member %s at %s: %w", m.Name, m.AddrPort(), err)
			}
		}
		if err := g.avoid(m); err != nil {
			avoided = cmp.Or(avoided, err)
			continue
		}
		taken = true
		// Of many at once some may be dead entries with an old address, which is no conflict.
		if len(members) == 1 {
			g.conflict(m)
		}
	}
	if taken {
		return nil // the library asks about each by itself yet
	}
	return avoided
}

// avoidedLine is in all lines of the library about a member that Config.Avoid refuses, who is told of there.
const avoidedLine = "is not taken into this pool: "

func (g gate) avoid(m Member) error {
	if g.p.cfg.Avoid == nil {
		return nil
	}
	err := g.p.cfg.Avoid(m)
	if err != nil {
		err = fmt.Errorf("member %s at %s "+avoidedLine+"%w", m.Name, m.AddrPort(), err)
	}
	g.p.roster.avoid(m.AddrPort(), err)
	return err
}

// avoid notes why the member at an address was refused last, nil that it was not.
func (r *roster) avoid(addr netip.AddrPort, why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if why == nil {
		delete(r.avoided, addr)
		return
	}
	if r.avoided == nil || len(r.avoided) >= maxRivals {
		r.avoided = map[netip.AddrPort]error{}
	}
	r.avoided[addr] = why
}

// avoids is why the member at an address is refused, nil when it is not.
func (r *roster) avoids(addr string) error {
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.avoided[at]
}

func (g gate) conflict(m Member) {
	holder, tell := g.p.roster.conflict(m, time.Now())
	if !tell {
		return
	}
	select {
	case g.p.conflicts <- Event{Kind: Conflict, Member: holder, Rival: m.AddrPort()}:
	default: // it will be told again
	}
}

// reaper is Config.ReapAfter as serf wants it.
type reaper func(Member, time.Duration) time.Duration

func (r reaper) ReconnectTimeout(m *serf.Member, timeout time.Duration) time.Duration {
	return r(fromSerf(m), timeout)
}
