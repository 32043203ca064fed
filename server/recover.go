package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/hashicorp/raft"

	"github.com/curia-mesh/curia/rpc/durable"
	"github.com/curia-mesh/curia/server/raftstore"
	"github.com/curia-mesh/curia/server/snapstore"
)

// peersFile, when it is in the directory of Raft's log, replaces the servers of the cluster at the next start.
// Source: https://developer.hashicorp.com/consul/tutorials/operate-consul/recovery-outage (manual recovery)
const peersFile = "peers.json"

// Member is a server of a cluster as a data directory has it.
type Member struct {
	ID       string `json:"id"`
	Address  string `json:"address"`
	NonVoter bool   `json:"non_voter"`
}

// Past is what the data directory of a server that does not run says of its cluster.
type Past struct {
	Members   []Member // of the newest configuration in the log
	LastIndex uint64
	LastTerm  uint64
}

// ReadPast reads the data directory of a server that does not run.
func ReadPast(dataDir, backend string) (_ *Past, err error) {
	dir := filepath.Join(dataDir, "raft")
	if _, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("%s holds no raft log of a server: %w", dataDir, err)
	}
	log, err := openLog(dir, Config{LogStore: LogConfig{Backend: backend}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	snapshots, err := snapstore.Open(filepath.Join(dir, "snapshots"), snapstore.Options{Keep: keptSnapshots, Doubt: log.Refuse, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	p := &Past{}
	taken, err := snapshots.List()
	if err != nil {
		return nil, err
	}
	if len(taken) > 0 {
		p.LastIndex, p.LastTerm = taken[0].Index, taken[0].Term
		p.set(taken[0].Configuration)
	}
	return p, p.readLog(log)
}

func (p *Past) readLog(log raftstore.Log) error {
	first, err := log.FirstIndex()
	if err != nil {
		return err
	}
	last, err := log.LastIndex()
	if err != nil || last == 0 {
		return err
	}
	entry := new(raft.Log)
	for i := first; i <= last; i++ {
		if err := log.GetLog(i, entry); err != nil {
			return err
		}
		if entry.Type == raft.LogConfiguration {
			p.set(raft.DecodeConfiguration(entry.Data))
		}
	}
	p.LastIndex, p.LastTerm = max(p.LastIndex, last), max(p.LastTerm, entry.Term)
	return nil
}

func (p *Past) set(c raft.Configuration) {
	p.Members = nil
	for _, s := range c.Servers {
		p.Members = append(p.Members, Member{string(s.ID), string(s.Address), s.Suffrage != raft.Voter})
	}
}

// PlanRecovery makes the next start of a server in dataDir replace the members of its cluster.
func PlanRecovery(dataDir string, members []Member) (path string, err error) {
	text, err := json.MarshalIndent(members, "", "  ")
	if err != nil {
		return "", err
	}
	path = filepath.Join(dataDir, "raft", peersFile)
	return path, durable.Write(path, append(text, '\n'), 0o600)
}

// recover replaces the members of the cluster by those that an operator has named in peers.json, which is removed
// when that is done.
func (n *raftNode) recover(settings *raft.Config, logs raft.LogStore, stable raft.StableStore, spare raft.FSM) error {
	if n.cfg.DataDir == "" {
		return nil
	}
	path := filepath.Join(n.cfg.DataDir, "raft", peersFile)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	members, err := raft.ReadConfigJSON(path)
	if err != nil {
		return fmt.Errorf("recovery by %s: %w; it lists servers as [{\"id\": \"…\", \"address\": \"ip:port\", \"non_voter\": false}]", path, err)
	}
	if !slices.ContainsFunc(members.Servers, func(s raft.Server) bool { return s.ID == settings.LocalID }) {
		return fmt.Errorf("recovery by %s: this server's id, %s, is not in it", path, settings.LocalID)
	}
	if past, err := raft.HasExistingState(logs, stable, n.snapshots); err != nil || !past {
		return errors.Join(err, fmt.Errorf("recovery by %s: this server has no raft log to recover a cluster from: remove the file", path))
	}
	if err := raft.RecoverCluster(settings, spare, logs, stable, n.snapshots, n.transport, members); err != nil {
		return fmt.Errorf("recovery by %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("recovery is done and its plan must not be read again: %w", err)
	}
	n.cfg.Log.Warn("the cluster's members were replaced by those of peers.json", "servers", len(members.Servers))
	return nil
}
