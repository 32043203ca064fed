package check_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curia-mesh/curia/agent/check"
	"github.com/curia-mesh/curia/catalog"
)

// run runs s for the rest of a bubble's test.
func run(t *testing.T, s *check.Set) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// add adds a check or fails the test.
func add(t *testing.T, s *check.Set, def *catalog.AgentCheck) {
	t.Helper()
	if err := s.Add(def, check.Remote); err != nil {
		t.Fatalf("Add: %v", err)
	}
}

// pass lets time go by until all is quiet.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// A network is where tcp checks connect in a bubble: up or not, as a test says.
type network struct {
	mu    sync.Mutex
	down  bool
	dials int
}

func (n *network) set(down bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down = down
}

func (n *network) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dials
}

func (n *network) dial(context.Context, string, string) (net.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dials++
	if n.down {
		return nil, errors.New("down")
	}
	a, b := net.Pipe()
	b.Close()
	return a, nil
}

func ttl(id string, span time.Duration) *catalog.AgentCheck {
	return &catalog.AgentCheck{CheckID: id, CheckDefinition: catalog.CheckDefinition{TTL: catalog.Duration(span)}}
}

func TestTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{}
		s := check.NewSet(check.Deps{Reporter: rec}, check.Policy{}, nil)
		add(t, s, ttl("c", 10*time.Second))
		run(t, s)
		expect := func(status catalog.Status, output string) {
			t.Helper()
			got := rec.take()
			if len(got) != 1 || got[0].id != "c" || got[0].status != status || got[0].output != output {
				t.Errorf("got reports %v, want one: %s %q", got, status, output)
			}
		}
		update := func(status catalog.Status, output string) {
			t.Helper()
			if err := s.Update("c", status, output); err != nil {
				t.Errorf("Update: %v", err)
			}
		}
		pass(9 * time.Second)
		update(catalog.Passing, "well")
		expect(catalog.Passing, "well") // before Update returns
		pass(9 * time.Second)
		update(catalog.Warning, "hm")
		expect(catalog.Warning, "hm")
		pass(10*time.Second - 1)
		if got := rec.take(); len(got) != 0 {
			t.Errorf("reported too early: %v", got)
		}
		pass(1)
		expect(catalog.Critical, "TTL expired: no update within 10s, the last one said: hm")
		pass(time.Hour) // it expires once
		update(catalog.Passing, strings.Repeat("é", 4000))
		expect(catalog.Passing, strings.Repeat("é", 2048))
		pass(10 * time.Second)
		if got := statuses(rec.take()); got != "critical" {
			t.Errorf("after the second silence: %q", got)
		}

		// Adding a check again is a sign of life, and the old one is heard no more.
		update(catalog.Passing, "")
		pass(9 * time.Second)
		add(t, s, ttl("c", 10*time.Second))
		pass(9 * time.Second)
		if got := statuses(rec.take()); got != "passing" {
			t.Errorf("the check that was replaced still reports: %q", got)
		}
		if !s.Remove("c") || s.Remove("c") {
			t.Error("Remove does not know what there was")
		}
		pass(time.Hour)
		if got := rec.take(); len(got) != 0 {
			t.Errorf("the check that was removed still reports: %v", got)
		}
	})
}

func TestUpdateRefuses(t *testing.T) {
	s := check.NewSet(check.Deps{Reporter: &recorder{}}, check.Policy{}, nil)
	add(t, s, ttl("c", time.Second))
	tcp := define(catalog.CheckDefinition{TCP: "a:1"})
	tcp.CheckID = "tcp"
	add(t, s, tcp)
	f := func(id string, status catalog.Status, want catalog.Code) {
		t.Helper()
		if err := s.Update(id, status, ""); err == nil || catalog.CodeOf(err) != want {
			t.Errorf("Update(%s, %s): %v, want code %s", id, status, err, want)
		}
	}
	f("absent", catalog.Passing, catalog.NotFound)
	f("tcp", catalog.Passing, catalog.Internal)
	f("c", "sleepy", catalog.Invalid)
	f("c", catalog.Maintenance, catalog.Invalid)
}

// The first run is soon, then one follows each interval; a check that is added again unchanged goes on.
func TestSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec, n := &recorder{}, &network{}
		var observed []string
		deps := check.Deps{Reporter: rec, Dial: n.dial, Observe: func(kind string, status catalog.Status, _ time.Duration) {
			observed = append(observed, kind+" "+string(status))
		}}
		s := check.NewSet(deps, check.Policy{}, nil)
		run(t, s)
		def := func() *catalog.AgentCheck { return define(catalog.CheckDefinition{TCP: "a:1"}) } // each 10s
		add(t, s, def())
		pass(1100 * time.Millisecond)
		if got := statuses(rec.take()); got != "passing" {
			t.Fatalf("within the first second: %q", got)
		}
		pass(10 * time.Second)
		for i := range 40 { // as a service does that registers itself again and again
			again := def()
			again.Status = []catalog.Status{catalog.Passing, catalog.Critical}[i%2]
			add(t, s, again)
			pass(2500 * time.Millisecond)
		}
		if got := n.count(); got < 11 || got > 13 {
			t.Errorf("%d runs in 111s, want one each 10s and one at the beginning", got)
		}
		pass(0)
		if len(observed) != n.count() || observed[0] != "tcp passing" {
			t.Errorf("observed %v", observed)
		}
		before := n.count()
		changed := def()
		changed.Notes = "changed"
		add(t, s, changed)
		pass(1100 * time.Millisecond)
		if n.count() == before {
			t.Error("a changed check does not start soon")
		}
		if got, ok := s.Get("c"); !ok || got != changed {
			t.Errorf("Get: %v %v", got, ok)
		}
		s.Remove("c")
		before = n.count()
		pass(time.Hour)
		if n.count() != before {
			t.Error("a check that was removed runs on")
		}
	})
}

// Remove waits for a report under way, so that none comes after it.
func TestRemoveWaits(t *testing.T) {
	under, leave := make(chan struct{}), make(chan struct{})
	var reported atomic.Bool
	rec := &recorder{tap: func(report) {
		close(under)
		<-leave
		reported.Store(true)
	}}
	s := check.NewSet(check.Deps{Reporter: rec}, check.Policy{}, nil)
	add(t, s, ttl("c", time.Hour))
	updated := make(chan error)
	go func() { updated <- s.Update("c", catalog.Passing, "") }()
	<-under
	time.AfterFunc(20*time.Millisecond, func() { close(leave) })
	s.Remove("c")
	if !reported.Load() {
		t.Error("Remove returned while the check still reported")
	}
	if err := <-updated; err != nil {
		t.Errorf("Update: %v", err)
	}
}

func TestIntervalHasLeast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		s := check.NewSet(check.Deps{Reporter: &recorder{}, Dial: n.dial}, check.Policy{}, nil)
		run(t, s)
		def := define(catalog.CheckDefinition{TCP: "a:1"})
		def.Interval = 1
		add(t, s, def)
		pass(10 * time.Second)
		if got := n.count(); got < 8 || got > 11 {
			t.Errorf("%d runs in 10s, want about one a second", got)
		}
	})
}

// Thousands of checks neither start at one moment nor stay together.
func TestSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{}
		s := check.NewSet(check.Deps{Reporter: rec, Dial: (&network{}).dial}, check.Policy{}, nil)
		const count = 1000
		for i := range count {
			def := define(catalog.CheckDefinition{TCP: "a:1"})
			def.CheckID = fmt.Sprint(i)
			add(t, s, def)
		}
		run(t, s)
		busiest := func(d time.Duration) (most, all int) {
			pass(d)
			per := map[time.Time]int{}
			for _, r := range rec.take() {
				per[r.at.Truncate(time.Second)]++
				all++
				most = max(most, per[r.at.Truncate(time.Second)])
			}
			return most, all
		}
		if most, all := busiest(3 * time.Second); all < count || most > count/2 {
			t.Errorf("%d first runs, %d in one second", all, most)
		}
		busiest(17 * time.Second)
		if most, all := busiest(10 * time.Second); all < count*9/10 || most > count/5 {
			t.Errorf("later %d runs in 10s, %d in one second", all, most)
		}
		if got := s.Counts(); got["tcp"] != count || len(got) != 1 {
			t.Errorf("counts %v", got)
		}
	})
}

func TestThresholds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec, n := &recorder{}, &network{}
		s := check.NewSet(check.Deps{Reporter: rec, Dial: n.dial}, check.Policy{}, nil)
		def := define(catalog.CheckDefinition{TCP: "a:1"})
		def.Interval = catalog.Duration(time.Second)
		def.SuccessBeforePassing, def.FailuresBeforeWarning, def.FailuresBeforeCritical = 3, 2, 4
		add(t, s, def)
		run(t, s)
		pass(time.Second + 500*time.Millisecond)
		f := func(down bool, want string) {
			t.Helper()
			for n.set(down); want != ""; {
				before := n.count()
				for n.count() == before {
					pass(100 * time.Millisecond)
				}
				step, rest, _ := strings.Cut(want, " ")
				if got := statuses(rec.take()); got != strings.Trim(step, "-") {
					t.Errorf("got %q, want %q of %q", got, step, want)
				}
				want = rest
			}
		}
		for n.count() < 3 { // it begins critical, and three successes make it passing
			if got := rec.take(); len(got) != 0 {
				t.Errorf("reported after %d successes: %v", n.count(), got)
			}
			pass(100 * time.Millisecond)
		}
		if got := statuses(rec.take()); got != "passing" {
			t.Errorf("after three successes: %q", got)
		}
		f(true, "- warning warning critical critical")
		f(false, "- -")
		f(true, "- - - critical")
		f(false, "- - passing passing")
		f(true, "-")
		f(false, "- - passing")
	})
}

type reaper struct {
	mu    sync.Mutex
	asked []string
	then  func(service string)
}

func (r *reaper) Reap(_ context.Context, service, check string, critical time.Duration) {
	r.mu.Lock()
	r.asked = append(r.asked, fmt.Sprintf("%s/%s after %s", service, check, critical.Truncate(10*time.Second)))
	then := r.then
	r.mu.Unlock()
	if then != nil {
		then(service)
	}
}

func TestReap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec, reap := &recorder{}, &reaper{}
		s := check.NewSet(check.Deps{Reporter: rec}, check.Policy{}, reap)
		run(t, s)
		def := func(id, service string, after time.Duration) {
			d := ttl(id, 20*time.Second)
			d.ServiceID, d.DeregisterCriticalServiceAfter, d.Status = service, catalog.Duration(after), catalog.Passing
			add(t, s, d)
		}
		def("a1", "a", time.Second) // at least a minute
		def("a2", "a", time.Minute)
		def("b1", "b", 3*time.Minute)
		def("n", "", time.Minute) // checks of the node remove nothing
		def("k", "k", 0)
		asked := func(want ...string) {
			t.Helper()
			reap.mu.Lock()
			defer reap.mu.Unlock()
			if !slices.Equal(reap.asked, want) {
				t.Errorf("asked for %v, want %v", reap.asked, want)
			}
			reap.asked = nil
		}
		pass(79 * time.Second) // critical since second 20
		asked()
		pass(12 * time.Second) // sweep at second 90; the one at 60 was too early
		asked("a/a1 after 1m10s")
		pass(30 * time.Second) // asked again while it is there, once for each service
		asked("a/a1 after 1m40s")
		if err := s.Update("a1", catalog.Passing, ""); err != nil {
			t.Fatal(err)
		}
		reap.mu.Lock()
		reap.then = func(string) { s.Remove("a1"); s.Remove("a2") } // the owner may remove from here
		reap.mu.Unlock()
		pass(time.Minute)
		asked("a/a2 after 2m10s")
		pass(time.Minute)
		asked("b/b1 after 3m10s", "b/b1 after 3m40s")
	})
}

// TestLateStart: what comes up a moment after it was registered need not wait for the next interval.
func TestLateStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, rec := &network{down: true}, &recorder{}
		s := check.NewSet(check.Deps{Reporter: rec, Dial: n.dial}, check.Policy{}, nil)
		add(t, s, &catalog.AgentCheck{CheckID: "c", CheckDefinition: catalog.CheckDefinition{TCP: "there:1", Interval: catalog.Duration(time.Minute)}})
		run(t, s)
		pass(1200 * time.Millisecond)
		n.set(false)
		pass(2 * time.Second)
		if got := statuses(rec.take()); !strings.HasPrefix(got, "critical") || !strings.HasSuffix(got, "passing") {
			t.Errorf("reports %q", got)
		}
		n.set(true)
		pass(10 * time.Minute)
		if got := n.count(); got > 3+1+10 {
			t.Errorf("%d probes in ten minutes of an interval of one", got)
		}
	})
}
