//go:build linux

package lab

import (
	"container/heap"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// late is what is under way to a host: each packet is handed over when it is due, and of those that are due at once the
// one that was sent first.
type late struct {
	wake chan struct{} // told when the first of all is another one
	gone chan struct{} // closed with the device

	mu    sync.Mutex
	queue packets // guarded by mu
}

func newLate() *late { return &late{wake: make(chan struct{}, 1), gone: make(chan struct{})} }

type packet struct {
	due  time.Time
	sent uint64 // numbers those of one host
	from *wirePort
	data []byte
}

// packets implements heap.Interface.
type packets struct {
	all  []packet
	sent uint64
}

func (p *packets) Len() int { return len(p.all) }
func (p *packets) Less(i, j int) bool {
	if a, b := p.all[i].due, p.all[j].due; !a.Equal(b) {
		return a.Before(b)
	}
	return p.all[i].sent < p.all[j].sent
}
func (p *packets) Swap(i, j int) { p.all[i], p.all[j] = p.all[j], p.all[i] }
func (p *packets) Push(x any)    { p.all = append(p.all, x.(packet)) }
func (p *packets) Pop() any {
	last := p.all[len(p.all)-1]
	p.all[len(p.all)-1] = packet{}
	p.all = p.all[:len(p.all)-1]
	return last
}

func (l *late) add(p packet) {
	l.mu.Lock()
	l.queue.sent++
	p.sent = l.queue.sent
	heap.Push(&l.queue, p)
	first := l.queue.all[0].sent == p.sent
	l.mu.Unlock()
	if first {
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}

// next takes the first packet when it is due; before that it tells how long there is to wait, or a long time.
func (l *late) next() (p packet, due bool, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.queue.Len() == 0 {
		return packet{}, false, time.Hour
	}
	if wait = time.Until(l.queue.all[0].due); wait > 0 {
		return packet{}, false, wait
	}
	return heap.Pop(&l.queue).(packet), true, 0
}

// fine is the rest of a wait that is left to the kernel's clock: the timers of Go are late by up to a millisecond on
// a machine that is idle, in each direction, and a link would be longer than it says.
const fine = 1500 * time.Microsecond

// deliverLate hands over what is under way to a host. It ends when the device is closed.
func (w *wire) deliverLate(to *wirePort) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		p, due, wait := to.late.next()
		if due {
			if w.link(p.from, to).Cut {
				w.dropped.Add(1)
			} else {
				w.deliver(to, p.data)
			}
			continue
		}
		if wait <= fine {
			_ = unix.Nanosleep(&unix.Timespec{Nsec: wait.Nanoseconds()}, nil) // who is woken before the time comes here again
			continue
		}
		timer.Reset(wait - fine)
		select {
		case <-timer.C:
		case <-to.late.wake:
		case <-to.late.gone:
			return
		}
	}
}
