package server

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/rpc/pause"
	"github.com/curia-mesh/curia/server/api"
)

// A link between datacenters that is cut says nothing: packets are lost, and TCP goes on for minutes. So whoever waits for an
// answer while nothing else is heard of a datacenter has its servers asked, all at once, whether they are there. When none
// is, the datacenter cannot be reached, and all who wait for it are told, within 2 s of the cut.
const (
	// doubtful is how long nothing has to be heard while somebody waits; for those who wait for a change it is doubtfulParked.
	doubtful       = 300 * time.Millisecond
	doubtfulParked = 5 * time.Second
	// hung is how long servers that can be connected to have to answer then.
	hung = 10 * time.Second
	// probeEvery is how often it is looked whether a datacenter that could not be reached can be again.
	probeEvery = time.Second
)

// presence is a time in which a datacenter can be reached, as far as is known. Its context ends with it.
type presence struct {
	ctx context.Context
	end context.CancelCauseFunc
}

func newPresence() *presence {
	p := new(presence)
	p.ctx, p.end = context.WithCancelCause(context.Background()) // ended by fall, or with what it belongs to
	return p
}

// reached makes a call, which is given up when the datacenter cannot be reached any more.
func (d *datacenter) reached(ctx context.Context, up *presence, call *rpc.Call) (rpc.Answer, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(up.ctx, cancel)()
	after := doubtful
	if call.Header.MinIndex > 0 {
		after = doubtfulParked
	}
	answered := make(chan struct{})
	defer close(answered)
	go d.attend(answered, after) // ends with the call
	answer, err := d.router.Once().Call(ctx, call)
	if link := (*rpc.LinkError)(nil); ctx.Err() == nil && !errors.As(err, &link) {
		d.hear()
	}
	return answer, err
}

func (d *datacenter) hear() { d.heard.Store(int64(time.Since(d.all.began))) }

// silent is for how long nothing was heard.
func (d *datacenter) silent() time.Duration {
	return time.Since(d.all.began) - time.Duration(d.heard.Load())
}

// attend has the datacenter looked for while nothing is heard of it, until answered is closed: ever more rarely, since what
// takes long there may do so for good reason.
func (d *datacenter) attend(answered <-chan struct{}, after time.Duration) {
	timer := time.NewTimer(after)
	defer timer.Stop()
	for {
		select {
		case <-answered:
			return
		case <-timer.C:
		}
		rest := after - d.silent()
		if rest <= 0 {
			d.doubt()
			after = min(2*after, doubtfulParked)
			rest = after
		}
		timer.Reset(rest)
	}
}

// doubt has somebody look, unless somebody does.
func (d *datacenter) doubt() {
	if d.down.Load() != nil || !d.looks.CompareAndSwap(false, true) {
		return
	}
	select {
	case d.all.doubts <- d:
	default:
		d.looks.Store(false)
	}
}

// look asks all servers at once whether they are there. The connections to those that are not end, so that reads which wait
// there go to others; where nobody is, all is given up.
func (d *datacenter) look(ctx context.Context) {
	defer d.looks.Store(false)
	within, cancel := context.WithTimeoutCause(ctx, hung, fmt.Errorf("no answer within %s", hung))
	defer cancel()
	before := d.heard.Load()
	there, away, err := d.ask(within)
	if ctx.Err() != nil || there == 0 && d.heard.Load() != before {
		return // it takes no new connections, and answers on those that there are
	}
	if there == 0 && err != nil {
		d.fall(err)
	}
	for _, addr := range away {
		d.all.pool.Drop(addr)
	}
}

// ask asks each server for something that it knows by itself. It tells how many have answered, which have not, and why.
func (d *datacenter) ask(ctx context.Context) (there int, away []string, why error) {
	var (
		mu    sync.Mutex
		asked sync.WaitGroup
	)
	for _, s := range d.router.Servers() {
		addr := d.all.key(s)
		asked.Go(func() {
			err := d.greet(ctx, addr)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				away, why = append(away, addr), err
				return
			}
			there++
			d.hear()
		})
	}
	asked.Wait()
	return there, away, why
}

// greet says whether a server is there: its machine takes a new connection, for which the kernel's patience is always the
// same, however long the round trips on the others were; and it answers.
func (d *datacenter) greet(ctx context.Context, addr string) error {
	dialing, cancel := context.WithTimeout(ctx, d.all.dial)
	defer cancel()
	conn, err := d.all.connect(dialing, addr)
	if err != nil {
		return fmt.Errorf("dial %s: %w", addr, err)
	}
	conn.Close()
	answered := make(chan struct{})
	defer close(answered)
	go d.shed(addr, answered) // ends with the question
	link := (*rpc.LinkError)(nil)
	for range 2 { // once more when the connection was one of those
		if _, _, err = api.StatusLeader.Call(ctx, d.all.pool.To(addr), rpc.Header{Datacenter: d.name}, &api.Nothing{}); !errors.As(err, &link) {
			break
		}
	}
	switch {
	case errors.As(err, &link):
		return err
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return fmt.Errorf("%s: %w", addr, context.Cause(ctx))
	}
	return nil // whatever it says
}

// shed ends the connections to a server on which nothing comes through though its machine takes new ones, until answered is
// closed: a link that flaps leaves TCP waiting for ever longer.
func (d *datacenter) shed(addr string, answered <-chan struct{}) {
	again := time.NewTicker(doubtful)
	defer again.Stop()
	for {
		d.all.pool.Shed(addr)
		select {
		case <-answered:
			return
		case <-again.C:
		}
	}
}

// fall notes that no server could be reached.
func (d *datacenter) fall(err error) {
	if !d.down.CompareAndSwap(nil, &outage{time.Now(), err}) {
		return
	}
	d.up.Load().end(err)
	d.all.log.Warn("a datacenter cannot be reached: what is asked of it fails until it can", "datacenter", d.name, "err", err)
	select {
	case d.all.fell <- struct{}{}:
	default:
	}
}

// run looks after those that somebody doubts, and those that cannot be reached, until ctx ends, and closes the connections.
func (d *datacenters) run(ctx context.Context) error {
	var looks sync.WaitGroup
	looks.Go(func() {
		for {
			select {
			case other := <-d.doubts:
				looks.Go(func() { other.look(ctx) })
			case <-ctx.Done():
				return
			}
		}
	})
	for ctx.Err() == nil {
		fallen := d.fallen()
		if len(fallen) == 0 {
			select {
			case <-d.fell:
			case <-ctx.Done():
			}
			continue
		}
		pause.For(ctx, probeEvery)
		var probes sync.WaitGroup
		for _, other := range fallen {
			probes.Go(func() { other.probe(ctx) })
		}
		probes.Wait()
	}
	looks.Wait()
	return d.pool.Close()
}

func (d *datacenters) fallen() (list []*datacenter) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, other := range d.others {
		if other.down.Load() != nil {
			list = append(list, other)
		}
	}
	return list
}

// probe looks whether a datacenter that could not be reached can be again.
func (d *datacenter) probe(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*d.all.dial)
	defer cancel()
	if there, _, _ := d.ask(ctx); there == 0 {
		return
	}
	d.up.Store(newPresence())
	out := d.down.Swap(nil)
	d.all.log.Info("a datacenter can be reached again", "datacenter", d.name, "after", time.Since(out.since).Round(time.Second))
}
