//go:build unix

package proxy

import (
	"bytes"
	"io"
	"testing"
	"time"
)

// What a socket does not take at once is kept, and comes before all that is written later.
func TestOffer(t *testing.T) {
	near, far := joined(t)
	near.SetDeadline(time.Now().Add(patienceOf))
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
	left, err := false, error(nil)
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
