//go:build unix

package fleet

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/curia-mesh/curia/rpc/gossip"
	"github.com/curia-mesh/curia/rpc/memnet"
)

const (
	// starvedOf is how many agents there are at most. Of fewer, news are repeated less often, and so some never hear that a
	// suspect has spoken up: of 50 most false alarms came of that, with Lifeguard and without.
	starvedOf = 200
	// starvedPart of the agents get no CPU for starvedFor, then as long enough of it, and so on.
	starvedPart = 10
	starvedFor  = 2 * time.Second
)

// starvation is what came of it: false alarms about agents that were starved and about those that never were.
type starvation struct {
	starved, well alarms
	hours         float64 // of all agents
}

func (s starvation) opinions() int { return s.starved.opinions + s.well.opinions }

// unguarded turns off what the library calls Lifeguard (Dadgar et al., DSN 2018) as far as it can be: an agent that
// misses answers does not become more patient, and a suspicion that nobody else has ends as soon as one that many have.
// What stays is that a suspect is told of it with the next probe.
func unguarded(c *gossip.Config) {
	c.Tune = func(ml *memberlist.Config) {
		uncompressed(ml)
		ml.AwarenessMaxMultiplier, ml.SuspicionMaxTimeoutMult = 1, 1
	}
}

// starve lets every tenth of n agents get no CPU for 2 s out of 4, each with a beat of its own.
func starve(t *testing.T, n int, change ...func(*gossip.Config)) starvation {
	net := memnet.New(*seedFlag)
	net.SetAll(lan)
	f := newFleet(t, net, "agent", n, change...)
	f.join(1)
	if _, wrong := f.truth.await(10 * time.Minute); wrong > 0 {
		t.Fatalf("%d pairs do not see each other", wrong)
	}
	time.Sleep(time.Minute) // what the start set off has passed
	isStarved := func(i int) bool { return i%starvedPart == starvedPart-1 }
	count := func() (starved, well alarms) {
		return f.truth.falseAlarms(isStarved), f.truth.falseAlarms(func(i int) bool { return !isStarved(i) })
	}
	starved, well := count()
	end := time.Now().Add(time.Duration(*starvedFlag * float64(time.Minute)))
	random := rand.New(rand.NewPCG(*seedFlag, 2))
	for i, a := range f.agents {
		if !isStarved(i) {
			continue
		}
		first := time.Duration(random.Int64N(int64(2 * starvedFor)))
		f.wg.Go(func() { // ends with end
			for time.Sleep(first); time.Now().Before(end); time.Sleep(starvedFor) {
				a.host.Freeze()
				time.Sleep(starvedFor)
				a.host.Thaw()
			}
		})
	}
	time.Sleep(time.Until(end))
	s := starvation{hours: float64(n) * *starvedFlag / 60}
	s.starved, s.well = count()
	s.starved, s.well = s.starved.minus(starved), s.well.minus(well)
	if _, wrong := f.truth.await(5 * time.Minute); wrong > 0 {
		t.Errorf("%d pairs are wrong 5 minutes after the starvation ended", wrong)
	}
	f.close()
	return s
}

// compare is the other half of G3: Lifeguard has to spare 19 of 20 false alarms. Of fewer than 20 without it there is
// nothing to say.
func (s *sim) compare(with, without starvation) {
	const what = "G3 10 % of agents starved, 2 s of 4: "
	show := func(name string, v starvation) {
		s.show(what+name, "%d living agents taken for failed in %.1f node-hours, %d of them starved; %d opinions",
			v.starved.episodes+v.well.episodes, v.hours, v.starved.episodes, v.opinions())
	}
	show("with Lifeguard", with)
	show("without", without)
	many := float64(without.opinions()) / float64(max(1, with.opinions()))
	name, goal := what+"opinions without Lifeguard for each with it", "≥ 20"
	if without.opinions() < 20 {
		s.show(name, "%.0f: too few to say", many)
		return
	}
	s.check(many >= 20, name, goal, "%.0f", many)
}
