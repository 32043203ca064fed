package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/curia-mesh/curia/rpc/gossip"
)

// workerEnv makes this program one of a cohort's processes.
const workerEnv = "CURIA_FLEET_WORKER"

func TestMain(m *testing.M) {
	if os.Getenv(workerEnv) == "" {
		m.Run()
		return
	}
	if err := work(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "sim:", err)
		os.Exit(1)
	}
}

// orders are what a process is told, one after the other: who its agents are, the state of all agents, and when to begin to
// look at its clock. It ends when there is nothing more to be told.
type orders struct {
	Agents  []int  `json:",omitempty"`
	Guarded bool   `json:",omitempty"`
	All     []byte `json:",omitempty"`
	Count   bool   `json:",omitempty"`
}

// reportLine is what a process tells: the state of an agent, what one was told of another one, that it looks at its
// clock, or its last word.
type reportLine struct {
	State []byte `json:",omitempty"`

	Observer, Subject int
	Alive             bool

	Counts bool      `json:",omitempty"`
	Late   *lateness `json:",omitempty"`
}

// work is what a process does.
func work(in io.Reader, out io.Writer) error {
	told := json.NewDecoder(in)
	var mu sync.Mutex
	enc := json.NewEncoder(out)
	say := func(r reportLine) {
		mu.Lock()
		defer mu.Unlock()
		enc.Encode(r) // who reads it is there for longer than this process
	}
	var first, second, third orders
	if err := told.Decode(&first); err != nil {
		return err
	}
	var pools []*gossip.Pool
	for _, i := range first.Agents {
		p, err := gossip.Open(realConfig(i, first.Guarded))
		if err != nil {
			return err
		}
		pools = append(pools, p)
		go func() { // ends with the process
			for e := range p.Events() {
				if subject, alive, ok := seen(e); ok {
					say(reportLine{Observer: i, Subject: subject, Alive: alive})
				}
			}
		}()
		state, err := ownState(dialLoopback, p.LocalMember().AddrPort().String())
		if err != nil {
			return err
		}
		say(reportLine{State: state})
	}
	if err := told.Decode(&second); err != nil {
		return err
	}
	for _, p := range pools {
		if err := teach(dialLoopback, p.LocalMember().AddrPort().String(), p, second.All); err != nil {
			return err
		}
	}
	if err := told.Decode(&third); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	var late lateness
	var wg sync.WaitGroup
	wg.Go(func() { late = watchClock(ctx, func() { say(reportLine{Counts: true}) }) })
	err := told.Decode(&orders{})
	stop()
	wg.Wait()
	if !errors.Is(err, io.EOF) {
		return err
	}
	say(reportLine{Late: &late})
	return nil
}

func realConfig(i int, guarded bool) gossip.Config {
	c := gossip.Config{
		Kind: gossip.LAN, Name: name("agent", i), Tune: unguarded,
		Bind: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0),
	}
	if guarded {
		c.Tune = uncompressed
	}
	return c
}

func dialLoopback(addr string) (net.Conn, error) { return net.Dial("tcp", addr) }

// watchClock looks every tenth of a second how late it is, until ctx ends. It says when it has begun.
func watchClock(ctx context.Context, begun func()) (l lateness) {
	for {
		due := time.Now().Add(100 * time.Millisecond)
		select {
		case <-time.After(time.Until(due)):
		case <-ctx.Done():
			return l
		}
		late := time.Since(due)
		if l.Ticks++; l.Ticks == 1 {
			begun()
		}
		l.Worst = max(l.Worst, late)
		if late > lateBy {
			l.Late++
		}
	}
}
