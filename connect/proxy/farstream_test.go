package proxy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/curia-mesh/curia/rpc/http1/wire"
	"github.com/curia-mesh/curia/rpc/http2"
)

// A request whose connection was taken away between its choice and its sending has touched nothing, and may go elsewhere,
// whatever its method.
func TestGoneBeforeSending(t *testing.T) {
	near, far := net.Pipe()
	c := http2.New(near, nil, http2.Options{})
	ended := make(chan struct{})
	go func() { // ends with the connection
		defer close(ended)
		c.Run()
	}()
	s, err := c.Open()
	if err != nil {
		t.Fatal(err)
	}
	const settings, ping, goAway = "\x00\x00\x00\x04\x00\x00\x00\x00\x00", "\x00\x00\x08\x06\x00\x00\x00\x00\x00is there", "\x00\x00\x08\x07\x00\x00\x00\x00\x00\x7f\xff\xff\xff\x00\x00\x00\x00"
	go io.WriteString(far, settings+goAway+ping) // ends with the connection
	var said []byte
	for !bytes.Contains(said, []byte("is there")) { // the answer to what follows the GOAWAY
		b := make([]byte, 1<<10)
		n, err := far.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		said = append(said, b[:n]...)
	}
	u := &farStream{Stream: s, hop: &hop{Conn: c}, used: true}
	if err := u.send(&request{head: new(wire.Head)}, nil, true); !errors.Is(err, errUntouched) || !errors.Is(err, http2.ErrFull) {
		t.Errorf("got %v", err)
	}
	u.Release()
	far.Close()
	<-ended
}
