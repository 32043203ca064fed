//go:build unix

package proxy

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"
)

// What a socket does not take at once is kept, and comes before all that is written later.
func TestOffer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	near.SetDeadline(time.Now().Add(20 * time.Second))
	far.SetDeadline(time.Now().Add(20 * time.Second))
	write, offer := writersOf(near)
	if offer == nil {
		t.Fatal("a socket cannot be offered anything")
	}
	var all []byte
	part := func(n int) []byte {
		b := bytes.Repeat([]byte{byte(len(all) % 251)}, n)
		all = append(all, b...)
		return b
	}
	left := false
	for n := 1; !left; n += 40_000 { // it ends when the buffers of the system are full, and does not wait
		if left, err = offer(part(n)); err != nil {
			t.Fatal(err)
		}
	}
	got := make(chan []byte, 1)
	go func() { // ends with the connection
		b, _ := io.ReadAll(far)
		got <- b
	}()
	for _, b := range [][]byte{nil, part(100)} {
		if err := write(b); err != nil {
			t.Fatal(err)
		}
	}
	if _, err = offer(part(10)); err == nil {
		err = write(nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	near.Close()
	if b := <-got; !bytes.Equal(b, all) {
		t.Errorf("%d bytes came of %d, or others", len(b), len(all))
	}
}
