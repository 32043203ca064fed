//go:build unix

package fleet

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/curia-mesh/curia/rpc/gossip"
	"github.com/curia-mesh/curia/rpc/memnet"
)

// port is where every agent gossips.
const port = 8301

// fleet is agents on one network. Everything is used within one bubble.
type fleet struct {
	t      *testing.T
	net    *memnet.Network
	agents []*agent
	truth  *truth
	wg     sync.WaitGroup
}

// agent is one pool and what it sends.
type agent struct {
	pool  *gossip.Pool
	host  *memnet.Host
	meter *meter
}

// newFleet opens n agents that do not know one another yet; change adapts their configuration.
func newFleet(t *testing.T, net *memnet.Network, prefix string, n int, change ...func(*gossip.Config)) *fleet {
	f := &fleet{t: t, net: net, truth: newTruth(n)}
	for i := range n {
		host := net.Host(name(prefix, i))
		trans, err := host.Transport(port)
		if err != nil {
			t.Fatal(err)
		}
		a := &agent{host: host, meter: &meter{Transport: trans}}
		c := gossip.Config{Kind: gossip.LAN, Name: host.Name(), Transport: a.meter, Tune: uncompressed, Bind: addrPort(host)}
		if *leanFlag {
			c.NoCoordinates = true
		} else {
			c.Tags = map[string]string{"role": "node", "dc": "dc1", "id": host.IP().String(), "build": "1.21.4"}
		}
		for _, adapt := range change {
			adapt(&c)
		}
		if a.pool, err = gossip.Open(c); err != nil {
			t.Fatal(err)
		}
		f.agents = append(f.agents, a)
		f.wg.Go(func() { // ends with the pool
			for e := range a.pool.Events() {
				if subject, alive, ok := seen(e); ok {
					f.truth.saw(i, subject, alive)
				}
			}
		})
	}
	return f
}

func name(prefix string, i int) string { return fmt.Sprintf("%s-%d", prefix, i) }

// indexOf is the number in a name made by name.
func indexOf(member string) int {
	i, err := strconv.Atoi(member[strings.LastIndexByte(member, '-')+1:])
	if err != nil {
		panic(err)
	}
	return i
}

// seeds is how many agents the others join, as many as there are servers in a datacenter.
const seeds = 3

// waveEvery is how long agents that start in waves wait for the next one: what the last set off has passed by then, so
// that what is still to be told takes no more memory than one wave's.
const waveEvery = 30 * time.Second

// join lets all agents join the seeds, at the same time or in so many waves, and tells how many could not.
func (f *fleet) join(waves int) (failed int) {
	var (
		mu   sync.Mutex
		wg   sync.WaitGroup
		to   []string
		ctx  = f.t.Context()
		lost int
	)
	for _, a := range f.agents[:seeds] {
		to = append(to, a.host.Addr(port))
	}
	for i, a := range f.agents {
		wg.Go(func() {
			time.Sleep(time.Duration(i*waves/len(f.agents)) * waveEvery)
			for range 5 { // an agent retries as retry_join does
				if _, err := a.pool.Join(ctx, []string{to[i%seeds], to[(i+1)%seeds]}); err == nil {
					return
				}
				time.Sleep(5 * time.Second)
			}
			mu.Lock()
			defer mu.Unlock()
			lost++
		})
	}
	wg.Wait()
	return lost
}

// kill ends agents as a kill -9 does.
func (f *fleet) kill(victims []int) {
	f.truth.kill(victims)
	for _, v := range victims {
		f.agents[v].host.Crash()
	}
	for _, v := range victims {
		if err := f.agents[v].pool.Close(); err != nil {
			f.t.Error(err)
		}
	}
}

// close ends all agents and gives the library's probes the virtual time to end.
func (f *fleet) close() {
	for _, a := range f.agents {
		if err := a.pool.Close(); err != nil {
			f.t.Error(err)
		}
	}
	f.wg.Wait()
	time.Sleep(time.Minute)
}

// traffic is what all agents have sent so far.
func (f *fleet) traffic() (sum load) {
	for _, a := range f.agents {
		sum = sum.plus(a.meter.load())
	}
	return sum
}
