//go:build unix

package fleet

import (
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	// starvedOf is how many agents there are at most: they gossip in real time, which takes a fifth of a core for 200.
	// Of fewer, news are repeated less often, and so some never hear that a suspect has spoken up: of 50 most false alarms
	// came of that, with Lifeguard and without.
	starvedOf = 200
	// starvedPart of the agents get no CPU for starvedFor, then as long enough of it, and so on.
	starvedPart = 10
	starvedFor  = 2 * time.Second
)

func isStarved(agent int) bool { return agent%starvedPart == starvedPart-1 }

// starvation is what came of it.
type starvation struct {
	alarms
	byWell    int      // opinions of observers that were never starved
	aboutWell int      // opinions about subjects that were never starved
	hours     float64  // of all agents
	late      lateness // of agents that were never starved
	stopped   lateness // of those that were
}

func (s starvation) minus(o starvation) starvation {
	s.alarms = s.alarms.minus(o.alarms)
	s.byWell -= o.byWell
	s.aboutWell -= o.aboutWell
	return s
}

// lateness is how late the clocks of agents were: others use the machine too.
type lateness struct {
	Ticks, Late int           // late by more than lateBy
	Worst       time.Duration // of all ticks
}

// lateBy is far below the 500 ms that a probe waits for an answer.
const lateBy = 100 * time.Millisecond

func (l lateness) plus(o lateness) lateness {
	return lateness{l.Ticks + o.Ticks, l.Late + o.Late, max(l.Worst, o.Worst)}
}

// uncompressed is for simulations: the library's compression takes 68 KiB of memory for each packet that is sent, however
// small, and nothing here depends on the length of a packet.
func uncompressed(c *memberlist.Config) { c.EnableCompression = false }

// unguarded turns off what the library calls Lifeguard (Dadgar et al., DSN 2018) as far as it can be: an agent that
// misses answers does not become more patient, and a suspicion that nobody else has ends as soon as one that many have.
// What stays is that a suspect is told of it with the next probe.
func unguarded(c *memberlist.Config) {
	uncompressed(c)
	c.AwarenessMaxMultiplier, c.SuspicionMaxTimeoutMult = 1, 1
}

// compare is the other half of G3: Lifeguard has to spare 19 of 20 false alarms. Of fewer than 20 without it there is
// nothing to say.
func (s *sim) compare(with, without starvation) {
	const what = "G3 10 % of agents stopped, 2 s of 4: "
	show := func(name string, v starvation) {
		s.show(what+name, "%d opinions in %.1f node-hours that a living agent failed, %d of them by agents that were not stopped and %d about such; %d times one was taken for failed",
			v.opinions, v.hours, v.byWell, v.aboutWell, v.episodes)
	}
	show("with Lifeguard", with)
	show("without", without)
	late := with.late.plus(without.late)
	s.show("times that clocks of agents that were not stopped were late by more than "+lateBy.String(), "%.2f %%, by %s at most",
		100*float64(late.Late)/float64(max(1, late.Ticks)), round(late.Worst))
	many := float64(without.opinions) / float64(max(1, with.opinions))
	name, goal := what+"opinions without Lifeguard for each with it", "≥ 20"
	if without.opinions < 20 {
		s.show(name, "%.0f: too few to say", many)
		return
	}
	s.check(many >= 20, name, goal, "%.0f", many)
}
