package testkit

import (
	"context"
	"testing"
	"time"

	"github.com/curia-mesh/curia/agent"
	"github.com/curia-mesh/curia/agent/config"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/server"
)

// Agent is an agent that runs in this process.
type Agent struct {
	*Node
	Log    *Log
	reload chan struct{}
	agent  *agent.Agent
	stop   context.CancelCauseFunc
	done   chan struct{} // closed when it has ended
	err    error         // what it ended with
}

// Start runs the node's agent in this process until Stop or the end of the test, and waits until it is ready.
func (n *Node) Start(t testing.TB) *Agent {
	t.Helper()
	a := &Agent{Node: n, Log: newLog(), reload: make(chan struct{}, 1), done: make(chan struct{})}
	var err error
	a.agent, err = agent.Open(t.Context(), agent.Options{
		Args:  config.Args{Dev: n.Dev, Paths: []string{n.Config()}, Getenv: func(string) string { return "" }},
		Build: agent.Build{Version: "1.21.4"}, Out: a.Log, Reload: a.reload,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancelCause(context.Background())
	a.stop = stop
	go func() { // ends with the agent
		defer close(a.done)
		defer a.Log.end()
		a.err = a.agent.Run(ctx)
	}()
	t.Cleanup(func() { a.Stop(t) })
	a.Log.Wait(t, "agent: ready: ")
	return a
}

// Server is the server in the agent.
func (a *Agent) Server() *server.Server { return a.agent.Server() }

// Store is what the server knows.
func (a *Agent) Store() *state.Store { return a.agent.Server().Store() }

// Reload makes the agent read its configuration anew and waits until it has.
func (a *Agent) Reload(t testing.TB) {
	t.Helper()
	a.reload <- struct{}{}
	a.Log.Wait(t, "configuration reloaded")
}

// Stop checks the store's invariants and ends the agent, if it has not ended before.
func (a *Agent) Stop(t testing.TB) {
	t.Helper()
	if s := a.agent.Server(); s != nil {
		for _, wrong := range s.Store().Check() {
			t.Error("invariant:", wrong)
		}
	}
	a.stop(nil)
	select {
	case <-a.done:
	case <-time.After(patience):
		t.Fatalf("the agent does not end; the end of its log:\n%s", a.Log.Tail())
	}
	if a.err != nil {
		t.Errorf("the agent ended with: %v", a.err)
		a.err = nil
	}
}
