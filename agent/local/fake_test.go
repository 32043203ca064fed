package local

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curia-mesh/curia/agent/check"
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
)

// servers is a catalog of one node, as the servers have it.
type servers struct {
	took   time.Duration                // of each call
	refuse func(*api.SyncRequest) error // may be nil
	down   func() error                 // may be nil
	token  func(token string) error     // may be nil

	mu       sync.Mutex
	node     *catalog.Node
	services map[string]*catalog.Service
	checks   map[string]*catalog.Check
	syncs    []*api.SyncRequest
	reads    int
}

func newServers() *servers {
	return &servers{services: map[string]*catalog.Service{}, checks: map[string]*catalog.Check{}}
}

func (c *servers) Call(ctx context.Context, call *rpc.Call) (rpc.Answer, error) {
	if c.took > 0 {
		select {
		case <-time.After(c.took):
		case <-ctx.Done():
			return rpc.Answer{}, ctx.Err()
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.down != nil {
		if err := c.down(); err != nil {
			return rpc.Answer{}, err
		}
	}
	if c.token != nil {
		if err := c.token(call.Header.Token); err != nil {
			return rpc.Answer{}, err
		}
	}
	switch call.Method {
	case api.NodeServiceMap.Name:
		c.reads++
		var rep *api.NodeServices
		if c.node != nil {
			rep = &api.NodeServices{Node: c.node, Services: map[string]*catalog.Service{}}
			for id, s := range c.services {
				rep.Services[id] = s
			}
		}
		return rpc.Answer{Body: rpc.NewBody(&rep, nil)}, nil
	case api.HealthNode.Name:
		rep := []*catalog.Check{}
		for _, check := range c.checks {
			rep = append(rep, check)
		}
		return rpc.Answer{Body: rpc.NewBody(&rep, nil)}, nil
	}
	req := call.Body.(*api.SyncRequest)
	c.syncs = append(c.syncs, req)
	if c.refuse != nil {
		if err := c.refuse(req); err != nil {
			return rpc.Answer{}, err
		}
	}
	return rpc.Answer{Body: rpc.NewBody(&api.Nothing{}, nil)}, c.apply(req)
}

func (c *servers) apply(req *api.SyncRequest) error {
	r := &req.Register
	for _, check := range r.Checks {
		added := slices.ContainsFunc(r.Services, func(s *catalog.Service) bool { return s.ID == check.ServiceID })
		if check.ServiceID != "" && !added && c.services[check.ServiceID] == nil {
			return catalog.Errorf(catalog.Invalid, "check %q: service %q is not registered", check.CheckID, check.ServiceID)
		}
	}
	for _, d := range req.Deregister {
		delete(c.services, d.ServiceID)
		delete(c.checks, d.CheckID)
		for id, check := range c.checks {
			if d.ServiceID != "" && check.ServiceID == d.ServiceID {
				delete(c.checks, id)
			}
		}
	}
	if c.node == nil || !r.SkipNodeUpdate {
		c.node = &catalog.Node{ID: r.ID, Node: r.Node, Address: r.Address, Datacenter: r.Datacenter, TaggedAddresses: r.TaggedAddresses, Meta: r.NodeMeta}
	}
	for _, s := range r.Services {
		c.services[s.ID] = s
	}
	for _, check := range r.Checks {
		c.checks[check.CheckID] = check
	}
	return nil
}

func (c *servers) do(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
}

func (c *servers) calls() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.syncs)
}

func (c *servers) service(id string) *catalog.Service {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.services[id]
}

func (c *servers) check(id string) *catalog.Check {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.checks[id]
}

func testConfig(dir string) Config {
	return Config{
		Node:    &catalog.Node{ID: "7d5b9ac0-3f1c-4b52-9ad0-6f3b8e1d2c4a", Node: "n1", Address: "127.0.0.1", Datacenter: "dc1", Meta: map[string]string{"rack": "a"}},
		DataDir: dir, SidecarMinPort: 21000, SidecarMaxPort: 21255, CheckUpdateInterval: 5 * time.Minute,
	}
}

// lines is a log.
type lines struct {
	mu sync.Mutex
	bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(b)
}

func (l *lines) has(words string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Contains(l.Bytes(), []byte(words))
}

// agent is a running State.
type agent struct {
	*State
	t    *testing.T
	log  *lines
	stop func()
}

// run starts the agent of a configuration; prepare, which may be nil, is called before.
func run(t *testing.T, cfg Config, c rpc.Caller, prepare func(*State)) *agent {
	t.Helper()
	log := &lines{}
	s, err := New(cfg, c, slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	if prepare != nil {
		prepare(s)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = s.Run(ctx) }()
	a := &agent{s, t, log, func() { cancel(); <-ended }}
	t.Cleanup(a.stop)
	return a
}

func (a *agent) register(def *catalog.ServiceDefinition) {
	a.t.Helper()
	if err := a.Register(a.t.Context(), def, Options{}); err != nil {
		a.t.Fatal(err)
	}
}

func (a *agent) want(err error, code catalog.Code) {
	a.t.Helper()
	if err == nil || catalog.CodeOf(err) != code {
		a.t.Errorf("error %v, want one of code %s", err, code)
	}
}

// bubble runs a test with its own time.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

func ttlCheck(id string, ttl time.Duration) *catalog.AgentCheck {
	c := &catalog.AgentCheck{CheckID: id, Name: id}
	c.TTL = catalog.Duration(ttl)
	return c
}

func define(id string, checks ...*catalog.AgentCheck) *catalog.ServiceDefinition {
	return &catalog.ServiceDefinition{ID: id, Name: "web", Port: 80, Checks: checks}
}

var _ check.Aliased = aliased{}

// pass lets time go by in a bubble, and all that has to happen in it.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
