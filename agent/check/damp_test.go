package check_test

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curia-mesh/curia/agent/check"
	"github.com/curia-mesh/curia/catalog"
)

// changes counts the changes of state that a check's owner hears of.
type changes struct {
	mu     sync.Mutex
	status catalog.Status
	output string
	count  int
}

func (c *changes) Report(_ string, status catalog.Status, output string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if status != c.status {
		c.count++
	}
	c.status, c.output = status, output
}

func (c *changes) seen() (int, catalog.Status, string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count, c.status, c.output
}

// TestFlapping: a check that changes each second for ten minutes makes a handful of changes, is critical
// meanwhile and says why, and is itself again soon after it has settled.
func TestFlapping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, heard := &network{}, &changes{}
		s := check.NewSet(check.Deps{Reporter: heard, Dial: n.dial, FlapHalfLife: time.Minute}, check.Policy{}, nil)
		run(t, s)
		add(t, s, &catalog.AgentCheck{CheckID: "c", CheckDefinition: catalog.CheckDefinition{TCP: "10.0.0.1:1", Interval: catalog.Duration(time.Second)}})
		pass(3 * time.Second)
		if count, status, _ := heard.seen(); count != 1 || status != catalog.Passing {
			t.Fatalf("at the start: %d changes, %s", count, status)
		}
		for range 600 {
			n.set(true)
			pass(time.Second)
			n.set(false)
			pass(time.Second)
		}
		count, status, output := heard.seen()
		if count > 8 || status != catalog.Critical || !strings.Contains(output, "keeps changing") {
			t.Errorf("flapping: %d changes, %s, %q", count, status, output)
		}
		pass(time.Minute)
		if now, status, _ := heard.seen(); now != count || status != catalog.Critical {
			t.Errorf("a minute later: %d more changes, %s", now-count, status)
		}
		pass(2 * time.Minute)
		if now, status, output := heard.seen(); now != count+1 || status != catalog.Passing || strings.Contains(output, "keeps changing") {
			t.Errorf("settled: %d more changes, %s, %q", now-count, status, output)
		}
	})
}

// TestNotFlapping: a check that changes now and then is not held, nor one that tells its state itself, nor
// any when damping is off.
func TestNotFlapping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, heard, own, off := &network{}, &changes{}, &changes{}, &changes{}
		tcp := &catalog.AgentCheck{CheckID: "c", CheckDefinition: catalog.CheckDefinition{TCP: "10.0.0.1:1", Interval: catalog.Duration(time.Second)}}
		rare := check.NewSet(check.Deps{Reporter: heard, Dial: n.dial, FlapHalfLife: time.Minute}, check.Policy{}, nil)
		never := check.NewSet(check.Deps{Reporter: off, Dial: n.dial}, check.Policy{}, nil)
		told := check.NewSet(check.Deps{Reporter: own, FlapHalfLife: time.Minute}, check.Policy{}, nil)
		for _, s := range []*check.Set{rare, never, told} {
			run(t, s)
		}
		add(t, rare, tcp)
		add(t, never, tcp)
		add(t, told, ttl("c", time.Hour))
		pass(5 * time.Second)
		for i := range 20 {
			n.set(i%2 == 0)
			pass(30 * time.Second)
		}
		if count, status, _ := heard.seen(); count != 21 || status != catalog.Passing {
			t.Errorf("every half minute: %d changes, %s; want 21, passing", count, status)
		}
		before, _, _ := off.seen()
		for i := range 20 {
			n.set(i%2 == 0)
			pass(2 * time.Second)
			if err := told.Update("c", []catalog.Status{catalog.Passing, catalog.Critical}[i%2], ""); err != nil {
				t.Fatal(err)
			}
		}
		if count, _, _ := off.seen(); count != before+20 {
			t.Errorf("with damping off: %d changes, want 20", count-before)
		}
		if count, _, _ := own.seen(); count != 20 {
			t.Errorf("a ttl check: %d changes, want 20", count)
		}
	})
}
