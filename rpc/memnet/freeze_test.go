package memnet_test

import (
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/curia-mesh/curia/rpc/memnet"
)

func TestFreeze(t *testing.T) {
	bubble("packets wait in both directions", t, func(t *testing.T, n *memnet.Network) {
		n.SetAll(memnet.Link{Delay: time.Millisecond})
		a, err := n.Host("a").Transport(7946)
		must(t, err)
		b, err := n.Host("b").Transport(7946)
		must(t, err)
		exchange := func(text string) {
			t.Helper()
			_, err := a.WriteTo([]byte(text), b.Addr())
			must(t, err)
			_, err = b.WriteTo([]byte(text), a.Addr())
			must(t, err)
			time.Sleep(time.Second) // the bubble's
		}
		// Packets that arrive at the same time do so in any order.
		took := func(tr *memnet.Transport, after time.Duration, want ...string) {
			t.Helper()
			start := time.Now()
			var got []string
			for range want {
				got = append(got, string((<-tr.PacketCh()).Buf))
			}
			slices.Sort(got)
			if !slices.Equal(got, want) || time.Since(start) != after {
				t.Fatalf("%q after %v, want %q after %v", got, time.Since(start), want, after)
			}
			if left := len(tr.PacketCh()); left > 0 {
				t.Fatalf("%d packets more", left)
			}
		}
		n.Host("b").Freeze()
		exchange("one")
		exchange("two")
		took(a, 0)
		took(b, 0)
		n.Host("b").Thaw()
		took(b, 0, "one", "two")
		took(a, time.Millisecond, "one", "two")
		exchange("three")
		took(a, 0, "three")
		took(b, 0, "three")
	})
	bubble("what waits is gone with the process", t, func(t *testing.T, n *memnet.Network) {
		a, err := n.Host("a").Transport(7946)
		must(t, err)
		b := n.Host("b")
		_, err = b.Transport(7946)
		must(t, err)
		b.Freeze()
		_, err = a.WriteTo([]byte("x"), b.Addr(7946))
		must(t, err)
		b.Crash()
		again, err := b.Transport(7946)
		must(t, err)
		_, err = a.WriteTo([]byte("y"), b.Addr(7946))
		must(t, err)
		if p := <-again.PacketCh(); string(p.Buf) != "y" || len(again.PacketCh()) > 0 {
			t.Fatalf("%q", p.Buf)
		}
	})
	bubble("connections are made and nobody reads", t, func(t *testing.T, n *memnet.Network) {
		n.Host("b").Freeze()
		a, b := pair(t, n)
		write(t, a, "there")
		must(t, b.SetReadDeadline(time.Now().Add(time.Second)))
		if _, err := b.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		must(t, b.SetDeadline(time.Now().Add(time.Second)))
		if _, err := b.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		must(t, b.SetDeadline(time.Time{}))
		time.AfterFunc(time.Minute, n.Host("b").Thaw)
		go b.Write([]byte("back"))
		arrives(t, b, "there", time.Minute)
		arrives(t, a, "back", 0)
	})
	bubble("who is frozen does not dial", t, func(t *testing.T, n *memnet.Network) {
		n.Host("a").Freeze()
		time.AfterFunc(time.Minute, n.Host("a").Thaw)
		start := time.Now()
		pair(t, n)
		if d := time.Since(start); d != time.Minute {
			t.Fatal(d)
		}
	})
}

func TestPartitions(t *testing.T) {
	bubble("", t, func(t *testing.T, n *memnet.Network) {
		hosts := map[string]*memnet.Transport{}
		for _, name := range []string{"a", "b", "c", "d"} {
			tr, err := n.Host(name).Transport(7946)
			must(t, err)
			hosts[name] = tr
		}
		// reached lists the pairs between which packets go, in each direction.
		reached := func() (pairs string) {
			t.Helper()
			for _, from := range []string{"a", "b", "c", "d"} {
				for _, to := range []string{"a", "b", "c", "d"} {
					if _, err := hosts[from].WriteTo([]byte("x"), hosts[to].Addr()); err != nil {
						t.Fatal(err)
					}
					if len(hosts[to].PacketCh()) > 0 && from != to {
						pairs += from + to + " "
					}
					for len(hosts[to].PacketCh()) > 0 {
						<-hosts[to].PacketCh()
					}
				}
			}
			return pairs
		}
		f := func(change func(), want string) {
			t.Helper()
			if change(); reached() != want {
				t.Fatalf("%q reach one another, want %q", reached(), want)
			}
		}
		const all = "ab ac ad ba bc bd ca cb cd da db dc "
		f(func() {}, all)
		f(func() { n.Partition("a", "b") }, "ab ba cd dc ")
		f(func() { n.Partition("b", "c") }, "") // each is alone: the first partition holds on
		f(n.Heal, all)
		f(func() { n.Partition("a") }, "bc bd cb cd db dc ")
		f(func() { n.Cut("b", "c") }, "bd cb cd db dc ")
		f(func() { n.Set("a", "b", memnet.Link{}) }, "bd cb cd db dc ")
		f(n.Heal, all)
		f(func() { n.Partition("d"); n.SetAll(memnet.Link{}) }, all)
	})
}
