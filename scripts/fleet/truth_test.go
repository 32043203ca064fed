//go:build unix

package fleet

import (
	"sync"
	"time"

	"github.com/curia-mesh/curia/rpc/gossip"
)

// truth compares what every agent was told of every other one with what is so.
type truth struct {
	mu    sync.Mutex
	up    []bool
	side  []int    // agents of one side can reach one another
	sees  [][]bool // by observer and subject: told to be alive
	wrong int      // pairs of a living observer and a subject that he sees as it is not
	right chan struct{}

	doubted  []int           // by subject: how many take it for failed that could reach it
	episodes []int           // by subject: times that nobody did, and then somebody
	opinions map[opinion]int // times that one did
	found    [][]time.Time
}

// opinion is that an observer takes a living subject for failed, though he could reach it.
type opinion struct{ observer, subject int }

// alarms are how often living subjects were taken for failed by somebody who could reach them.
type alarms struct{ episodes, opinions int }

func (a alarms) minus(b alarms) alarms {
	return alarms{a.episodes - b.episodes, a.opinions - b.opinions}
}

func newTruth(n int) *truth {
	tr := &truth{
		up: make([]bool, n), side: make([]int, n), sees: make([][]bool, n), doubted: make([]int, n), episodes: make([]int, n),
		opinions: make(map[opinion]int), found: make([][]time.Time, n), right: make(chan struct{}),
	}
	for i := range n {
		tr.up[i], tr.sees[i] = true, make([]bool, n)
	}
	tr.count()
	return tr
}

// seen is what an event says of whom; false for one that says nothing of the kind.
func seen(e gossip.Event) (subject int, alive, ok bool) {
	if e.Kind == gossip.User || e.Kind == gossip.Conflict {
		return 0, false, false
	}
	return indexOf(e.Member.Name), e.Kind == gossip.Joined || e.Kind == gossip.Updated, true
}

// saw records that an observer was told that a subject is alive, or not.
func (tr *truth) saw(observer, subject int, alive bool) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if !tr.up[observer] || tr.sees[observer][subject] == alive {
		return
	}
	tr.sees[observer][subject] = alive
	switch is := tr.reaches(observer, subject); {
	case is == alive:
		tr.wrong--
	default:
		tr.wrong++
	}
	switch {
	case alive:
		tr.doubted[subject] = max(0, tr.doubted[subject]-1)
	case !tr.up[subject]:
		tr.found[subject] = append(tr.found[subject], time.Now())
	case tr.reaches(observer, subject):
		tr.opinions[opinion{observer, subject}]++
		if tr.doubted[subject]++; tr.doubted[subject] == 1 {
			tr.episodes[subject]++
		}
	}
	if tr.wrong == 0 {
		tr.settle()
	}
}

// reaches says what an observer ought to see. The caller holds mu.
func (tr *truth) reaches(observer, subject int) bool {
	return tr.up[subject] && tr.side[observer] == tr.side[subject]
}

// settle wakes who waits for all to be right. The caller holds mu.
func (tr *truth) settle() {
	select {
	case <-tr.right:
	default:
		close(tr.right)
	}
}

// count counts the wrong pairs anew, after the truth has changed. The caller holds mu, or is alone.
func (tr *truth) count() {
	tr.wrong, tr.right = 0, make(chan struct{})
	for o := range tr.up {
		if !tr.up[o] {
			continue
		}
		for s := range tr.up {
			if tr.sees[o][s] != tr.reaches(o, s) {
				tr.wrong++
			}
		}
	}
	if tr.wrong == 0 {
		tr.settle()
	}
}

func (tr *truth) kill(victims []int) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for _, v := range victims {
		tr.up[v] = false
	}
	tr.count()
}

// split says who is on which side from now on.
func (tr *truth) split(side func(int) int) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for i := range tr.side {
		tr.side[i] = side(i)
	}
	clear(tr.doubted)
	tr.count()
}

// await waits until every living agent sees all others as they are. It says how long that took, or how many pairs
// were still wrong when limit had passed.
func (tr *truth) await(limit time.Duration) (took time.Duration, wrong int) {
	start := time.Now()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		tr.mu.Lock()
		right := tr.right
		wrong = tr.wrong
		if wrong > 0 {
			select {
			case <-right: // it was right, and is no more
				right = make(chan struct{})
				tr.right = right
			default:
			}
		}
		tr.mu.Unlock()
		if wrong == 0 {
			return time.Since(start), 0
		}
		select {
		case <-right:
		case <-timer.C:
			return time.Since(start), wrong
		}
	}
}

// falseAlarms are the false alarms so far: the episodes, and the opinions that which picks, all of them for nil.
func (tr *truth) falseAlarms(which func(opinion) bool) (sum alarms) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for _, n := range tr.episodes {
		sum.episodes += n
	}
	for o, n := range tr.opinions {
		if which == nil || which(o) {
			sum.opinions += n
		}
	}
	return sum
}

// detection says when the first found each victim failed, after a kill at start, and how much later each other one
// did.
func (tr *truth) detection(victims []int, start time.Time) (first, later []time.Duration) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for _, v := range victims {
		if len(tr.found[v]) == 0 {
			continue
		}
		first = append(first, tr.found[v][0].Sub(start))
		for _, at := range tr.found[v] {
			later = append(later, at.Sub(tr.found[v][0]))
		}
	}
	return first, later
}
