package gossip

import (
	"math/rand/v2"
	"time"

	"github.com/hashicorp/serf/serf"
)

const (
	// catchUpAfter and up to as much again is when a node that joined exchanges its state once more. When many start at
	// once, news of a join are repeated as often as the few members known by then ask for, which is not enough for all
	// who come; the next exchange that the library makes by itself may be two intervals away. The same holds for the
	// halves of a pool that was split.
	catchUpAfter = 8 * time.Second
	// manyJoined and one in manyJoinedPart of all members make many that came at once.
	manyJoined, manyJoinedPart = 8, 8
)

// catchUp exchanges state with a member picked by chance, a while after each Join and after many members came. It
// ends with the pool.
func (p *Pool) catchUp() {
	for {
		select {
		case <-p.behind:
		case <-p.closing:
			return
		}
		t := time.NewTimer(catchUpAfter + rand.N(catchUpAfter))
		select {
		case <-t.C:
		case <-p.closing:
			t.Stop()
			return
		}
		others := p.serf.Members()
		for _, i := range rand.Perm(len(others)) {
			if m := others[i]; m.Status == serf.StatusAlive && m.Name != p.cfg.Name {
				at := fromSerf(&m).AddrPort().String()
				if _, err := p.serf.Join([]string{m.Name + "/" + at}, true); err != nil {
					p.log.Debug("exchange of state after a join failed: the next regular one makes up for it", "node", m.Name, "err", err)
				}
				break
			}
		}
	}
}

// fallBehind makes catchUp do its work, unless that is ahead of it already.
func (p *Pool) fallBehind() {
	select {
	case p.behind <- struct{}{}:
	default:
	}
}

// countJoined is told by pump of each member that came, and how many are known then.
func (p *Pool) countJoined(known int) {
	if p.newcomers++; p.newcomers >= max(manyJoined, known/manyJoinedPart) {
		p.newcomers = 0
		p.fallBehind()
	}
}
