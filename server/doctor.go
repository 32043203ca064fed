package server

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/curia-mesh/curia/rpc/gossip"
)

// doctor says why there is no leader: what was expected, what is there, and what to do.
type doctor struct {
	id      raft.ServerID
	roster  *roster
	raft    *raftNode
	founder *founder
	leaders *signal
	log     *slog.Logger
}

// plightGrace is how long there may be no leader before that is told: longer than an election takes.
const plightGrace = 5 * time.Second

// run says in the log, once and then with each change, why there is no leader, until ctx ends.
func (d *doctor) run(ctx context.Context) error {
	told := ""
	look := time.NewTimer(plightGrace)
	defer look.Stop()
	for {
		changed, led := d.roster.changed.wait(), d.leaders.wait()
		if d.leaderID() != "" && told != "" {
			d.log.Info("there is a leader again", "leader", d.roster.name(d.leaderID()))
			told = ""
		}
		select {
		case <-ctx.Done():
			return nil
		case <-led:
			look.Reset(plightGrace)
			continue
		case <-changed:
			if told == "" {
				continue // its time comes
			}
		case <-look.C:
			look.Reset(plightGrace)
		}
		if d.leaderID() != "" || len(d.raft.servers()) == 0 { // the founder says what it waits for
			continue
		}
		if plight := d.plight(); plight != told {
			told = plight
			d.log.Error("no cluster leader", "because", plight)
		}
	}
}

func (d *doctor) leaderID() raft.ServerID {
	_, id := d.raft.LeaderWithID()
	return id
}

// plight says why there may be no leader.
func (d *doctor) plight() string {
	servers := d.raft.servers()
	if len(servers) == 0 {
		if waits := d.founder.waitsFor(); waits != "" {
			return waits
		}
		return "this server is in no cluster yet: start it with bootstrap_expect, or join it to one"
	}
	if !slices.ContainsFunc(servers, func(s raft.Server) bool { return s.ID == d.id }) {
		return fmt.Sprintf("the cluster that this server's raft log knows does not have it, its node id is %s: was it removed, or was node-id in data_dir lost or changed? Its leader takes it in when it joins", d.id)
	}
	return d.quorum(servers)
}

// quorum says which voters are there and which are missing.
func (d *doctor) quorum(servers []raft.Server) string {
	known := d.roster.byID()
	voters := 0
	var here, missing []string
	for _, s := range servers {
		if s.Suffrage != raft.Voter {
			continue
		}
		voters++
		g, found := known[string(s.ID)]
		switch {
		case s.ID == d.id || found && g.Status == gossip.StatusAlive:
			here = append(here, d.roster.name(s.ID))
		case !found:
			missing = append(missing, fmt.Sprintf("%s last at %s, not heard of by gossip", s.ID, s.Address))
		default:
			missing = append(missing, fmt.Sprintf("%s at %s, %s", g.Name, g.Addr, g.Status))
		}
	}
	slices.Sort(here)
	slices.Sort(missing)
	need := voters/2 + 1
	if len(here) < need {
		return fmt.Sprintf("%d of %d voters are needed and %d here: %s; missing: %s. Start them again, at whatever address, with retry_join to this one; if they are lost for good see operator raft recover",
			need, voters, len(here), strings.Join(here, ", "), strings.Join(missing, "; "))
	}
	return fmt.Sprintf("%d of %d voters are here (%s) and none has won an election yet: if it stays so, see whether the servers reach one another's port for RPC", len(here), voters, strings.Join(here, ", "))
}
