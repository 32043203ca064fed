package peer

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/curia-mesh/curia/catalog"
)

// TestPieces: what is cut into messages is whole again behind them, each within its bound, and what never fits is left out.
func TestPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u := &serviceUpdate{Name: "web"}
		draw := func(what string) (list []*catalog.Instance) {
			for n := range rapid.IntRange(0, 500).Draw(t, what) {
				size := 10
				if rapid.IntRange(0, 60).Draw(t, "large") == 0 {
					size = rapid.SampledFrom([]int{100 << 10, maxFrame / 2, maxFrame + 1}).Draw(t, "size")
				}
				list = append(list, &catalog.Instance{Node: &catalog.Node{Node: fmt.Sprint(what, n)}, Service: &catalog.Service{ID: strings.Repeat("x", size)}})
			}
			return list
		}
		u.Instances, u.Sidecars = draw("instance"), draw("sidecar")
		frames, left, err := pieces(u)
		if err != nil {
			t.Fatal(err)
		}
		got, too := &serviceUpdate{Name: "web"}, 0
		for n, f := range frames {
			m, err := readMessage(bytes.NewReader(f))
			if err != nil {
				t.Fatal(err)
			}
			if m.Service.More != (n < len(frames)-1) || m.Service.Name != "web" {
				t.Fatalf("piece %d of %d: %+v", n, len(frames), m.Service)
			}
			got.Instances, got.Sidecars = append(got.Instances, m.Service.Instances...), append(got.Sidecars, m.Service.Sidecars...)
		}
		names := func(lists ...[]*catalog.Instance) (all []string) {
			for _, list := range lists {
				for _, i := range list {
					if len(i.Service.ID) > maxFrame {
						too++
						continue
					}
					all = append(all, i.Node.Node)
				}
			}
			return all
		}
		if want := fmt.Sprint(names(u.Instances, u.Sidecars)); fmt.Sprint(names(got.Instances, got.Sidecars)) != want || left != too {
			t.Fatalf("left out %d, want %d; of %s", left, too, want)
		}
	})
}

// TestLongMessage: a length beyond the bound is refused before anything of that length is read or kept.
func TestLongMessage(t *testing.T) {
	for _, n := range []uint32{0, maxFrame + 1, 1 << 31} {
		rest := &counting{}
		_, err := readMessage(io.MultiReader(bytes.NewReader(binary.BigEndian.AppendUint32(nil, n)), rest))
		if err != errFrame || rest.read != 0 {
			t.Errorf("length %d: %v after %d bytes", n, err, rest.read)
		}
	}
}

type counting struct{ read int }

func (c *counting) Read(p []byte) (int, error) {
	c.read += len(p)
	return len(p), nil
}

// FuzzMessage: whatever comes is a message or an error, and what is one is the same after another way through the codec.
func FuzzMessage(f *testing.F) {
	for _, m := range []*message{
		{Heartbeat: true}, {Gone: true}, {Exports: &exportList{Whole: true, Names: []string{"web"}}}, {Bundle: &bundle{ServerName: "server.dc1.peering.x.consul"}},
		{Service: &serviceUpdate{Name: "web", Instances: []*catalog.Instance{{Node: &catalog.Node{Node: "n"}, Service: &catalog.Service{Service: "web"}}, nil}}},
	} {
		data, err := encodeMessage(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := readMessage(bytes.NewReader(data))
		if err != nil {
			return
		}
		if s := m.Service; s != nil {
			taken := &catalog.ImportedService{Service: s.Name, Instances: s.Instances, Sidecars: s.Sidecars}
			if taken.Adopt("north") == nil {
				for _, i := range append(taken.Instances, taken.Sidecars...) {
					if i.Node.PeerName != "north" || i.Service.PeerName != "north" || i.Status() == "" {
						t.Errorf("taken over: node %+v, service %+v", i.Node, i.Service)
					}
				}
			}
		}
		once, err := encodeMessage(m)
		if err != nil {
			t.Fatal(err)
		}
		again, err := readMessage(bytes.NewReader(once))
		if err != nil {
			t.Fatal(err)
		}
		if twice, err := encodeMessage(again); err != nil || !bytes.Equal(once, twice) {
			t.Errorf("%v: %x is not %x", err, twice, once)
		}
	})
}

// TestOutbox: of each thing the latest is sent, in an order in which the other side can take it, and nothing that is not
// exported any more.
func TestOutbox(t *testing.T) {
	o := newOutbox()
	sent := func() string {
		var all []string
		for {
			frames, last, err := o.pop()
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range frames {
				m, err := readMessage(bytes.NewReader(f))
				if err != nil {
					t.Fatal(err)
				}
				switch {
				case m.Heartbeat:
					all = append(all, "beat")
				case m.Gone:
					all = append(all, "gone")
				case m.Bundle != nil:
					all = append(all, "bundle "+m.Bundle.ServerName)
				case m.Exports != nil:
					all = append(all, fmt.Sprint("exports ", m.Exports.Names))
				case m.Service != nil:
					all = append(all, fmt.Sprint(m.Service.Name, " ", len(m.Service.Instances)))
				}
			}
			if len(frames) == 0 || last {
				return strings.Join(all, ", ")
			}
		}
	}
	f := func(want string) {
		t.Helper()
		if got := sent(); got != want {
			t.Errorf("sent %q, want %q", got, want)
		}
	}
	some := func(name string, n int) *serviceUpdate {
		u := &serviceUpdate{Name: name}
		for range n {
			u.Instances = append(u.Instances, &catalog.Instance{Node: &catalog.Node{}, Service: &catalog.Service{}})
		}
		return u
	}
	o.update(some("web", 1)) // before it is known to be exported
	o.export([]string{"db", "web"})
	o.introduce(&bundle{ServerName: "s"})
	o.update(some("web", 1))
	o.update(some("db", 2))
	o.update(some("web", 3))
	f("bundle s, exports [db web], web 3, db 2")
	o.introduce(&bundle{ServerName: "s"})
	o.export([]string{"db", "web"})
	f("")
	o.update(some("web", 4))
	o.update(some("db", 4))
	o.export([]string{"db"})
	o.beat()
	f("beat, exports [db], db 4")
	o.export(nil)
	f("exports []")
	o.update(some("db", 5))
	o.goodbye()
	f("gone")
	if !o.ended() {
		t.Error("the end was sent, and is not known")
	}
}

// What a peer says of its gateways is fit to be in names and to be connected to, or it is not taken; one of an older version says
// nothing.
func TestGatewaysOfPeers(t *testing.T) {
	f := func(knownAs string, gateways []string, fit bool) {
		t.Helper()
		if err := (&bundle{KnownAs: knownAs, Gateways: gateways}).checkGateways(); (err == nil) != fit {
			t.Errorf("%q at %d addresses: %v", knownAs, len(gateways), err)
		}
	}
	f("", nil, true)
	f("south", []string{"192.0.2.1:8443", "[2001:db8::1]:8443", "gate.example:443"}, true)
	f("south.internal", nil, false)
	f("*", nil, false)
	f("South", nil, false)
	f("south", []string{"192.0.2.1"}, false)
	f("south", []string{":8443"}, false)
	f("south", make([]string, maxGateways+1), false)
}
