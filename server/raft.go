package server

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/fsm"
	"github.com/curia-mesh/curia/server/raftstore"
	"github.com/curia-mesh/curia/server/snapstore"
)

// raftNode is Raft with what it stands on.
type raftNode struct {
	*raft.Raft
	cfg       Config
	transport *raftTransport
	disk      raftstore.Log // nil in memory
	logs      raft.LogStore
	snapshots raft.SnapshotStore
	elected   chan bool
	roster    *roster
	open      atomic.Bool // Raft is there
	ending    atomic.Bool
	port      *raftPort
	saving    sync.Mutex // held while a snapshot is taken to be sent
	lease     *lease
	writes    *gate // entered by those under way, and shut by a transfer of the leadership
}

// quiet keeps to itself that connections break while the server ends.
type quiet struct {
	hclog.Logger
	ending *atomic.Bool
}

// Error implements hclog.Logger.
func (q quiet) Error(msg string, args ...any) {
	if !q.ending.Load() {
		q.Logger.Error(msg, args...)
	}
}

const (
	keptSnapshots = 2
	// electionBase is Raft's heartbeat and election timeout at a multiplier of 1. A follower notices a dead leader
	// after 1 to 3 of them, and the slower one of two decides: at 750 ms, writes stand still for about 1.6 s.
	electionBase = 750 * time.Millisecond
	// leaseBase is for how long a leader that hears of no majority goes on to answer, at a multiplier of 1.
	leaseBase = electionBase / 2
	// endTimeout bounds the wait for what may hang in the disk.
	endTimeout = 10 * time.Second
	// maxBatch entries share one write to the log.
	maxBatch = 256
)

// openRaft starts Raft over machine. spare makes another one, for a recovery to read the log with.
func openRaft(cfg Config, machine *fsm.FSM, spare func() *fsm.FSM, port net.Listener, roster *roster) (*raftNode, error) {
	n := &raftNode{cfg: cfg, elected: make(chan bool, 8), roster: roster, writes: newGate()}
	n.port = newRaftPort(port, cfg)
	n.lease = newLease(cfg.stretched(leaseBase), n.otherVoters)
	n.transport = &raftTransport{raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: n.port, MaxPool: 3, Timeout: 10 * time.Second, Logger: quiet{cfg.RaftLog, &n.ending},
		ServerAddressProvider: addresses{roster, n.configured},
	}), n.port.dialing, n.lease}
	if err := n.start(machine, spare); err != nil {
		return nil, errors.Join(err, n.transport.Close(), n.closeDisk())
	}
	return n, nil
}

func (n *raftNode) start(machine *fsm.FSM, spare func() *fsm.FSM) error {
	logs, stable, err := n.openStores()
	if err != nil {
		return err
	}
	n.logs = logs
	settings := n.settings()
	if err := n.recover(settings, logs, stable, spare()); err != nil {
		return err
	}
	if err := n.bootstrap(settings, logs, stable); err != nil {
		return err
	}
	guarded := &loading{FSM: machine}
	node, err := raft.NewRaft(settings, guarded, logs, stable, n.snapshots, n.transport)
	if err != nil && guarded.err != nil {
		return fmt.Errorf("loading the newest snapshot in %s: %w; run the version that wrote it, or put back raft from a backup, or start with an empty data_dir and restore a snapshot archive", filepath.Join(n.cfg.DataDir, "raft", "snapshots"), guarded.err)
	} else if err != nil {
		return fmt.Errorf("starting raft in %s: %w", n.cfg.DataDir, err)
	}
	n.Raft = node
	n.open.Store(true)
	return nil
}

// stretched is a time of Raft's on this machine, of what it is at a multiplier of 1.
func (c *Config) stretched(base time.Duration) time.Duration {
	return time.Duration(max(c.RaftMultiplier, 1)) * base
}

func (n *raftNode) settings() *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(n.cfg.NodeID)
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = n.cfg.stretched(electionBase), n.cfg.stretched(electionBase), n.cfg.stretched(leaseBase)
	c.BatchApplyCh, c.MaxAppendEntries = true, maxBatch
	c.NotifyCh = n.elected
	c.Logger = n.cfg.RaftLog
	c.NoLegacyTelemetry = true
	c.SnapshotThreshold, c.SnapshotInterval, c.TrailingLogs = n.cfg.Pace.or(c.SnapshotThreshold, c.SnapshotInterval, c.TrailingLogs)
	return c
}

// openStores opens the log, the stable store and the snapshots: in the data directory, or in memory.
func (n *raftNode) openStores() (raft.LogStore, raft.StableStore, error) {
	if n.cfg.DataDir == "" {
		memory := raft.NewInmemStore()
		n.snapshots = raft.NewInmemSnapshotStore()
		return memory, memory, nil
	}
	dir := filepath.Join(n.cfg.DataDir, "raft")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("data directory: %w", err)
	}
	disk, err := openLog(dir, n.cfg)
	if err != nil {
		return nil, nil, err
	}
	if wrap := n.cfg.LogStore.Wrap; wrap != nil {
		disk = wrap(disk)
	}
	n.disk = disk
	snapshots, err := snapstore.Open(filepath.Join(dir, "snapshots"), snapstore.Options{Keep: keptSnapshots, Doubt: disk.Refuse, Logger: n.cfg.Log})
	if err != nil {
		return nil, nil, err
	}
	n.snapshots = snapshots
	return disk, disk, n.settlePast(snapshots, disk) // a log which keeps the newest entries in memory itself
}

// bootstrap makes a server without a past a cluster of its own, when it is told to.
func (n *raftNode) bootstrap(settings *raft.Config, logs raft.LogStore, stable raft.StableStore) error {
	past, err := raft.HasExistingState(logs, stable, n.snapshots)
	if err != nil {
		return fmt.Errorf("reading the raft state in %s: %w", n.cfg.DataDir, err)
	}
	if past || n.cfg.Expect != 1 {
		return nil
	}
	alone := raft.Configuration{Servers: []raft.Server{{ID: settings.LocalID, Address: n.transport.LocalAddr()}}}
	if err := raft.BootstrapCluster(settings, logs, stable, n.snapshots, n.transport, alone); err != nil {
		return fmt.Errorf("bootstrapping raft: %w", err)
	}
	return nil
}

// electSelf spares a lone voter the wait for a leader that cannot exist.
func (n *raftNode) electSelf() {
	if servers := n.servers(); len(servers) == 1 && servers[0].ID == raft.ServerID(n.cfg.NodeID) {
		n.standForElection()
	}
}

// standForElection makes this server a candidate at once.
func (n *raftNode) standForElection() {
	n.appoint(raft.ServerID(n.cfg.NodeID), n.transport.LocalAddr())
}

// appoint makes a server a candidate at once, by the message that a leader hands over by.
func (n *raftNode) appoint(id raft.ServerID, addr raft.ServerAddress) {
	if id != raft.ServerID(n.cfg.NodeID) {
		n.lease.bar(transferTime)
	}
	args := &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{
		ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(n.cfg.NodeID), Addr: []byte(n.transport.LocalAddr()),
	}}
	if err := n.transport.TimeoutNow(id, addr, args, new(raft.TimeoutNowResponse)); err != nil {
		n.cfg.Log.Debug("could not ask for an early election", "server", id, "err", err)
	}
}

// transferTime is for how long after a transfer of the leadership the one that it was offered to may yet be elected.
const transferTime = 10 * time.Second

// transfer runs a transfer of the leadership when no write is under way: a new leader may be elected before the old
// one knows that the last entries are committed, and whoever wrote them would hear that nobody knows.
func (n *raftNode) transfer(begin func() raft.Future) raft.Future {
	n.writes.shut()
	defer n.writes.open()
	n.lease.bar(transferTime)
	done := begin()
	_ = done.Error() // which the caller asks for again
	n.lease.bar(transferTime)
	return done
}

// close ends Raft and gives its disk back. A disk that hangs does not keep the process from ending: what
// waits for it is left behind then.
func (n *raftNode) close() error {
	n.ending.Store(true)
	n.port.stopDialing()
	ended := make(chan error, 1)
	go func() { ended <- n.Shutdown().Error() }() // ends when Raft has
	select {
	case err := <-ended:
		return errors.Join(err, n.transport.Close(), n.closeDisk())
	case <-time.After(endTimeout):
		n.transport.Close()
		return fmt.Errorf("raft in %s did not end within %v: its disk may hang", n.cfg.DataDir, endTimeout)
	}
}

func (n *raftNode) closeDisk() error {
	if n.disk == nil {
		return nil
	}
	return n.disk.Close()
}

// servers are those of Raft's newest configuration, none when this server is in no cluster.
func (n *raftNode) servers() []raft.Server {
	if !n.open.Load() {
		return nil
	}
	return n.GetConfiguration().Configuration().Servers // which never fails, also after the end
}

func (n *raftNode) voters() int {
	voters := 0
	for _, s := range n.servers() {
		if s.Suffrage == raft.Voter {
			voters++
		}
	}
	return voters
}

// otherVoters are those without this server.
func (n *raftNode) otherVoters() []raft.ServerID {
	var others []raft.ServerID
	for _, s := range n.servers() {
		if s.Suffrage == raft.Voter && s.ID != raft.ServerID(n.cfg.NodeID) {
			others = append(others, s.ID)
		}
	}
	return others
}

// confirm blocks until a quorum has agreed that this server leads.
func (n *raftNode) confirm() error {
	at := n.lease.now()
	err := n.VerifyLeader().Error()
	if err == nil {
		n.lease.confirmed(at)
	}
	return err
}

// configured is where Raft's configuration says that a server is.
func (n *raftNode) configured(id raft.ServerID) (raft.ServerAddress, bool) {
	for _, s := range n.servers() {
		if s.ID == id {
			return s.Address, true
		}
	}
	return "", false
}

// standing is what Raft can say of how this server stands.
func (n *raftNode) standing() *api.Standing {
	_, leader := n.LeaderWithID()
	s := &api.Standing{Leader: string(leader), LastTerm: n.lastTerm(), LastIndex: n.LastIndex(), LastContact: -1}
	for _, m := range n.servers() {
		s.Servers = append(s.Servers, string(m.ID))
	}
	if last := n.LastContact(); n.State() == raft.Leader {
		s.LastContact = 0
	} else if !last.IsZero() {
		s.LastContact = time.Since(last)
	}
	return s
}

// lastTerm is that of the last log entry.
func (n *raftNode) lastTerm() uint64 {
	term, _ := strconv.ParseUint(n.Stats()["last_log_term"], 10, 64)
	return term
}
