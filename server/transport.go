package server

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// raftTransport is Raft's own with three changes. A leader that cannot connect to a follower tries again and again, and so
// meets it as soon as it is back: Raft would pause after each failure, in the end for 10 s. A pipeline ends with the first
// answer that ends it for Raft, see pipeline. And followers that answer extend the leader's lease.
type raftTransport struct {
	*raft.NetworkTransport
	dialing context.Context
	lease   *lease
}

const (
	redial     = 100 * time.Millisecond
	redialTime = 10 * time.Second
)

// AppendEntries implements raft.Transport.
func (t *raftTransport) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	ctx, cancel := context.WithTimeout(t.dialing, redialTime)
	defer cancel()
	again := time.NewTicker(redial)
	defer again.Stop()
	for {
		at := t.lease.now()
		err := t.NetworkTransport.AppendEntries(id, target, args, resp)
		if err == nil && resp.Term == args.Term {
			t.lease.answered(id, args.Term, at)
		}
		if !errors.Is(err, errDial) {
			return err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return err
		}
	}
}

// AppendEntriesPipeline implements raft.Transport.
func (t *raftTransport) AppendEntriesPipeline(id raft.ServerID, target raft.ServerAddress) (raft.AppendPipeline, error) {
	inner, err := t.NetworkTransport.AppendEntriesPipeline(id, target)
	if err != nil {
		return nil, err
	}
	p := &pipeline{AppendPipeline: inner, answers: make(chan raft.AppendFuture), closed: make(chan struct{})}
	go p.relay() // ends with Close, or the answer that ends the pipeline
	return p, nil
}

// pipeline is what a leader sends entries by without waiting for each answer. Raft has one goroutine that sends
// and one that takes answers, of which the latter ends with the first refusal. If the former has two more under way it
// then waits for good, in Raft and in its Shutdown: nobody takes their answers, and nobody but itself would close the
// pipeline. So a refusal closes it.
type pipeline struct {
	raft.AppendPipeline
	answers chan raft.AppendFuture
	once    sync.Once
	closed  chan struct{}
}

// Consumer implements raft.AppendPipeline.
func (p *pipeline) Consumer() <-chan raft.AppendFuture { return p.answers }

// Close implements raft.AppendPipeline.
func (p *pipeline) Close() error {
	p.once.Do(func() { close(p.closed) })
	return p.AppendPipeline.Close()
}

func (p *pipeline) relay() {
	for {
		select {
		case a := <-p.AppendPipeline.Consumer():
			refused := a.Error() != nil || !a.Response().Success || a.Response().Term > a.Request().Term
			select {
			case p.answers <- a:
			case <-p.closed:
				return
			}
			if refused {
				_ = p.AppendPipeline.Close() // which never fails
				return
			}
		case <-p.closed:
			return
		}
	}
}
