package share_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/rpc/share"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type reply struct{ Text string }

// far answers a blocking query when it has news for it, or its wait is over. It belongs to one bubble.
type far struct {
	news chan string // for one query
	wait time.Duration

	mu    sync.Mutex
	open  int
	index uint64
	text  string
	seen  []rpc.Header
}

// trip is how long it is to it and back.
const trip = time.Millisecond

func (f *far) Call(ctx context.Context, call *rpc.Call) (rpc.Answer, error) {
	f.enter(call)
	defer f.leave()
	time.Sleep(trip)
	if call.Header.MinIndex >= f.at() {
		over := time.NewTimer(min(call.Header.MaxWait, f.wait))
		defer over.Stop()
		select {
		case text := <-f.news:
			if text == "" {
				return rpc.Answer{}, errors.New("lost")
			}
			f.change(text)
		case <-over.C:
		case <-ctx.Done():
			return rpc.Answer{}, ctx.Err()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	data, err := rpc.Encode(&reply{f.text})
	return rpc.Answer{Meta: rpc.Meta{Index: f.index}, Body: rpc.NewBody(rpc.Raw(data), nil)}, err
}

func (f *far) enter(call *rpc.Call) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open++
	f.seen = append(f.seen, call.Header)
}

func (f *far) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open--
}

func (f *far) change(text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.text = text
	f.index++
}

func (f *far) at() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.index
}

// asked are the headers of all calls until now.
func (f *far) asked() []rpc.Header {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.seen)
}

func bubble(t *testing.T, wait time.Duration, do func(t *testing.T, f *far, q *share.Queries)) {
	synctest.Test(t, func(t *testing.T) {
		f := &far{news: make(chan string), wait: wait, index: 7, text: "one"}
		do(t, f, share.New(share.Options{Next: f, Span: func(h rpc.Header) time.Duration { return h.MaxWait }, Longest: 10 * time.Minute}))
		synctest.Wait()
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.open != 0 {
			t.Errorf("%d queries outlive those who asked", f.open)
		}
	})
}

func query(h rpc.Header, name string) *rpc.Call {
	return &rpc.Call{Method: "Test.Read", Header: h, Body: &reply{name}, NewReply: func() any { return new(reply) }}
}

func TestOneForAll(t *testing.T) {
	bubble(t, 10*time.Minute, func(t *testing.T, f *far, q *share.Queries) {
		const askers = 1000
		answers := make(chan rpc.Answer, askers)
		ask := func(call *rpc.Call) { // ends with the answer
			a, err := q.Call(t.Context(), call)
			if err != nil {
				t.Error(err)
			}
			answers <- a
		}
		for n := range askers {
			call := query(rpc.Header{MinIndex: 7, MaxWait: time.Hour}, "web")
			if n%2 == 1 { // passed on for somebody else
				data, err := rpc.Encode(call.Body)
				if err != nil {
					t.Fatal(err)
				}
				call.Body, call.NewReply = rpc.Raw(data), nil
			}
			go ask(call)
		}
		time.Sleep(time.Minute)
		if asked := f.asked(); len(asked) != 1 || asked[0].MaxWait != 10*time.Minute {
			t.Fatalf("asked %+v", asked)
		}
		f.news <- "two"
		var typed *rpc.Body
		for range askers {
			a := <-answers
			if a.Meta.Index != 8 {
				t.Fatalf("index %d", a.Meta.Index)
			}
			if r, ok := a.Value().(*reply); ok {
				if typed == nil {
					typed = a.Body
				}
				if r.Text != "two" || a.Body != typed {
					t.Fatalf("%q, decoded anew: %v", r.Text, a.Body != typed)
				}
			} else if _, ok := a.Value().(rpc.Raw); !ok {
				t.Fatalf("%T", a.Value())
			}
		}

		for _, other := range []rpc.Header{{MinIndex: 9}, {MinIndex: 8, Token: "t"}, {MinIndex: 8, Filter: "t"}, {MinIndex: 8, Consistency: rpc.Stale}, {MinIndex: 8, MaxStale: 1}, {MinIndex: 8, Datacenter: "x"}} {
			other.MaxWait = time.Second
			go ask(query(other, "web"))
		}
		go ask(query(rpc.Header{MinIndex: 8, MaxWait: time.Second}, "api"))
		synctest.Wait()
		if n := len(f.asked()); n != 8 {
			t.Errorf("%d calls: questions that differ were taken for one", n)
		}
		for range 7 {
			<-answers
		}
	})
}

// Each waits for as long as it wants to, whoever asked first; what it then gets is shared as well.
func TestWaits(t *testing.T) {
	bubble(t, time.Minute, func(t *testing.T, f *far, q *share.Queries) {
		begun := time.Now()
		type end struct {
			after time.Duration
			text  string
			err   error
		}
		ask := func(ctx context.Context, wait time.Duration) <-chan end {
			ended := make(chan end, 1)
			go func() { // ends with the answer
				a, err := q.Call(ctx, query(rpc.Header{MinIndex: 7, MaxWait: wait}, "web"))
				e := end{after: time.Since(begun), err: err}
				if err == nil {
					e.text = fmt.Sprint(a.Value().(*reply).Text, " ", a.Meta.Index)
				}
				ended <- e
			}()
			synctest.Wait()
			return ended
		}
		short, short2 := ask(t.Context(), time.Second), ask(t.Context(), time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		gone := ask(ctx, time.Hour)
		long := ask(t.Context(), 90*time.Second) // longer than the other side waits
		for _, c := range []<-chan end{short, short2} {
			if e := <-c; e.after != time.Second+trip || e.text != "one 7" || e.err != nil {
				t.Errorf("a wait of a second: %+v", e)
			}
		}
		if e := <-gone; e.after != 2*time.Second || !errors.Is(e.err, context.DeadlineExceeded) {
			t.Errorf("a caller that stopped: %+v", e)
		}
		if e := <-long; e.after != 90*time.Second+trip || e.text != "one 7" || e.err != nil {
			t.Errorf("a wait of 90 s: %+v", e)
		}
		if n := len(f.asked()); n != 4 { // the first, what two shared when their second was over, the first again, and the last
			t.Errorf("%d calls", n)
		}

		failed, failed2 := ask(t.Context(), time.Hour), ask(t.Context(), time.Hour)
		f.news <- ""
		for _, c := range []<-chan end{failed, failed2} {
			if e := <-c; e.err == nil || e.err.Error() != "lost" {
				t.Errorf("a connection that broke: %+v", e)
			}
		}
	})
}
