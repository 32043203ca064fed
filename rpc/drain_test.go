package rpc_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curia-mesh/curia/rpc"
)

// A server that ends answers what is under way, and whatever it has not acted on may be asked elsewhere, for its
// caller knows. Streams are cut off, and who does not hang up is not waited for.
func TestDrain(t *testing.T) {
	begun := map[string]int{}
	so := rpc.ServerOptions{
		Handler: func(ctx context.Context, _ rpc.Peer, call *rpc.Call) (rpc.Answer, error) {
			begun[call.Method]++
			switch call.Method {
			case "slow":
				time.Sleep(time.Second)
			case "parked":
				<-ctx.Done()
			}
			return rpc.Answer{Body: rpc.NewBody(rpc.Raw(make([]byte, 1<<20)), nil)}, nil // long answers go after a bye that is not held back
		},
		Streams: func(ctx context.Context, _ rpc.Peer, _ *rpc.Call, _ io.ReadWriter) error {
			<-ctx.Done()
			return nil
		},
		Parks: func(call *rpc.Call) bool { return call.Method == "parked" },
	}
	inWorld(t, so, rpc.ListenerOptions{}, func(t *testing.T, w *world) {
		to := w.pool(t, "agent", rpc.PoolOptions{}).To("s:8300")
		call := func(method string) chan error {
			done := make(chan error, 1)
			go func() {
				_, err := to.Call(t.Context(), &rpc.Call{Method: method, Body: rpc.Raw{0xc0}})
				done <- err
			}()
			synctest.Wait()
			return done
		}
		slow, parked := call("slow"), call("parked")
		stream, err := to.Open(t.Context(), &rpc.Call{Method: "s", Body: rpc.Raw{0xc0}})
		must(t, err)
		synctest.Wait()
		start := time.Now()
		drained := make(chan time.Duration, 1)
		go func() {
			w.port.Drain(t.Context())
			drained <- time.Since(start)
		}()
		synctest.Wait()
		late := call("late")
		if err := <-slow; err != nil {
			t.Error("what was under way:", err)
		}
		link := new(rpc.LinkError)
		for what, done := range map[string]chan error{"late": late, "parked": parked, "later": call("later")} {
			if err := <-done; !errors.As(err, &link) || link.Sent {
				t.Errorf("%s: %v, want that it was not acted on", what, err)
			}
		}
		if begun["late"]+begun["later"] != 0 || begun["slow"] != 1 {
			t.Errorf("acted on %v", begun)
		}
		if _, err := stream.Read(make([]byte, 1)); !errors.As(err, &link) || !link.Sent {
			t.Errorf("the stream: %v", err)
		}
		if took := <-drained; took != time.Second {
			t.Errorf("it took %v", took)
		}
	})
	inWorld(t, so, rpc.ListenerOptions{}, func(t *testing.T, w *world) {
		w.raw(t, "silent")
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		w.port.Drain(ctx)
		if ctx.Err() == nil {
			t.Error("a caller that has not hung up was not waited for")
		}
	})
}
