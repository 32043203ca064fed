package rpc_test

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"

	"github.com/curia-mesh/curia/rpc"
)

// lossy is a network on which nothing comes back over the connections that were made before it was cut.
type lossy struct {
	made atomic.Int64
	cut  atomic.Int64 // how many had been made then
}

type lossyConn struct {
	net.Conn
	number int64
	of     *lossy
}

func (l *lossy) connect(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, addr)
	return &lossyConn{c, l.made.Add(1), l}, err
}

func (c *lossyConn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		if err != nil || c.number > c.of.cut.Load() {
			return n, err
		}
	}
}

// A connection on which something comes stays, one on which nothing does ends with the calls on it, and the next call
// is made on another.
func TestWatch(t *testing.T) {
	for name, secured := range map[string]bool{"plain": false, "tls": true} {
		t.Run(name, func(t *testing.T) {
			network := &lossy{}
			asked, answers, ended := make(chan bool, 8), make(chan bool), make(chan bool, 8)
			so := rpc.ServerOptions{Encode: encodeError, Handler: func(ctx context.Context, p rpc.Peer, call *rpc.Call) (rpc.Answer, error) {
				asked <- true
				select {
				case <-answers:
				case <-ctx.Done():
					ended <- true
				}
				return answerEcho(ctx, p, call)
			}}
			lo, dialer := rpc.ListenerOptions{}, rpc.Dialer{}
			if secured {
				a := newAuthority(t)
				lo, dialer = a.serving("server"), a.dialing("client")
			}
			dialer.Connect = network.connect
			l, _ := serve(t, so, lo)
			p := pool(t, rpc.PoolOptions{Dialer: dialer, Decode: decodeError})
			call := func() <-chan error {
				done := make(chan error, 1)
				go func() {
					_, _, err := echo.Call(t.Context(), p.To(l.Addr().String()), rpc.Header{}, &request{Name: "x"})
					done <- err
				}()
				<-asked
				return done
			}
			first := call()
			shed := p.Watch(l.Addr().String())
			second := call()
			answers <- true
			answers <- true
			must(t, <-first)
			shed() // something came
			must(t, <-second)

			network.cut.Store(network.made.Load())
			lost := call()
			shed = p.Watch(l.Addr().String())
			shed()
			if err := <-lost; !errors.As(err, new(*rpc.LinkError)) {
				t.Fatalf("the call that was lost: %v", err)
			}
			<-ended // else it might take the answer to the next one
			next := call()
			answers <- true
			must(t, <-next)
			if n := network.made.Load(); n != 2 {
				t.Errorf("%d connections were made, not 2", n)
			}
		})
	}
}
