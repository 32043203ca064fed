package rpc_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/rpc/tcpinfo/deaf"
)

// taken tells of the connections that a listener takes.
type taken struct {
	net.Listener
	conns chan *net.TCPConn
}

func (l taken) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.conns <- c.(*net.TCPConn)
	}
	return c, err
}

// A connection whose server takes its time stays. One on which nothing comes through ends, with the calls on it, when
// somebody sees that the server takes others.
func TestShed(t *testing.T) {
	for name, secured := range map[string]bool{"plain": false, "tls": true} {
		t.Run(name, func(t *testing.T) {
			var lc net.ListenConfig
			lc.SetMultipathTCP(false)
			inner, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
			must(t, err)
			under := taken{inner, make(chan *net.TCPConn, 8)}
			asked, answers := make(chan bool, 8), make(chan bool)
			so := rpc.ServerOptions{Encode: encodeError, Handler: func(ctx context.Context, p rpc.Peer, call *rpc.Call) (rpc.Answer, error) {
				asked <- true
				<-answers
				return answerEcho(ctx, p, call)
			}}
			lo, dialer := rpc.ListenerOptions{}, rpc.Dialer{}
			if secured {
				a := newAuthority(t)
				lo, dialer = a.serving("server"), a.dialing("client")
			}
			l, _ := serveOn(t, under, so, lo)
			p := pool(t, rpc.PoolOptions{Dialer: dialer, Decode: decodeError})
			addr := l.Addr().String()
			call := func() <-chan error {
				done := make(chan error, 1)
				go func() {
					_, _, err := echo.Call(t.Context(), p.To(addr), rpc.Header{}, &request{Name: "x"})
					done <- err
				}()
				return done
			}
			slow := call()
			conn := <-under.conns
			<-asked
			p.Shed(addr)
			answers <- true
			must(t, <-slow)

			deaf.Set(t, conn, true)
			lost := call()
			again := time.NewTicker(20 * time.Millisecond)
			defer again.Stop()
			for begun := time.Now(); ; <-again.C {
				p.Shed(addr)
				select {
				case err := <-lost:
					if link := (*rpc.LinkError)(nil); !errors.As(err, &link) || !link.Sent {
						t.Fatalf("the call that was lost: %v", err)
					}
				default:
					if time.Since(begun) > 10*time.Second {
						t.Fatal("nothing was shed")
					}
					continue
				}
				break
			}
			next := call()
			<-asked
			answers <- true
			must(t, <-next)
			deaf.Set(t, conn, false)
		})
	}
}
