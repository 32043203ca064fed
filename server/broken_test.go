package server_test

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/curia-mesh/curia/server"
	"github.com/curia-mesh/curia/server/raftstore"
)

// broken is a log whose disk fails from some moment on.
type broken struct {
	raftstore.Log
	once   sync.Once
	failed chan struct{}
}

var errNoSpace = errors.New("no space left on device")

func (b *broken) fail() { b.once.Do(func() { close(b.failed) }) }

// Failed implements raftstore.Log.
func (b *broken) Failed() <-chan struct{} { return b.failed }

// Err implements raftstore.Log.
func (b *broken) Err() error { return errNoSpace }

// StoreLogs implements raft.LogStore.
func (b *broken) StoreLogs(logs []*raft.Log) error {
	select {
	case <-b.failed:
		return errNoSpace
	default:
		return b.Log.StoreLogs(logs)
	}
}

// StoreLog implements raft.LogStore.
func (b *broken) StoreLog(log *raft.Log) error { return b.StoreLogs([]*raft.Log{log}) }

// The successor of a leader whose disk has failed is elected before anybody finds that the leader is silent.
func TestLeaderWithABrokenDiskAppointsAnother(t *testing.T) {
	var mu sync.Mutex
	logs, raftLog := map[string]*broken{}, newLines()
	_, nodes := three(t, func(c *server.Config) {
		name := c.NodeName
		c.RaftLog = hclog.New(&hclog.LoggerOptions{Output: raftLog})
		c.LogStore.Wrap = func(log raftstore.Log) raftstore.Log {
			mu.Lock()
			defer mu.Unlock()
			logs[name] = &broken{Log: log, failed: make(chan struct{})}
			return logs[name]
		}
	})
	l := leader(t, nodes...)
	rest := followers(nodes, l)
	put(t, rest[0].Server, "k", "1")
	l.fails = "no space left on device"
	logs[l.cfg.NodeName].fail()
	for write(rest[0].Server, "k", "2") != nil { // those that the old leader had taken fail, and nobody knows whether they count
	}
	l.log.wait(t, "asks another one to stand for election")
	if now := leader(t, rest...); now == l {
		t.Errorf("%s still leads", l.cfg.NodeName)
	}
	if got, _ := get(t, rest[1].Server, "k"); got != "2" {
		t.Errorf("k = %q", got)
	}
	l.stop()
	if strings.Contains(raftLog.String(), "heartbeat timeout reached") {
		t.Error("the others waited for their heartbeat timeout")
	}
}

// Connections that end are no reason to depose a leader that lives.
func TestLeaderThatHangsUpGoesOnLeading(t *testing.T) {
	_, nodes := three(t, func(c *server.Config) { c.RaftMultiplier = 4 })
	l := leader(t, nodes...)
	put(t, l.Server, "k", "0")
	term := l.RaftStats()["term"]
	for range 5 {
		l.HangUp()
		for _, n := range nodes {
			put(t, n.Server, "k", n.cfg.NodeName)
		}
	}
	if now := l.RaftStats()["term"]; l.State() != raft.Leader || now != term {
		t.Errorf("%s in term %s, was the leader in term %s", l.State(), now, term)
	}
}
