// Package autopilot decides which servers of a cluster vote and which are taken out of it.
//
// Next looks at the servers as they are and names one step. Whoever takes it looks again. No step that autopilot
// takes by itself leaves a cluster in which one more failure loses the quorum, where there is a choice.
// Source: https://developer.hashicorp.com/consul/docs/manage/scale/autopilot
package autopilot

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/curia-mesh/curia/catalog"
)

// Server is what is known of one server.
type Server struct {
	ID, Name string
	// Address is where it is: by gossip, else by Raft's configuration.
	Address string
	// Member is whether Raft's configuration has it, Voter whether with a vote, and Moved whether at another
	// address.
	Member, Voter, Moved bool
	Leader               bool
	// Alive is whether gossip reaches it, Left whether it went on purpose. One that is neither has failed.
	Alive, Left bool
	// Healthy servers follow the leader closely; since when is Since.
	Healthy bool
	Since   time.Time
	// Replica servers never vote.
	Replica bool
	// Zone is that of a cluster whose zones have one voter each; empty is a zone by itself.
	Zone    string
	Version string
	// Restored is whether it had a vote until it was removed as dead: it need not prove itself again.
	Restored bool
}

// Kind is what a step does.
type Kind string

const (
	// Add takes a server in without a vote.
	Add Kind = "add"
	// Move changes the address of a server.
	Move Kind = "move"
	// Promote gives a server a vote, Demote takes it away.
	Promote Kind = "promote"
	Demote  Kind = "demote"
	// Remove takes a server out.
	Remove Kind = "remove"
	// Transfer hands the leadership to a server.
	Transfer Kind = "transfer"
)

// Step is one change of the cluster.
type Step struct {
	Kind   Kind
	Server Server
	Why    string
}

// Next returns the next step, false when nothing is to be done. stable is how long a server has to be healthy
// before it gets a vote.
func Next(c *catalog.AutopilotConfig, servers []Server, now time.Time, stable time.Duration) (Step, bool) {
	v := newView(c, servers, now, stable)
	for _, rule := range []func(*view) (Step, bool){moved, left, joined, promotion, demotion, dead} {
		if s, ok := rule(v); ok {
			return s, true
		}
	}
	return Step{}, false
}

// Tolerance is how many more servers may fail before the quorum is lost; 0 when it is lost already.
func Tolerance(servers []Server) int {
	voters, alive := 0, 0
	for _, s := range servers {
		if s.Member && s.Voter {
			voters++
			if s.Alive && s.Healthy {
				alive++
			}
		}
	}
	return max(0, alive-quorum(voters))
}

func quorum(voters int) int { return voters/2 + 1 }

// view is the cluster with what the rules ask of it.
type view struct {
	c       *catalog.AutopilotConfig
	servers []Server // sorted by id
	now     time.Time
	stable  time.Duration

	voters, alive int // of the voters those that gossip reaches
}

func newView(c *catalog.AutopilotConfig, servers []Server, now time.Time, stable time.Duration) *view {
	v := &view{c: c, now: now, stable: stable, servers: slices.SortedFunc(slices.Values(servers), func(a, b Server) int { return cmp.Compare(a.ID, b.ID) })}
	for _, s := range servers {
		if s.Member && s.Voter {
			v.voters++
			if s.Alive {
				v.alive++
			}
		}
	}
	return v
}

// without is how many more voters may fail once a voter that is alive, or not, votes no more.
func (v *view) without(alive bool) int {
	if alive {
		return v.alive - 1 - quorum(v.voters-1)
	}
	return v.alive - quorum(v.voters-1)
}

func (v *view) find(ok func(*Server) bool) *Server {
	for i := range v.servers {
		if ok(&v.servers[i]) {
			return &v.servers[i]
		}
	}
	return nil
}

func moved(v *view) (Step, bool) {
	if len(v.servers) == 1 {
		return Step{}, false // nobody looks for it
	}
	s := v.find(func(s *Server) bool { return s.Member && s.Moved && s.Alive })
	if s == nil {
		return Step{}, false
	}
	return Step{Move, *s, "it has another address"}, true
}

func left(v *view) (Step, bool) {
	s := v.find(func(s *Server) bool { return s.Member && s.Left && !s.Leader })
	if s == nil {
		return Step{}, false
	}
	return Step{Remove, *s, "it has left"}, true
}

func joined(v *view) (Step, bool) {
	s := v.find(func(s *Server) bool { return !s.Member && s.Alive })
	if s == nil {
		return Step{}, false
	}
	return Step{Add, *s, "it has joined"}, true
}

// eligible reports whether a server may have a vote.
func (v *view) eligible(s *Server) bool {
	return s.Member && s.Alive && s.Healthy && !s.Replica && !s.Left && (s.Voter || s.Restored || v.now.Sub(s.Since) >= v.stable)
}

func promotion(v *view) (Step, bool) {
	newest, newer, older, upgrade := v.upgrade()
	s := v.find(func(s *Server) bool {
		switch {
		case s.Voter || !v.eligible(s):
			return false
		case v.alive-quorum(v.voters) < 1:
			return !v.zoneVotes(s) || s.Zone == "" || v.voters < 3
		case upgrade == waiting && s.Version == newest:
			return false
		case newest != "" && s.Version != newest && newer > older: // it would lose its vote again
			return false
		}
		return !v.zoneVotes(s)
	})
	if s == nil {
		return Step{}, false
	}
	why := "it is healthy and stable"
	if upgrade == migrating {
		why = "as many servers run " + newest + " as older versions"
	}
	return Step{Promote, *s, why}, true
}

// zoneVotes reports whether another healthy server of the zone has its vote.
func (v *view) zoneVotes(s *Server) bool {
	return s.Zone != "" && v.find(func(o *Server) bool { return o.ID != s.ID && o.Zone == s.Zone && o.Voter && o.Alive && o.Healthy }) != nil
}

func demotion(v *view) (Step, bool) {
	if s := v.find(func(s *Server) bool { return s.Member && s.Voter && s.Replica && !s.Leader && v.without(s.Alive) >= 0 }); s != nil {
		return Step{Demote, *s, "it is a read replica"}, true
	}
	newest, _, _, upgrade := v.upgrade()
	old := func(s *Server) bool { return upgrade == migrating && s.Member && s.Voter && s.Version != newest }
	spare := func(s *Server) bool { // its zone has another vote
		return s.Member && s.Voter && s.Zone != "" && v.zoneVotes(s)
	}
	for _, rule := range []struct {
		which func(*Server) bool
		why   string
	}{{spare, "its zone has another voter"}, {old, "as many servers run " + newest + " as older versions"}} {
		s := v.find(func(s *Server) bool { return rule.which(s) && !s.Leader && v.without(s.Alive) >= 1 })
		if s != nil {
			return Step{Demote, *s, rule.why}, true
		}
	}
	lead := v.find(func(s *Server) bool { return s.Leader && old(s) })
	heir := v.find(func(s *Server) bool { return !s.Leader && s.Voter && v.eligible(s) && s.Version == newest })
	if lead != nil && heir != nil && v.without(true) >= 1 {
		return Step{Transfer, *heir, "the leader runs an older version"}, true
	}
	return Step{}, false
}

// enough voters alive survive one more failure when the dead ones are gone.
const enough = 3

// dead removes servers that have failed, but no voter when one more failure would lose the quorum then: a
// server that comes back, such as after a reboot, keeps its vote.
func dead(v *view) (Step, bool) {
	if !v.c.CleanupDeadServers {
		return Step{}, false
	}
	s := v.find(func(s *Server) bool {
		if !s.Member || s.Alive || s.Left || s.Leader {
			return false
		}
		return !s.Voter || v.alive >= enough && v.voters-1 >= int(v.c.MinQuorum)
	})
	if s == nil {
		return Step{}, false
	}
	return Step{Remove, *s, "it has failed, and enough others vote"}, true
}

// state of a migration to a newer version.
type state int

const (
	none      state = iota
	waiting         // for as many servers of the newest version as there are older voters
	migrating       // to them
)

// upgrade tells the newest version of the healthy servers, how many have it, how many voters do not, and how far
// the migration to it is.
func (v *view) upgrade() (newest string, newer, older int, s state) {
	if v.c.DisableUpgradeMigration {
		return "", 0, 0, none
	}
	for i := range v.servers {
		if s := &v.servers[i]; v.eligible(s) && (newest == "" || Older(newest, s.Version)) {
			newest = s.Version
		}
	}
	candidates := 0
	for i := range v.servers {
		s := &v.servers[i]
		switch {
		case v.eligible(s) && s.Version == newest:
			newer++
			if !s.Voter {
				candidates++
			}
		case s.Member && s.Voter && s.Alive:
			older++
		}
	}
	switch {
	case older == 0 || newer == 0 || newest == "":
		return newest, newer, older, none
	case newer >= older:
		return newest, newer, older, migrating
	case candidates == 0:
		return newest, newer, older, none
	}
	return newest, newer, older, waiting
}

// Older reports whether version a comes before b, by their numbers. Versions that are equal up to a suffix are
// in the order of the text, where one without a suffix is newer.
// Source: https://semver.org (11)
func Older(a, b string) bool {
	coreA, preA, _ := strings.Cut(a, "-")
	coreB, preB, _ := strings.Cut(b, "-")
	partsA, partsB := strings.Split(coreA, "."), strings.Split(coreB, ".")
	for i := range max(len(partsA), len(partsB)) {
		x, y := number(partsA, i), number(partsB, i)
		if x != y {
			return x < y
		}
	}
	if preA == "" || preB == "" {
		return preA != "" && preB == ""
	}
	return preA < preB
}

func number(parts []string, i int) int {
	if i >= len(parts) {
		return 0
	}
	n, _ := strconv.Atoi(parts[i])
	return n
}
