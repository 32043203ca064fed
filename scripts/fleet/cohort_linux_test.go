package fleet

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// shared is how many processes the agents share that are not starved.
const shared = 4

// cohort is agents in processes of their own, on sockets of the loopback interface and in real time. All processes end
// with the cohort's context, and with this one however it ends, also those that are stopped.
type cohort struct {
	truth *truth

	workers []*worker
}

// worker is a process with some of the agents.
type worker struct {
	agents []int
	cmd    *exec.Cmd
	orders *json.Encoder
	in     io.Closer
	up     chan []byte   // the states of its agents
	counts chan struct{} // closed when it looks at its clock
	ended  chan struct{} // closed when the process has ended; then late is set
	late   lateness
}

// starved reports whether the process is to be stopped again and again.
func (w *worker) starved() bool { return len(w.agents) == 1 && isStarved(w.agents[0]) }

// openCohort starts n agents that do not know one another yet. fail is told of a process that ends before it is let go.
func openCohort(ctx context.Context, n int, guarded bool, fail context.CancelCauseFunc) (*cohort, error) {
	c := &cohort{truth: newTruth(n)}
	groups := make([][]int, shared)
	for i := range n {
		if isStarved(i) {
			groups = append(groups, []int{i})
		} else {
			groups[i%shared] = append(groups[i%shared], i)
		}
	}
	for _, agents := range groups {
		if err := c.start(ctx, agents, guarded, fail); err != nil {
			return c, err
		}
	}
	return c, nil
}

func (c *cohort) start(ctx context.Context, agents []int, guarded bool, fail context.CancelCauseFunc) error {
	w := &worker{agents: agents, up: make(chan []byte, len(agents)), counts: make(chan struct{}), ended: make(chan struct{})}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	w.cmd = exec.CommandContext(ctx, self)
	w.cmd.Env = append(os.Environ(), workerEnv+"=1")
	w.cmd.Stderr = os.Stderr
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := w.cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := w.cmd.Start(); err != nil {
		return err
	}
	c.workers = append(c.workers, w)
	w.in, w.orders = in, json.NewEncoder(in)
	go func() { // ends with the process
		defer close(w.ended)
		whole := c.listen(w, out)
		if err := w.cmd.Wait(); err != nil || !whole {
			fail(fmt.Errorf("the process of agents %v ended: %w", agents, errors.Join(err, io.ErrUnexpectedEOF)))
		}
	}()
	return w.orders.Encode(orders{Agents: agents, Guarded: guarded})
}

// listen takes in what a process reports until it ends, and tells whether it came to its last word.
func (c *cohort) listen(w *worker, out io.Reader) (whole bool) {
	for in := json.NewDecoder(out); ; {
		var r reportLine
		switch err := in.Decode(&r); {
		case err != nil:
			return whole
		case r.Late != nil:
			w.late, whole = *r.Late, true
		case r.State != nil:
			w.up <- r.State
		case r.Counts:
			close(w.counts)
		default:
			c.truth.saw(r.Observer, r.Subject, r.Alive)
		}
	}
}

// tell gives all processes an order.
func (c *cohort) tell(o orders) error {
	for _, w := range c.workers {
		if err := w.orders.Encode(o); err != nil {
			return err
		}
	}
	return nil
}

// know makes all agents know one another from the start.
func (c *cohort) know(ctx context.Context) error {
	var states [][]byte
	for _, w := range c.workers {
		for range w.agents {
			select {
			case s := <-w.up:
				states = append(states, s)
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
	return c.tell(orders{All: stateOf(states)})
}

// watchClocks lets all processes look at their clocks from now on.
func (c *cohort) watchClocks(ctx context.Context) error {
	if err := c.tell(orders{Count: true}); err != nil {
		return err
	}
	for _, w := range c.workers {
		select {
		case <-w.counts:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// close lets all processes go and waits for them.
func (c *cohort) close() (late, stopped lateness) {
	for _, w := range c.workers {
		w.cmd.Process.Signal(syscall.SIGCONT)
		w.in.Close()
	}
	for _, w := range c.workers {
		<-w.ended
		if w.starved() {
			stopped = stopped.plus(w.late)
		} else {
			late = late.plus(w.late)
		}
	}
	return late, stopped
}

// starve stops every starved agent's process for 2 s out of 4, each with a beat of its own, until ctx ends, and lets
// all go on then.
func (c *cohort) starve(ctx context.Context) {
	random := rand.New(rand.NewPCG(*seedFlag, 2))
	var wg sync.WaitGroup
	for _, w := range c.workers {
		if !w.starved() {
			continue
		}
		next := time.Now().Add(time.Duration(random.Int64N(int64(2 * starvedFor))))
		wg.Go(func() {
			defer w.cmd.Process.Signal(syscall.SIGCONT)
			for sig, other := syscall.SIGSTOP, syscall.SIGCONT; ; sig, other = other, sig {
				if pause(ctx, time.Until(next)); ctx.Err() != nil {
					return
				}
				w.cmd.Process.Signal(sig)
				next = next.Add(starvedFor)
			}
		})
	}
	wg.Wait()
}

// count is what came of it so far.
func (c *cohort) count() starvation {
	byWell := c.truth.falseAlarms(func(o opinion) bool { return !isStarved(o.observer) })
	aboutWell := c.truth.falseAlarms(func(o opinion) bool { return !isStarved(o.subject) })
	return starvation{alarms: c.truth.falseAlarms(nil), byWell: byWell.opinions, aboutWell: aboutWell.opinions}
}

// starveBoth starves a tenth of n agents for so long, and at the same time a tenth of as many without Lifeguard. rest is
// how long what the start set off has to pass, and every is how often it tells how far it is.
func starveBoth(ctx context.Context, n int, length, rest, every time.Duration) (with, without starvation, err error) {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var both [2]*cohort
	defer func() {
		fail(nil) // kills what still runs
		for _, c := range both {
			if c != nil {
				c.close()
			}
		}
	}()
	for i := range both {
		if both[i], err = openCohort(ctx, n, i == 0, fail); err != nil {
			return with, without, err
		}
	}
	right := func(when string) error {
		for _, c := range both {
			if _, wrong := c.truth.await(10 * time.Minute); wrong > 0 {
				return cmp.Or(context.Cause(ctx), fmt.Errorf("%d pairs are wrong %s", wrong, when))
			}
		}
		return context.Cause(ctx)
	}
	for _, c := range both {
		if err := c.know(ctx); err != nil {
			return with, without, err
		}
	}
	if err := right("10 minutes after the start"); err != nil {
		return with, without, err
	}
	pause(ctx, rest)
	var before, seen [2]starvation
	for i, c := range both {
		if err := c.watchClocks(ctx); err != nil {
			return with, without, err
		}
		before[i] = c.count()
	}
	starving, end := context.WithTimeout(ctx, length)
	defer end()
	var wg sync.WaitGroup
	for _, c := range both {
		wg.Go(func() { c.starve(starving) })
	}
	look := func() {
		for i, c := range both {
			seen[i] = c.count().minus(before[i])
		}
	}
	for began := time.Now(); starving.Err() == nil; {
		pause(starving, every)
		look()
		fmt.Fprintf(os.Stderr, "sim: %s with agents that are stopped: %d opinions with Lifeguard, %d without\n",
			time.Since(began).Round(time.Second), seen[0].opinions, seen[1].opinions)
	}
	wg.Wait()
	look()
	if err := right("10 minutes after the last was stopped"); err != nil {
		return with, without, err
	}
	for i, c := range both {
		seen[i].hours = float64(n) * length.Hours()
		seen[i].late, seen[i].stopped = c.close()
	}
	return seen[0], seen[1], context.Cause(ctx)
}

// pause waits, but not longer than ctx lasts.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
