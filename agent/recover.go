package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/curia-mesh/curia/agent/config"
	"github.com/curia-mesh/curia/server"
	"github.com/curia-mesh/curia/server/raftstore"
)

// Recovery replaces the members of a cluster that has lost its quorum for good, from the data directory of one of
// its servers, which must not run.
type Recovery struct {
	DataDir string
	ID      string // of the server whose directory it is
	Past    *server.Past
	// Keep are the members that the cluster is to have: those that were named, else the server alone.
	Keep []server.Member
}

// PlanRecovery reads the data directory and checks whom to keep, each as "id" or "id=address".
func PlanRecovery(dataDir string, keep []string) (*Recovery, error) {
	lock, err := raftstore.Lock(dataDir, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: stop the agent first", dataDir, err)
	}
	defer lock.Close()
	r := &Recovery{DataDir: dataDir}
	if r.ID, err = (&config.Config{DataDir: dataDir}).ResolveNodeID(); err != nil {
		return nil, err
	}
	if r.Past, err = server.ReadPast(dataDir, ""); err != nil {
		return nil, err
	}
	if len(keep) == 0 {
		keep = []string{r.ID}
	}
	for _, text := range keep {
		m, err := r.member(text)
		if err != nil {
			return nil, err
		}
		r.Keep = append(r.Keep, m)
	}
	for _, m := range r.Keep {
		if m.ID == r.ID {
			return r, nil
		}
	}
	return nil, fmt.Errorf("the server of %s, %s, must be among those that are kept: only what is in its log is recovered", dataDir, r.ID)
}

func (r *Recovery) member(text string) (server.Member, error) {
	id, addr, named := strings.Cut(text, "=")
	for _, m := range r.Past.Members {
		if m.ID == id && named {
			m.Address = addr
		}
		if m.ID == id {
			return m, nil
		}
	}
	if !named {
		return server.Member{}, fmt.Errorf("the log in %s knows no server %q: name its address too, as %s=ip:port", r.DataDir, id, id)
	}
	return server.Member{ID: id, Address: addr}, nil
}

// Do makes the next start of the server replace the members.
func (r *Recovery) Do(context.Context) (path string, err error) {
	if len(r.Past.Members) == 0 && r.Past.LastIndex == 0 {
		return "", errors.New("there is nothing to recover: this server has never been in a cluster")
	}
	return server.PlanRecovery(r.DataDir, r.Keep)
}
