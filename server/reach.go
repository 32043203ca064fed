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
// same, however long the round trips on the others were; and it answers. One that answers only on a connection of its own
// does not on those that there are, which end: TCP may wait for long before it tries them again.
func (d *datacenter) greet(ctx context.Context, addr string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	shed := d.all.pool.Watch(addr)
	answered := make(chan error, 1)
	go func() { answered <- d.question(ctx, d.all.pool, addr) }() // ends with ctx
	for {
		if err := d.knock(ctx, addr); err != nil {
			return err
		}
		select {
		case err := <-answered:
			return err
		case <-time.After(doubtful):
		}
		apart := rpc.NewPool(d.all.ways)
		err := d.question(ctx, apart, addr)
		apart.Close()
		if err == nil {
			shed()
			return nil
		}
		if ctx.Err() != nil {
			return <-answered
		}
	}
}

// knock has a server's machine take a connection.
func (d *datacenter) knock(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, d.all.dial)
	defer cancel()
	conn, err := d.all.connect(ctx, addr)
	if err != nil {
		return err
	}
	return conn.Close()
}

// question asks a server something that it knows by itself. Whatever it says is an answer.
func (d *datacenter) question(ctx context.Context, pool *rpc.Pool, addr string) error {
	_, _, err := api.StatusLeader.Call(ctx, pool.To(addr), rpc.Header{Datacenter: d.name}, &api.Nothing{})
	switch link := (*rpc.LinkError)(nil); {
	case errors.As(err, &link):
		return err
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return fmt.Errorf("%s: %w", addr, context.Cause(ctx))
	}
	return nil
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
