package demo

import (
	"context"
	"maps"
	"net/http"
	"sync"
	"time"
)

// pace is how often each datacenter's web is asked, and inFlight how many of these requests may be under way.
const (
	pace     = 100 * time.Millisecond
	inFlight = int(callTime / pace)
)

// Flow is what the traffic of one datacenter's web to the api of one datacenter came to since its first success.
type Flow struct {
	Datacenter string
	Of         string // the datacenter whose api is asked for
	Requests   int
	Failed     int
	AnsweredBy map[string]int // by datacenter
	Slowest    float64        // in seconds
	LastBy     string         // the datacenter that answered last
	LastError  string         `json:",omitempty"`
}

// flow is the traffic of one web to one api.
type flow struct {
	url    string
	client *http.Client
	first  chan struct{} // closed at the first success

	mu      sync.Mutex
	now     Flow
	changed chan struct{} // closed when a request has ended
}

func newFlow(dc, of, url string, c *http.Client) *flow {
	return &flow{url: url, client: c, first: make(chan struct{}), now: Flow{Datacenter: dc, Of: of, AnsweredBy: map[string]int{}}, changed: make(chan struct{})}
}

// run asks until ctx ends.
func (f *flow) run(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	tick := time.NewTicker(pace)
	defer tick.Stop()
	free := make(chan struct{}, inFlight)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		select {
		case free <- struct{}{}:
			all.Go(func() { // ends within callTime
				began := time.Now()
				said, err := call(ctx, f.client, f.url)
				if ctx.Err() == nil {
					f.count(said, err, time.Since(began))
				}
				<-free
			})
		default: // so many fail slowly that those count
		}
	}
}

// count takes the end of a request into account. What fails before the first success is no failure: the mesh comes up.
func (f *flow) count(said *answer, err error, took time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case err == nil && said.Upstream != nil:
		if f.now.Requests == 0 {
			close(f.first)
		}
		f.now.AnsweredBy[said.Upstream.Datacenter]++
		f.now.LastBy = said.Upstream.Datacenter
	case f.now.Requests == 0:
		return
	default:
		f.now.Failed++
		f.now.LastError = "no answer"
		if err != nil {
			f.now.LastError = err.Error()
		}
	}
	f.now.Requests++
	f.now.Slowest = max(f.now.Slowest, took.Seconds())
	close(f.changed)
	f.changed = make(chan struct{})
}

// look is what there is, and a channel that is closed when that is another.
func (f *flow) look() (Flow, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now
	now.AnsweredBy = maps.Clone(now.AnsweredBy)
	return now, f.changed
}

// since is what came after before.
func (f Flow) since(before Flow) Flow {
	f.Requests -= before.Requests
	f.Failed -= before.Failed
	by := map[string]int{}
	for dc, n := range f.AnsweredBy {
		if n -= before.AnsweredBy[dc]; n > 0 {
			by[dc] = n
		}
	}
	f.AnsweredBy = by
	return f
}

// again begins to measure the slowest request anew.
func (f *flow) again() Flow {
	f.mu.Lock()
	f.now.Slowest = 0
	f.mu.Unlock()
	now, _ := f.look()
	return now
}
