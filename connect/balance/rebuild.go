package balance

import (
	"slices"
	"time"
)

// overprovision is how much more than its share a level is taken to bear: it sends nothing further away before
// less than 100/140 of its endpoints are in service.
// Source: https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/priority
const overprovision = 1.4

// tier is the members of one distance.
type tier struct {
	level   uint8
	all, in []slot // in: those in service
	health  float64
}

func (t *tier) share() float64 { return float64(len(t.in)) / float64(len(t.all)) }

// rebuild makes a view of the members as they are. p.mu is held.
func (p *Pool) rebuild(now time.Duration) {
	tiers := p.tiers()
	v := &view{policy: p.policy}
	health := 0.0
	for i := range tiers {
		tiers[i].health = min(1, overprovision*tiers[i].share())
		health += tiers[i].health
	}
	left := 1.0
	for i := range tiers {
		t := &tiers[i]
		slots, load := t.in, min(left, t.health)
		if health < 1 {
			if p.policy.Panic > 0 && t.share()*100 < float64(p.policy.Panic) {
				slots, v.panics = t.all, true
			}
			// What is missing is borne by all who are left.
			if load = t.health; health == 0 {
				load = float64(len(slots))
			}
		} else {
			left -= load
		}
		if len(slots) > 0 && load > 0 {
			v.levels = append(v.levels, newLevel(&p.policy, slots, load))
			v.total += load
		}
	}
	old := p.view.Load()
	if v.panics != old.panics {
		p.observe(Event{Kind: map[bool]EventKind{true: PanicBegins, false: PanicEnds}[v.panics]})
	}
	if len(v.levels) == 0 && len(old.levels) > 0 {
		p.unready = now
	}
	p.view.Store(v)
	p.schedule()
	close(p.changed)
	p.changed = make(chan struct{})
}

// tiers sorts the members by distance, the nearest first.
func (p *Pool) tiers() []tier {
	var tiers []tier
	for _, m := range p.members {
		i, found := slices.BinarySearchFunc(tiers, m.Level, func(t tier, level uint8) int { return int(t.level) - int(level) })
		if !found {
			tiers = slices.Insert(tiers, i, tier{level: m.Level})
		}
		s := slot{p.endpoints[m.Key], float64(max(m.Weight, 1))}
		tiers[i].all = append(tiers[i].all, s)
		if !m.Unhealthy && !m.Silent && s.health.until == 0 {
			tiers[i].in = append(tiers[i].in, s)
		}
	}
	return tiers
}
