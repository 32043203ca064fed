package local

import (
	"testing"
	"time"

	"github.com/curia-mesh/curia/catalog"
)

// TestChangeRate: a service whose checks change every second for ten minutes is told of at the rate that is allowed,
// another one at once, and what is told last is how it is.
func TestChangeRate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newServers()
		cfg := testConfig("")
		cfg.CheckChangesPerMinute = 12
		a := run(t, cfg, c, nil)
		other := define("api", ttlCheck("calm", time.Hour))
		other.Name = "api"
		a.register(define("web", ttlCheck("one", time.Hour), ttlCheck("two", time.Hour)))
		a.register(other)
		pass(2 * time.Second)
		before := c.calls()
		report := func(id string, status catalog.Status) { reporter{a.State}.Report(id, status, "") }
		flip := []catalog.Status{catalog.Passing, catalog.Warning}
		for second := range 600 {
			report("one", flip[second%2])
			report("two", flip[1-second%2])
			pass(time.Second)
		}
		if calls := c.calls() - before; calls > 12+120+10 || calls < 100 {
			t.Errorf("%d calls in ten minutes, want about 12 at first and 12 a minute", calls)
		}
		if !a.log.has("changes are held") {
			t.Error("the log does not say that changes are held")
		}
		report("calm", catalog.Passing)
		pass(0)
		if s := c.check("calm").Status; s != catalog.Passing {
			t.Errorf("the check of another service is %s", s)
		}
		report("one", catalog.Critical)
		report("two", catalog.Passing)
		pass(15 * time.Second)
		if one, two := c.check("one").Status, c.check("two").Status; one != catalog.Critical || two != catalog.Passing {
			t.Errorf("in the end one is %s and two is %s", one, two)
		}
		pass(time.Minute) // the bucket is full again
		report("one", catalog.Passing)
		pass(0)
		if s := c.check("one").Status; s != catalog.Passing {
			t.Errorf("after a calm minute a change is held: %s", s)
		}
	})
}

// A change of the output alone does not hold a change of the state that comes after it.
func TestChangeAfterOutput(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newServers()
		cfg := testConfig("")
		cfg.CheckChangesPerMinute = 1
		a := run(t, cfg, c, nil)
		a.register(define("web", ttlCheck("one", time.Hour)))
		pass(2 * time.Second)
		report := func(status catalog.Status, output string) { reporter{a.State}.Report("one", status, output) }
		report(catalog.Passing, "")
		report(catalog.Warning, "") // while the first is on its way, or after it
		pass(2 * time.Minute)
		report(catalog.Warning, "other words")
		pass(time.Second)
		report(catalog.Critical, "")
		pass(time.Second)
		if s := c.check("one").Status; s != catalog.Critical {
			t.Errorf("the check is %s", s)
		}
		report(catalog.Passing, "")
		pass(2 * time.Second)
		if s := c.check("one").Status; s != catalog.Critical {
			t.Errorf("a second change in a minute was told: %s", s)
		}
		pass(time.Minute)
		if s := c.check("one").Status; s != catalog.Passing {
			t.Errorf("the check is %s a minute later", s)
		}
	})
}
