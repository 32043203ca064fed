//go:build unix

package fleet

import (
	"bufio"
	"fmt"
	"io"
	"reflect"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/hashicorp/memberlist"

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
	all, err := f.states()
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var first error
	var wg sync.WaitGroup
	next := make(chan *agent)
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for a := range next {
				if err := f.exchange(a, all, nil); err != nil {
					mu.Lock()
					first = err
					mu.Unlock()
				}
				a.forgetNews()
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

// states is an exchange of state that tells of all agents. It has what each of them says of itself.
func (f *fleet) states() ([]byte, error) {
	var all []byte
	enc := codec.NewEncoderBytes(&all, &codec.MsgpackHandle{})
	if err := enc.Encode(stateHeader{Nodes: len(f.agents)}); err != nil {
		return nil, err
	}
	var none []byte
	if err := codec.NewEncoderBytes(&none, &codec.MsgpackHandle{}).Encode(stateHeader{}); err != nil {
		return nil, err
	}
	for _, a := range f.agents {
		var own []byte
		err := f.exchange(a, none, func(header stateHeader, dec *codec.Decoder) error {
			if header.Nodes != 1 {
				return fmt.Errorf("%s knows %d members already", a.host.Name(), header.Nodes)
			}
			var s memberState
			if err := dec.Decode(&s); err != nil {
				return err
			}
			return codec.NewEncoderBytes(&own, &codec.MsgpackHandle{}).Encode(s)
		})
		if err != nil {
			return nil, err
		}
		all = append(all, own...)
	}
	return all, nil
}

// exchange tells an agent a state, gives read what the agent tells, and waits until it has taken all in.
func (f *fleet) exchange(a *agent, state []byte, read func(stateHeader, *codec.Decoder) error) (err error) {
	conn, err := f.net.Host("teacher").Dial(f.t.Context(), "tcp", a.host.Addr(port))
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, part := range [][]byte{{exchangeOfState}, state} {
		if _, err := conn.Write(part); err != nil {
			return err
		}
	}
	in := bufio.NewReader(conn)
	if read != nil {
		kind, err := in.ReadByte()
		if err != nil || kind != exchangeOfState {
			return fmt.Errorf("%s answers %d: %w", a.host.Name(), kind, err)
		}
		dec := codec.NewDecoder(in, &codec.MsgpackHandle{})
		var header stateHeader
		if err := dec.Decode(&header); err != nil {
			return err
		}
		if err := read(header, dec); err != nil {
			return err
		}
	}
	_, err = io.Copy(io.Discard, in) // it closes when it is through
	return err
}

// forgetNews empties what memberlist has queued to tell others, for which it has no function.
func (a *agent) forgetNews() {
	queue := reflect.ValueOf(a.pool).Elem().FieldByName("serf").Elem().FieldByName("memberlist").Elem().FieldByName("broadcasts")
	(*memberlist.TransmitLimitedQueue)(queue.UnsafePointer()).Reset()
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
