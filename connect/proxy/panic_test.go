package proxy

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/curia-mesh/curia/rpc/http1/wire"
)

// breaking is a caller's end at which something is wrong with the proxy itself.
type breaking struct{ nobody }

func (breaking) next() ([]byte, error) { return nil, io.EOF }
func (breaking) buffered() bool        { return false }
func (breaking) rear() []byte          { return nil }
func (breaking) respond(*wire.Head, []byte) error {
	panic("a fault of the proxy's own")
}

// A panic while a response is passed on leaves nothing behind at what others share: no stream of the connection to the
// endpoint, and no place under the limits.
func TestPanicGivesBack(t *testing.T) {
	for _, http2 := range []bool{true, false} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		app := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, "hi")
		})}
		app.Protocols.SetHTTP1(true)
		app.Protocols.SetUnencryptedHTTP2(true)
		served := make(chan struct{})
		go func() { // ends with the application
			defer close(served)
			app.Serve(l)
		}()
		to := &Target{Name: "app", Endpoints: []Endpoint{{Network: "tcp", Address: l.Addr().String()}}, HTTP2: http2}
		conf := &Listener{Name: "l", Network: "tcp", Address: "127.0.0.1:0", Protocol: HTTP, Routes: Direct(to)}
		p := New(Options{DrainTime: time.Second})
		if err := p.Update(&Snapshot{Listeners: []*Listener{conf}}); err != nil {
			t.Fatal(err)
		}
		text := []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		var head wire.Head
		if err := head.Parse(text); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			func() {
				defer func() {
					if recover() == nil {
						t.Error("nothing went wrong")
					}
				}()
				c := &client{listening: p.listening[conf.at()], remote: l.Addr()}
				new(exchange).run(breaking{}, c, conf, &head, text)
			}()
		}
		for _, c := range p.Clusters() {
			if c.Requests+c.Connections+c.Pending != 0 || c.Endpoints[0].Active != 0 {
				t.Errorf("HTTP2 %v: what is left of the target is %+v", http2, c)
			}
		}
		for _, h := range p.hosts {
			for _, hop := range h.hops.conns {
				if n, room := hop.Load(); n != 0 || !room {
					t.Errorf("%d exchanges are under way over the connection to the endpoint, with room for more: %v", n, room)
				}
			}
			if http2 && len(h.hops.conns) != 1 {
				t.Errorf("%d connections were made", len(h.hops.conns))
			}
		}
		ctx, stop := context.WithCancel(t.Context())
		stop()
		p.Run(ctx)
		app.Close()
		<-served
	}
}
