//go:build unix

package fleet

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/hashicorp/memberlist"

	"github.com/curia-mesh/curia/rpc/gossip"
	"github.com/curia-mesh/curia/rpc/memnet"
)

// These are memberlist's exchange of state on the wire: a byte of its own, a header, and so many states of members.
type (
	stateHeader struct {
		Nodes, UserStateLen int
		Join                bool
	}
	memberState struct {
		Name        string
		Addr        []byte
		Port        uint16
		Meta        []byte
		Incarnation uint32
		State       memberlist.NodeStateType
		Vsn         []uint8
	}
)

const exchangeOfState = 6 // pushPullMsg

// settleFor is more than the two times up to 16 s after which a pool that saw many members come exchanges its state again.
const settleFor = 40 * time.Second

// know makes all agents know one another, as if they always had: each is told of all others by one exchange of state, and
// none of them passes the news on. This takes a small part of what a start takes, in which each is told of each other one
// a dozen times. While it lasts, no virtual time passes.
func (f *fleet) know() error {
	f.net.SetAll(memnet.Link{})
	defer f.net.SetAll(lan)
	teacher := f.net.Host("teacher")
	dial := func(addr string) (net.Conn, error) { return teacher.Dial(f.t.Context(), "tcp", addr) }
	var states [][]byte
	for _, a := range f.agents {
		state, err := ownState(dial, a.host.Addr(port))
		if err != nil {
			return err
		}
		states = append(states, state)
	}
	all := stateOf(states)
	var mu sync.Mutex
	var first error
	var wg sync.WaitGroup
	next := make(chan *agent)
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for a := range next {
				if err := teach(dial, a.host.Addr(port), a.pool, all); err != nil {
					mu.Lock()
					first = err
					mu.Unlock()
				}
			}
		})
	}
	for _, a := range f.agents {
		a.meter.noStreams.Store(true)
		next <- a
	}
	close(next)
	wg.Wait()
	return first
}

// settle lets the exchanges of state pass that pools would make now that they have seen many members come: they fail.
func (f *fleet) settle() {
	time.Sleep(settleFor)
	for _, a := range f.agents {
		a.meter.noStreams.Store(false)
	}
}

// ownState is what an agent says of itself, as an exchange of state tells it.
func ownState(dial func(addr string) (net.Conn, error), addr string) (own []byte, err error) {
	return own, exchange(dial, addr, stateOf(nil), func(in *bufio.Reader) error {
		if kind, err := in.ReadByte(); err != nil || kind != exchangeOfState {
			return fmt.Errorf("kind %d: %w", kind, err)
		}
		dec := codec.NewDecoder(in, &codec.MsgpackHandle{})
		var header stateHeader
		if err := dec.Decode(&header); err != nil {
			return err
		}
		if header.Nodes != 1 {
			return fmt.Errorf("it knows %d members already", header.Nodes)
		}
		var s memberState
		if err := dec.Decode(&s); err != nil {
			return err
		}
		own = encode(s)
		return nil
	})
}

// stateOf is an exchange of state that tells the states of so many agents.
func stateOf(states [][]byte) []byte {
	return slices.Concat([]byte{exchangeOfState}, encode(stateHeader{Nodes: len(states)}), bytes.Join(states, nil))
}

// encode is for what can be encoded.
func encode(v any) (b []byte) {
	if err := codec.NewEncoderBytes(&b, &codec.MsgpackHandle{}).Encode(v); err != nil {
		panic(err)
	}
	return b
}

// teach tells an agent of all, and makes it forget what it would tell others of that. memberlist has no function for the
// latter: what it has queued is emptied behind its back.
func teach(dial func(addr string) (net.Conn, error), addr string, pool *gossip.Pool, all []byte) error {
	err := exchange(dial, addr, all, func(*bufio.Reader) error { return nil })
	queue := reflect.ValueOf(pool).Elem().FieldByName("serf").Elem().FieldByName("memberlist").Elem().FieldByName("broadcasts")
	(*memberlist.TransmitLimitedQueue)(queue.UnsafePointer()).Reset()
	return err
}

// exchange tells an agent a state, gives read what the agent tells, and waits until it has taken all in.
func exchange(dial func(addr string) (net.Conn, error), addr string, state []byte, read func(*bufio.Reader) error) error {
	conn, err := dial(addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.Write(state); err != nil {
		return err
	}
	in := bufio.NewReader(conn)
	if err := read(in); err != nil {
		return fmt.Errorf("exchange of state with %s: %w", addr, err)
	}
	_, err = io.Copy(io.Discard, in) // it closes when it is through
	return err
}

// TestKnown looks whether all know one another at once, and tell nobody of it.
func TestKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		f := newFleet(t, memnet.New(1), "agent", 12)
		defer f.close()
		if err := f.know(); err != nil {
			t.Fatal(err)
		}
		if _, wrong := f.truth.await(time.Second); wrong > 0 || time.Since(start) > 0 {
			t.Fatalf("%d pairs do not know one another after %s", wrong, time.Since(start))
		}
		f.settle()
		// A probe, or an answer to one, is of less than 100 bytes; the news of one member takes more.
		if sent := f.traffic(); sent.packets == 0 || sent.packetBytes/sent.packets > 120 || sent.streams > 0 {
			t.Fatalf("%d packets of %d bytes in all, and %d exchanges of state", sent.packets, sent.packetBytes, sent.streams)
		}
	})
}
