package balance

import (
	"sync"
	"sync/atomic"
	"time"
)

// parts is how many parts a window is counted in: it moves on by a tenth of its length.
const parts = 10

// window counts two kinds of events of a last while. The zero value with a span is ready.
type window struct {
	span  time.Duration
	turn  sync.Mutex // over a part that begins anew
	parts [parts]part
}

type part struct {
	epoch atomic.Int64 // which one it is, from 1
	n     [2]atomic.Int64
}

func (w *window) epoch(now time.Duration) int64 { return int64(now/(w.span/parts)) + 1 }

// add counts an event of kind 0 or 1.
func (w *window) add(now time.Duration, kind int) {
	epoch := w.epoch(now)
	p := &w.parts[epoch%parts]
	if p.epoch.Load() != epoch {
		w.turn.Lock()
		if p.epoch.Load() != epoch {
			p.n[0].Store(0)
			p.n[1].Store(0)
			p.epoch.Store(epoch)
		}
		w.turn.Unlock()
	}
	p.n[kind].Add(1)
}

// sum returns how many of each there were.
func (w *window) sum(now time.Duration) (n [2]int64) {
	epoch := w.epoch(now)
	for i := range w.parts {
		if p := &w.parts[i]; p.epoch.Load() > epoch-parts {
			n[0] += p.n[0].Load()
			n[1] += p.n[1].Load()
		}
	}
	return n
}

// clear forgets all.
func (w *window) clear() {
	for i := range w.parts {
		w.parts[i].epoch.Store(0)
	}
}
