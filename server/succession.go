package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"syscall"
	"time"

	"github.com/hashicorp/raft"

	"github.com/curia-mesh/curia/rpc/gossip"
	"github.com/curia-mesh/curia/server/api"
)

// succession replaces a leader that has ended before the heartbeat timeout finds that it is silent.
//
// When a process ends, its machine says so: it ends the process's connections, and refuses new ones to its port. A
// machine that is cut off, and a process that hangs, do neither. So when a connection of the leader's ends, its
// follower knocks at its port. When most voters find the port closed, the one of them whose log goes furthest
// stands for election, and does not ask whether the others would vote for it: they would not until
// their own timeouts are over.
//
// Votes are given and refused by Raft's rules, so an early election is as safe as any other. It waits until the
// lease is over within which the leader answered reads by itself: a port may also seem closed because something between
// refuses connections in its name. And it needs most voters, once a term, so that such a thing between two
// servers deposes no leader.
type succession struct {
	id     raft.ServerID
	raft   *raftNode
	roster *roster
	ask    func(ctx context.Context, servers []gossip.Server, q api.StandingQuery) []*api.Standing
	lease  time.Duration // since the last word of the leader
	log    *slog.Logger
	tried  uint64 // the term in which this server stood
}

const (
	// vacancyLook is the pause between two looks at a leader that seems to have ended.
	vacancyLook = 30 * time.Millisecond
	// vacancyAsk bounds the wait for what the others have found.
	vacancyAsk = 250 * time.Millisecond
	// listens is how long a server that lives leaves a connection open which says nothing; one that is about to end
	// closes it.
	listens = 50 * time.Millisecond
)

// newSuccession makes a succession for the servers' timing.
func newSuccession(cfg Config, r *raftNode, f *founder) *succession {
	lease := cfg.stretched(leaseBase)
	return &succession{id: raft.ServerID(cfg.NodeID), raft: r, roster: f.roster, lease: lease + lease/5, log: cfg.Log,
		ask: func(ctx context.Context, servers []gossip.Server, q api.StandingQuery) []*api.Standing {
			stands, _ := f.askAll(ctx, servers, q)
			return stands
		}}
}

// run looks after the leader whenever a connection of another server has ended, until ctx ends.
func (s *succession) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.raft.port.hungUp:
			s.replace(ctx)
		}
	}
}

// replace stands for election if the leader has ended and it is this server's turn. It gives up when there is another
// leader, when the present one lives, and when the heartbeat timeout has taken over.
func (s *succession) replace(ctx context.Context) {
	_, leader := s.raft.LeaderWithID()
	since := time.Now()
	look := time.NewTicker(vacancyLook)
	defer look.Stop()
	for s.follows(leader) && time.Since(since) < 3*s.lease {
		door := s.knock(ctx, leader)
		if door == doorOpen || door == doorUnknown {
			return
		}
		term := s.raft.CurrentTerm()
		if door == doorShut && term != s.tried && s.silent() && s.isChosen(ctx, leader) && s.follows(leader) {
			s.tried = term
			s.log.Info("the leader has ended, and this server stands for election", "leader", s.roster.name(leader), "term", term)
			s.raft.standForElection()
			return
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}

// follows reports whether this server follows a leader that is another one.
func (s *succession) follows(leader raft.ServerID) bool {
	_, now := s.raft.LeaderWithID()
	return leader != "" && leader != s.id && now == leader && s.raft.State() == raft.Follower
}

// silent reports whether nothing was heard of the leader for longer than its lease.
func (s *succession) silent() bool { return time.Since(s.raft.LastContact()) >= s.lease }

// agrees reports whether this server too finds that a leader has ended. It makes this server look after it.
func (s *succession) agrees(ctx context.Context, leader raft.ServerID) bool {
	if _, now := s.raft.LeaderWithID(); leader == s.id || now != leader && now != "" || s.raft.State() == raft.Leader {
		return false
	}
	s.raft.port.noticeEnd()
	return s.silent() && s.knock(ctx, leader) == doorShut
}

// isChosen reports whether most voters find that the leader has ended, and none of them has more of the log. Of those
// that have the same the first by id is chosen.
func (s *succession) isChosen(ctx context.Context, leader raft.ServerID) bool {
	others, voters, votes := s.voters(leader)
	if !votes {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, vacancyAsk)
	defer cancel()
	stands := slices.DeleteFunc(s.ask(ctx, others, api.StandingQuery{Ended: string(leader)}), func(o *api.Standing) bool { return !o.Ended })
	if len(stands)+1 <= voters/2 {
		return false
	}
	own := s.raft.standing()
	own.ID = string(s.id)
	return furthest(append(stands, own)) == own
}

// voters are those that gossip knows without this server and without a leader, and how many there are of all.
func (s *succession) voters(leader raft.ServerID) (others []gossip.Server, all int, votes bool) {
	known := s.roster.byID()
	for _, m := range s.raft.servers() {
		if m.Suffrage != raft.Voter {
			continue
		}
		all++
		switch g, ok := known[string(m.ID)]; {
		case m.ID == s.id:
			votes = true
		case ok && m.ID != leader:
			others = append(others, g)
		}
	}
	return others, all, votes
}

// furthest is the one whose log goes furthest, nil of none.
func furthest(stands []*api.Standing) (best *api.Standing) {
	for _, o := range stands {
		if best == nil || isAhead(o, best) {
			best = o
		}
	}
	return best
}

// isAhead reports whether a comes before b: Raft's voters refuse who has less of the log than they have.
func isAhead(a, b *api.Standing) bool {
	switch {
	case a.LastTerm != b.LastTerm:
		return a.LastTerm > b.LastTerm
	case a.LastIndex != b.LastIndex:
		return a.LastIndex > b.LastIndex
	}
	return a.ID < b.ID
}

// door is what a knock at a server's port finds.
type door int

const (
	doorUnknown door = iota // nobody answers: it may be cut off
	doorOpen                // the server lives, or hangs
	doorEnding              // the connection was ended at once: the process is about to end, or does not want it
	doorShut                // nobody listens there
)

func (s *succession) knock(ctx context.Context, id raft.ServerID) door {
	addr, err := addresses{s.roster, s.raft.configured}.ServerAddr(id)
	if err != nil {
		return doorUnknown
	}
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	conn, err := s.raft.port.dialer.Connect(ctx, "tcp", string(addr))
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return doorShut
	case errors.Is(err, syscall.ECONNRESET):
		return doorEnding
	case err != nil:
		return doorUnknown
	}
	defer conn.Close()
	if conn.SetReadDeadline(time.Now().Add(listens)) != nil {
		return doorUnknown
	}
	var heard net.Error
	if _, err := conn.Read(make([]byte, 1)); err == nil || errors.As(err, &heard) && heard.Timeout() {
		return doorOpen
	}
	return doorEnding
}

// handOver gives the leadership to another server, so that writes go on, where there is one.
func (s *succession) handOver() {
	if s.raft.State() != raft.Leader || s.raft.voters() < 2 || s.raft.port.isCut() {
		return
	}
	done := make(chan error, 1)
	go func() { done <- s.transfer() }() // ends when Raft has
	late := time.NewTimer(endTimeout / 2)
	defer late.Stop()
	var err error
	select {
	case err = <-done:
	case <-late.C:
		err = errors.New("raft does not answer: its disk may hang")
	}
	if err != nil {
		s.log.Warn("leadership could not be handed over", "err", err)
	}
}

// transfer hands over to the server whose log goes furthest of those that answer. Raft's own pick may be one that is
// down: it knows only what each has had.
func (s *succession) transfer() error {
	ctx, cancel := context.WithTimeout(context.Background(), vacancyAsk)
	defer cancel()
	others, _, _ := s.voters(s.id)
	best := furthest(s.ask(ctx, others, api.StandingQuery{}))
	if best == nil {
		return s.raft.transfer(s.raft.LeadershipTransfer).Error()
	}
	return s.raft.transfer(func() raft.Future {
		return s.raft.LeadershipTransferToServer(raft.ServerID(best.ID), s.addrOf(best))
	}).Error()
}

func (s *succession) addrOf(o *api.Standing) raft.ServerAddress {
	addr, _ := s.roster.addrOf(raft.ServerID(o.ID)) // gossip knows whom it has just asked
	return addr
}

const (
	// bequeathTime bounds what a leader that gives up does for its successor.
	bequeathTime = 500 * time.Millisecond
	stepDownLook = 5 * time.Millisecond
)

// bequeath makes the server whose log goes furthest stand for election, when this one has led and had to give up. It
// does nothing while this server still leads by its own lights, and where another one leads.
func (s *succession) bequeath() {
	ctx, cancel := context.WithTimeout(context.Background(), bequeathTime)
	defer cancel()
	if !s.steppedDown(ctx) {
		return
	}
	others, _, _ := s.voters(s.id)
	stands := s.ask(ctx, others, api.StandingQuery{})
	followed := 0
	for _, o := range stands {
		switch o.Leader {
		case string(s.id):
			followed++
		case "":
		default:
			return
		}
	}
	if followed == 0 {
		return
	}
	best := furthest(stands)
	s.log.Info("this server gives up the lead, and asks another one to stand for election", "server", best.Name)
	s.raft.appoint(raft.ServerID(best.ID), s.addrOf(best))
}

// steppedDown waits until this server follows nobody and leads nobody, as it is when a leader could not write.
func (s *succession) steppedDown(ctx context.Context) bool {
	look := time.NewTicker(stepDownLook)
	defer look.Stop()
	for s.raft.State() == raft.Leader {
		select {
		case <-look.C:
		case <-ctx.Done():
			return false
		}
	}
	_, leader := s.raft.LeaderWithID()
	return leader == "" || leader == s.id
}
