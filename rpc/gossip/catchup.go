package gossip

import (
	"math/rand/v2"
	"time"

	"github.com/hashicorp/serf/serf"
)

// catchUpAfter and up to as much again is when a node that joined exchanges its state once more. When many start at
// once, news of a join are repeated as often as the few members known by then ask for, which is not enough for all who
// come; the next exchange that the library makes by itself may be two intervals away.
const catchUpAfter = 8 * time.Second

// catchUp exchanges state with a member picked by chance, a while after each Join. It ends with the pool.
func (p *Pool) catchUp() {
	for {
		select {
		case <-p.joined:
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
