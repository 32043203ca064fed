package replica_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/endpoint"
	"github.com/curia-mesh/curia/server/handler"
	"github.com/curia-mesh/curia/server/replica"
)

// place is a lone leader of a datacenter, whose log is the call of Propose.
type place struct {
	*endpoint.Registry
	name  string
	store *state.Store
	log   lines

	mu    sync.Mutex
	index uint64
}

// lines are what was logged.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), text)
}

// newPlace runs until the test ends.
func newPlace(t testing.TB, name string, index uint64) *place {
	p := &place{name: name, store: state.New(), index: index}
	p.Registry = endpoint.New(p, p.store)
	handler.Register(p.Registry, handler.Deps{Datacenter: name, Store: p.store, Mesh: true, Sessions: noTimers{}, ACL: handler.ACL{Enabled: true}})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { // ends with the test
		defer close(done)
		_ = p.Run(ctx) // it ends when it is told to
	}()
	t.Cleanup(func() {
		stop()
		<-done
		for _, wrong := range p.store.Check() {
			t.Error(name, "invariant:", wrong)
		}
	})
	return p
}

// noTimers let sessions live for ever.
type noTimers struct{}

func (noTimers) Start(*catalog.Session) <-chan struct{} { return nil }
func (noTimers) Stop(string)                            {}

func (p *place) Propose(_ context.Context, entry []byte) (any, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.index++
	tx := p.store.Write(p.index)
	reply, err := p.Apply(tx, entry)
	if err != nil {
		tx.Abort()
		return nil, err
	}
	tx.Commit()
	return reply, nil
}

func (p *place) Applied() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.index
}

func (p *place) Datacenter() string                { return p.name }
func (p *place) Primary() string                   { return p.name }
func (p *place) Leading() bool                     { return true }
func (p *place) Leader() (rpc.Caller, error)       { return nil, nil }
func (p *place) Remote(string) (rpc.Caller, error) { return nil, nil }
func (p *place) Confirm(context.Context) error     { return nil }
func (p *place) Leased() bool                      { return true }
func (p *place) Contact() (time.Duration, bool)    { return 0, true }
func (p *place) CaughtUp() bool                    { return true }

func (p *place) AwaitLeader(context.Context, rpc.Caller, time.Time) error { return nil }
func (p *place) Authorize(context.Context, string) (acl.Authorizer, error) {
	return acl.AllowAll(), nil
}

// entry writes a config entry.
func (p *place) entry(t *testing.T, name, protocol string) {
	t.Helper()
	e := &catalog.ServiceDefaults{EntryHead: catalog.EntryHead{Kind: catalog.EntryServiceDefaults, Name: name}, Protocol: protocol}
	if _, _, err := api.ConfigApply.Call(t.Context(), p.Registry, rpc.Header{}, &api.ConfigWrite{Op: api.ConfigSet, Entry: *catalog.AnyOf(e)}); err != nil {
		t.Fatal(err)
	}
}

func (p *place) dropEntry(t *testing.T, name string) {
	t.Helper()
	e := &catalog.ServiceDefaults{EntryHead: catalog.EntryHead{Kind: catalog.EntryServiceDefaults, Name: name}}
	if _, _, err := api.ConfigApply.Call(t.Context(), p.Registry, rpc.Header{}, &api.ConfigWrite{Op: api.ConfigDelete, Entry: *catalog.AnyOf(e)}); err != nil {
		t.Fatal(err)
	}
}

// policy writes a policy and returns its id.
func (p *place) policy(t *testing.T, id, name string) string {
	t.Helper()
	op := api.ACLUpdate
	if id == "" {
		op = api.ACLCreate
	}
	done, _, err := api.PolicyApply.Call(t.Context(), p.Registry, rpc.Header{}, &api.PolicyWrite{Op: op, Policy: catalog.Policy{ID: id, Name: name, Rules: `operator = "read"`}})
	if err != nil {
		t.Fatal(err)
	}
	return done.ID
}

func (p *place) token(t *testing.T, description string, local bool, policy string) string {
	t.Helper()
	done, _, err := api.TokenApply.Call(t.Context(), p.Registry, rpc.Header{}, &api.TokenWrite{Op: api.ACLCreate, Token: catalog.Token{
		Description: description, Local: local, Policies: []catalog.Link{{ID: policy}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return done.AccessorID
}

// anonymous makes the anonymous token, with a policy.
func (p *place) anonymous(t *testing.T, policy string) {
	t.Helper()
	seed := handler.Seed(p.store.Read(), "", false, time.Now())
	seed.Policies = nil
	seed.Tokens[0].Policies = []catalog.Link{{ID: policy}}
	if _, _, err := api.ACLSeedApply.Call(t.Context(), p.Registry, rpc.Header{}, seed); err != nil {
		t.Fatal(err)
	}
}

func (p *place) cluster(t *testing.T, id string) {
	t.Helper()
	w := &api.CAWrite{Config: &catalog.CAConfig{Provider: "consul", ClusterID: id}}
	if old := state.CA(p.store.Read(), nil); old != nil {
		w.CAS = old.ModifyIndex
	}
	if _, _, err := api.CAStore.Call(t.Context(), p.Registry, rpc.Header{}, w); err != nil {
		t.Fatal(err)
	}
}

// says is everything of the copied kinds, as text.
func (p *place) says() string {
	tx := p.store.Read()
	var b strings.Builder
	for _, kind := range []catalog.ReplicaKind{catalog.ReplicaPolicies, catalog.ReplicaRoles, catalog.ReplicaTokens, catalog.ReplicaEntries} {
		keys, _ := state.ReplicaKeys(tx, nil, kind)
		fmt.Fprintln(&b, kind, keys)
	}
	return b.String()
}

// way leads to the primary datacenter.
type way struct {
	mu  sync.Mutex
	to  *place
	cut bool
	// hangs is how many of the next calls do not come back before release is closed.
	hangs   int
	release chan struct{}
	// ill returns what is answered in place of the truth, nil for that; sent counts the bytes that go either way. Both may be
	// nil.
	ill  func(*rpc.Call, rpc.Answer) any
	sent *int
}

func (w *way) set(change func(*way)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(w)
}

func (w *way) Call(ctx context.Context, call *rpc.Call) (rpc.Answer, error) {
	w.mu.Lock()
	to, cut, hang, ill, sent := w.to, w.cut, w.hangs > 0, w.ill, w.sent
	if hang {
		w.hangs--
	}
	w.mu.Unlock()
	switch {
	case cut:
		return rpc.Answer{}, catalog.Errorf(catalog.NoPath, "No path to datacenter %q", call.Header.Datacenter)
	case hang: // however long the time of the call is over
		<-w.release
		return rpc.Answer{}, ctx.Err()
	}
	here := *call
	here.Header.Datacenter = ""
	answer, err := to.Registry.Call(ctx, &here)
	if sent != nil && err == nil {
		asked, _ := rpc.Encode(call.Body)
		told, _ := rpc.Encode(answer.Value())
		w.set(func(*way) { *sent += len(asked) + len(told) })
	}
	if ill != nil && err == nil {
		if lie := ill(call, answer); lie != nil {
			answer.Body = rpc.NewBody(lie, nil)
		}
	}
	return answer, err
}

// follow copies dc1 to two until the test ends.
func follow(t *testing.T, one, two *place) (*replica.Replica, *way) {
	t.Helper()
	w := &way{to: one}
	r := replica.New(replica.Config{
		Datacenter: two.name, Primary: func() string { return "dc1" }, Ask: func() rpc.Header { return rpc.Header{Datacenter: "dc1"} }, Abroad: w, ACL: true, Tokens: true,
		Log: slog.New(slog.NewTextHandler(&two.log, nil)),
	}, two.store, two.Registry.Duties())
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { // ends with the test
		defer close(done)
		r.Run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-done
	})
	return r, w
}

// same wants two datacenters to say the same, after a while of virtual time.
func same(t *testing.T, one, two *place, after time.Duration) {
	t.Helper()
	time.Sleep(after)
	synctest.Wait()
	if a, b := one.says(), two.says(); a != b {
		t.Errorf("the primary has\n%sthe secondary\n%s", a, b)
	}
}

// TestCopy: all kinds follow the primary, in whatever order they change, and what is local stays.
func TestCopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := newPlace(t, "dc1", 100), newPlace(t, "dc2", 10)
		a, b := one.policy(t, "", "a"), one.policy(t, "", "b")
		gone := one.token(t, "gone", false, a)
		for i := range 300 {
			one.token(t, fmt.Sprint("t", i), false, a)
		}
		one.token(t, "of the primary alone", true, b)
		one.entry(t, "web", "http")
		one.anonymous(t, a)
		follow(t, one, two)
		same(t, one, two, 5*time.Second)
		if anonymous := state.TokenOf(two.store.Read(), nil, catalog.AnonymousSecret); anonymous == nil || len(anonymous.Policies) != 1 {
			t.Errorf("the anonymous token is %+v", anonymous)
		}
		local := two.token(t, "here", true, a)

		one.policy(t, a, "c")
		one.policy(t, b, "a")
		one.policy(t, a, "b") // now a and b have changed names
		one.entry(t, "web", "tcp")
		one.entry(t, "db", "http")
		one.dropEntry(t, "web")
		if _, _, err := api.TokenRemove.Call(t.Context(), one.Registry, rpc.Header{}, &api.TokenDelete{AccessorID: gone}); err != nil {
			t.Fatal(err)
		}
		same(t, one, two, 5*time.Second)
		if kept, _ := state.Token(two.store.Read(), nil, local); kept == nil || kept.Policies[0].Name != "b" {
			t.Errorf("the local token is %+v", kept)
		}
		index := two.Applied()
		time.Sleep(time.Hour)
		if now := two.Applied(); now != index {
			t.Errorf("%d entries of the log for nothing new", now-index)
		}
	})
}

// TestJoinRefuses: a datacenter with data of its own copies nothing until that is written to the primary, or given up, and
// says what it is.
func TestJoinRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := newPlace(t, "dc1", 100), newPlace(t, "dc2", 10)
		one.entry(t, "web", "http")
		one.entry(t, "api", "http")
		two.entry(t, "web", "tcp")
		two.entry(t, "old", "tcp")
		before := two.says()
		r, _ := follow(t, one, two)
		time.Sleep(time.Minute)
		if two.says() != before {
			t.Error("something was changed")
		}
		loss := r.Refusal()
		if loss == nil || len(loss.Drop) != 1 || len(loss.Over) != 1 || !strings.Contains(loss.Error(), "config-entries service-defaults/old") || !strings.Contains(loss.Error(), "service-defaults/web") {
			t.Fatalf("%v", loss)
		}
		if n := two.log.count("nothing is copied"); n != 2 { // message and error of one line
			t.Errorf("it is said %d times", n)
		}
		if list, running := r.Progress(); !running || !strings.Contains(list[0].LastErrorMessage, "1 rows deleted, 1 replaced") || strings.Contains(list[0].LastErrorMessage, "service-defaults/old") {
			t.Errorf("%+v", list)
		}
		lost, err := r.Accept(t.Context())
		if err != nil || len(lost.Drop) != 1 {
			t.Fatalf("%+v %v", lost, err)
		}
		same(t, one, two, 5*time.Second)
		if r.Refusal() != nil || two.log.count("deleted=service-defaults/old") != 1 {
			t.Errorf("it still refuses, or does not name what went: %v", r.Refusal())
		}
	})
	synctest.Test(t, func(t *testing.T) { // what is the same in both is in nobody's way
		one, two := newPlace(t, "dc1", 100), newPlace(t, "dc2", 10)
		one.entry(t, "web", "http")
		two.entry(t, "old", "tcp")
		r, _ := follow(t, one, two)
		time.Sleep(time.Minute)
		if r.Refusal() == nil {
			t.Error("it does not refuse")
		}
		one.entry(t, "old", "tcp")
		same(t, one, two, time.Minute)
	})
}

// TestPrimaryRestored: a primary whose index goes back is followed, and that is said; one that was made anew is not.
func TestPrimaryRestored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := newPlace(t, "dc1", 1000), newPlace(t, "dc2", 10)
		one.cluster(t, "11111111-2222-3333-4444-555555555555")
		one.entry(t, "web", "http")
		one.entry(t, "late", "http")
		r, w := follow(t, one, two)
		same(t, one, two, 5*time.Second)

		restored := newPlace(t, "dc1", 500)
		restored.cluster(t, "11111111-2222-3333-4444-555555555555")
		restored.entry(t, "web", "http")
		w.set(func(w *way) { w.to = restored })
		same(t, restored, two, time.Minute)
		if two.log.count("deleted=service-defaults/late") != 1 || two.log.count("was a snapshot restored there") == 0 {
			t.Errorf("nobody is told what is lost: %s", two.log.text.String())
		}

		anew := newPlace(t, "dc1", 5)
		anew.cluster(t, "99999999-2222-3333-4444-555555555555")
		before := two.says()
		w.set(func(w *way) { w.to = anew })
		time.Sleep(2 * time.Minute)
		if loss := r.Refusal(); loss == nil || !strings.Contains(loss.Error(), "was it made anew, restore its snapshot there") || two.says() != before {
			t.Errorf("%v", loss)
		}
		w.set(func(w *way) { w.to = restored }) // its snapshot is restored
		restored.entry(t, "news", "http")
		same(t, restored, two, time.Minute)
	})
}

// TestCutAndHealed: while the primary is away the copy stays, what failed is said once, and a minute after it is back
// everything is as it is there, also after a thousand cuts.
func TestCutAndHealed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := newPlace(t, "dc1", 100), newPlace(t, "dc2", 10)
		one.entry(t, "web", "http")
		r, w := follow(t, one, two)
		same(t, one, two, 5*time.Second)
		before := two.says()
		w.set(func(w *way) { w.cut = true })
		one.entry(t, "late", "http")
		time.Sleep(time.Hour)
		if two.says() != before {
			t.Error("the copy has changed")
		}
		if n := two.log.count("not as its source is"); n > 5 {
			t.Errorf("it is said %d times", n)
		}
		w.set(func(w *way) { w.cut = false })
		same(t, one, two, 10*time.Second)
		for i := range 1000 {
			w.set(func(w *way) { w.cut = i%2 == 0 })
			if i%100 == 0 {
				one.entry(t, fmt.Sprint("e", i), "http")
			}
			time.Sleep(time.Duration(i%7) * 300 * time.Millisecond)
		}
		w.set(func(w *way) { w.cut = false })
		same(t, one, two, 10*time.Second)
		list, _ := r.Progress()
		for _, p := range list {
			if p.Restarts != 0 || time.Since(p.LastSuccess) > time.Minute {
				t.Errorf("%+v", p)
			}
		}
	})
}

// TestWatchdog: a copy that hangs, for whatever reason, is started anew, and that is said once.
func TestWatchdog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := newPlace(t, "dc1", 100), newPlace(t, "dc2", 10)
		one.entry(t, "web", "http")
		r, w := follow(t, one, two)
		same(t, one, two, 5*time.Second)
		release := make(chan struct{})
		defer close(release)
		w.set(func(w *way) { w.hangs, w.release = 5, release }) // one for each kind
		one.entry(t, "late", "http")
		time.Sleep(time.Minute) // the round before them has ended
		one.entry(t, "later", "http")
		same(t, one, two, 10*time.Minute)
		list, _ := r.Progress()
		for _, p := range list {
			if p.Restarts != 1 {
				t.Errorf("%s was started anew %d times", p.Kind, p.Restarts)
			}
		}
		if n := two.log.count("is started anew"); n != 5 {
			t.Errorf("it is said %d times", n)
		}
	})
}

// TestUnfitRows: what a primary of another version, or in the wrong hands, sends in place of rows harms nobody: it is
// refused by name, and the rest is copied.
func TestUnfitRows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		two := newPlace(t, "dc2", 10)
		good := &catalog.Policy{ID: "11111111-2222-3333-4444-555555555555", Name: "good", Rules: `operator = "read"`}
		web := &catalog.ServiceDefaults{EntryHead: catalog.EntryHead{Kind: catalog.EntryServiceDefaults, Name: "web"}, Protocol: "http"}
		for kind, rows := range map[catalog.ReplicaKind]catalog.ReplicaRows{
			catalog.ReplicaPolicies: {
				Policies: []*catalog.Policy{nil, good, {ID: "x", Name: "bad"}, {ID: good.ID, Name: "rules", Rules: "{"}, {ID: catalog.GlobalManagementID, Name: "weak"}},
				Entries:  []*catalog.AnyEntry{catalog.AnyOf(web)},
			},
			catalog.ReplicaRoles: {Roles: []*catalog.Role{nil, {}}},
			catalog.ReplicaTokens: {Tokens: []*catalog.Token{
				nil, {AccessorID: good.ID}, {AccessorID: good.ID, SecretID: "s", Local: true}, {AccessorID: "x", SecretID: "s"},
			}},
			catalog.ReplicaEntries: {Entries: []*catalog.AnyEntry{
				nil, {}, {ServiceDefaults: &catalog.ServiceDefaults{}}, catalog.AnyOf(&catalog.BoundAPIGateway{EntryHead: catalog.EntryHead{Kind: catalog.EntryBoundAPIGateway, Name: "gw"}}),
			}},
			catalog.ReplicaFederations: {Federations: []*catalog.FederationState{nil, {}}},
			"another":                  {Policies: []*catalog.Policy{good}},
		} {
			bad := rows.Len()
			if kind == catalog.ReplicaPolicies {
				bad-- // one is good
			}
			done, _, err := api.ReplicaApply.Call(t.Context(), two.Registry, rpc.Header{}, &api.ReplicaWrite{Kind: kind, Rows: rows})
			if err != nil || len(done.Refused) != bad {
				t.Errorf("%s: %d of %d bad rows are refused: %q %v", kind, len(done.Refused), bad, done.Refused, err)
			}
		}
		tx := two.store.Read()
		if list, _ := state.Policies(tx, nil); len(list) != 1 || list[0].Name != "good" {
			t.Errorf("stored is %+v", list)
		}
		if list, _ := state.ConfigEntries(tx, nil, ""); len(list) != 0 {
			t.Errorf("stored is %+v", list)
		}
	})
}

// TestLargeRows: rows that are too much for one entry of the log come in several.
func TestLargeRows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := newPlace(t, "dc1", 100), newPlace(t, "dc2", 10)
		long := strings.Repeat("# "+strings.Repeat("x", 1000)+"\n", 200)
		for i := range 20 {
			write := &api.PolicyWrite{Op: api.ACLCreate, Policy: catalog.Policy{Name: fmt.Sprint("p", i), Rules: long}}
			if _, _, err := api.PolicyApply.Call(t.Context(), one.Registry, rpc.Header{}, write); err != nil {
				t.Fatal(err)
			}
		}
		follow(t, one, two)
		same(t, one, two, 10*time.Second)
		if n := two.Applied() - 10; n < 4 {
			t.Errorf("4 MB came in %d entries of the log", n)
		}
	})
}

// TestWrongSide: who asks a datacenter that is no primary, has its name, or checks no tokens, hears on which servers to set
// what.
func TestWrongSide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := func(primary string, acls bool, kind catalog.ReplicaKind, from, says string) {
			t.Helper()
			one := newPlace(t, "dc1", 100)
			asked := endpoint.New(one, one.store)
			handler.Register(asked, handler.Deps{Datacenter: "dc1", Primary: func() string { return primary }, Store: one.store, ACL: handler.ACL{Enabled: acls}})
			_, _, err := api.ReplicaKeys.Call(t.Context(), asked, rpc.Header{}, &api.ReplicaQuery{Kind: kind, From: from})
			if err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("%v, want %q", err, says)
			}
		}
		f("dc2", true, catalog.ReplicaEntries, "dc2", "datacenters dc1 and dc2 each have the other as primary_datacenter, so neither is primary: set it to the same one of the two on the servers of both")
		f("dc2", true, catalog.ReplicaEntries, "dc3", "dc1 is no primary: it copies from dc2: set primary_datacenter to that on the servers of dc3")
		f("dc1", true, catalog.ReplicaEntries, "dc1", "another datacenter calls itself dc1 as this one: give one of them another name")
		f("dc1", false, catalog.ReplicaTokens, "dc2", "datacenter dc1 checks no tokens, and dc2 wants to copy its ACLs: set acl.enabled on the servers of both, or of none")
		f("dc1", true, "future", "dc2", `nothing of the kind "future" is copied by this version`)
	})
}

// TestSecondaryRestored: when an old snapshot is restored in a secondary datacenter it is soon as the primary is again.
func TestSecondaryRestored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := newPlace(t, "dc1", 100), newPlace(t, "dc2", 10)
		one.entry(t, "web", "http")
		follow(t, one, two)
		same(t, one, two, 5*time.Second)
		older := two.store.Load()
		err := state.Save(two.store.Read(), func(table string, row any) error { return older.Row(table, row) })
		if err != nil {
			t.Fatal(err)
		}
		one.entry(t, "late", "http")
		one.dropEntry(t, "web")
		same(t, one, two, 5*time.Second)
		older.Finish()
		if one.says() == two.says() {
			t.Fatal("the snapshot is not older")
		}
		same(t, one, two, 5*time.Second)
	})
}
