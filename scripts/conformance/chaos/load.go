//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/curia-mesh/curia/scripts/conformance/linear"
)

const (
	workers = 6 // in a group
	// pace is the time between two calls of a worker.
	pace = 20 * time.Millisecond
	// wait is how long a client waits for an answer.
	wait = 5 * time.Second
	// lifetime is how long objects are used: a judge's work grows quickly with the length of a history.
	lifetime = 3 * time.Second
	// slots is how many keys an object has.
	slots = 3
)

// load is clients that use keys, transactions and locks, and remember what they saw.
type load struct {
	c       *cluster
	name    string
	history *linear.History
	modes   []string // of reads; an object has one for all of its life

	mu      sync.Mutex
	born    time.Time
	round   int
	clients int
}

// startLoad runs groups of clients until stop is called. Each group has objects of its own.
func startLoad(ctx context.Context, c *cluster, name string, groups int) (l *load, stop func(), err error) {
	l = &load{c: c, name: name, history: linear.NewHistory(), modes: []string{"consistent", "default"}, born: time.Now()}
	// Their sessions belong to a node that no agent watches over, so that nothing but a release ends the hold of a lock.
	node := map[string]string{"Node": "clients", "Address": "192.0.2.1"}
	var ok bool
	if err := c.api.json(ctx, c.servers[0], "PUT", "/v1/catalog/register", node, &ok); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for i := range workers * groups {
		var session struct{ ID string }
		want := map[string]any{"Node": "clients", "Name": fmt.Sprint("worker-", i), "NodeChecks": []string{}, "LockDelay": "0s"}
		if err := c.api.json(ctx, c.servers[0], "PUT", "/v1/session/create", want, &session); err != nil {
			cancel()
			return nil, nil, err
		}
		wg.Go(func() { l.work(ctx, i, session.ID) })
	}
	return l, func() { cancel(); wg.Wait() }, nil
}

// objects are those in use now: one for each mode of reading.
func (l *load) object(mode string, group int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Since(l.born) > lifetime {
		l.round++
		l.born = time.Now()
	}
	return fmt.Sprintf("%s/%s-%d-%d", l.name, mode, group, l.round)
}

// client numbers those that call one after another: whoever got no answer may still have a call under way.
func (l *load) client() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clients++
	return l.clients
}

// worker is one client.
type worker struct {
	*load
	id      int
	server  *server
	session string
	count   int
	seen    map[string]pair // what it last read, by key
}

func (l *load) work(ctx context.Context, i int, session string) {
	w := &worker{load: l, id: l.client(), server: l.c.servers[i%len(l.c.servers)], session: session, seen: map[string]pair{}}
	for ; ctx.Err() == nil; pause(ctx, pace) {
		mode := l.modes[rand.IntN(len(l.modes))]
		if err := w.call(ctx, l.object(mode, i/workers), mode); err != nil {
			if !errors.Is(err, errNotSent) {
				w.id = l.client()
			}
			w.server = l.c.servers[rand.IntN(len(l.c.servers))]
		}
		if len(w.seen) > 100 {
			clear(w.seen)
		}
	}
}

// call makes one call picked by chance and records it.
func (w *worker) call(ctx context.Context, object, mode string) error {
	// A call that began is waited for, also when the load is to end.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), wait)
	defer cancel()
	w.count++
	value := func(n int) string { return fmt.Sprintf("%s.%d.%d", w.session[:8], w.count, n) }
	slot, other := rand.IntN(slots), rand.IntN(slots)
	c := linear.Call{Object: object}
	switch p := rand.IntN(100); {
	case p < 35:
		c.Verb, c.Read = linear.Read, []int{0, 1, 2}
	case p < 50:
		c.Verb, c.Set = linear.Write, []linear.Cell{{Slot: slot, Value: value(0)}}
	case p < 55:
		c.Verb, c.Set = linear.Write, []linear.Cell{{Slot: slot}}
	case p < 67:
		c.Verb, c.Set = linear.Write, []linear.Cell{{Slot: slot, Value: value(0)}}
		c.Expect = []linear.Cell{{Slot: slot, Value: w.known(object, slot)}}
	case p < 80 && slot != other:
		c.Verb, c.Set = linear.Write, []linear.Cell{{Slot: slot, Value: value(0)}, {Slot: other, Value: value(1)}}
		c.Expect = []linear.Cell{{Slot: slot, Value: w.known(object, slot)}}
	case p < 87:
		c.Verb, c.Session = linear.Acquire, w.session
	case p < 94:
		c.Verb, c.Session = linear.Release, w.session
	default:
		c.Verb = linear.Holder
	}
	entry := w.history.Begin(w.id, c)
	a, err := w.send(ctx, c, mode)
	switch {
	case errors.Is(err, errNotSent):
		w.history.Forget(entry)
	case err != nil:
		w.history.End(entry, linear.Answer{Unknown: true})
	default:
		w.history.End(entry, a)
	}
	return err
}

func key(object string, slot int) string { return fmt.Sprintf("%s/%d", object, slot) }

func (w *worker) known(object string, slot int) string {
	p, ok := w.seen[key(object, slot)]
	if !ok {
		return ""
	}
	return p.text()
}

// send carries a call to the worker's server. After an error that is not errNotSent nobody knows what happened.
func (w *worker) send(ctx context.Context, c linear.Call, mode string) (linear.Answer, error) {
	switch c.Verb {
	case linear.Read:
		return w.read(ctx, c, mode)
	case linear.Holder:
		return w.holder(ctx, c, mode)
	case linear.Acquire, linear.Release:
		return w.truth(ctx, "PUT", fmt.Sprintf("/v1/kv/%s/lock?%s=%s", c.Object, c.Verb, c.Session), nil)
	}
	if len(c.Set) > 1 {
		return w.txn(ctx, c)
	}
	set := c.Set[0]
	path, method := "/v1/kv/"+key(c.Object, set.Slot), "PUT"
	if set.Value == "" {
		method = "DELETE"
	}
	if len(c.Expect) > 0 {
		path += fmt.Sprintf("?cas=%d", w.index(c.Object, c.Expect[0]))
	}
	return w.truth(ctx, method, path, []byte(set.Value))
}

// index is what check-and-set compares for a value that this worker has read: 0 for none.
func (w *worker) index(object string, e linear.Cell) uint64 {
	if e.Value == "" {
		return 0
	}
	return w.seen[key(object, e.Slot)].ModifyIndex
}

// truth is for answers that are true or false.
func (w *worker) truth(ctx context.Context, method, path string, body []byte) (linear.Answer, error) {
	r, err := w.c.api.do(ctx, w.server, method, path, body)
	if err != nil {
		return linear.Answer{}, err
	}
	text := strings.TrimSpace(string(r.body))
	if r.status != http.StatusOK || text != "true" && text != "false" {
		return linear.Answer{}, fmt.Errorf("status %d: %.200s", r.status, text)
	}
	return linear.Answer{OK: text == "true"}, nil
}

func query(mode string) string {
	if mode == "default" {
		return ""
	}
	return mode
}

func (w *worker) read(ctx context.Context, c linear.Call, mode string) (linear.Answer, error) {
	all, err := w.c.api.pairs(ctx, w.server, c.Object+"/", query(mode))
	if err != nil {
		return linear.Answer{}, err
	}
	a := linear.Answer{Values: make([]string, slots)}
	for slot := range slots {
		k := key(c.Object, slot)
		delete(w.seen, k)
		if i := slices.IndexFunc(all, func(p pair) bool { return p.Key == k }); i >= 0 {
			w.seen[k] = all[i]
			a.Values[slot] = all[i].text()
		}
	}
	return a, nil
}

func (w *worker) holder(ctx context.Context, c linear.Call, mode string) (linear.Answer, error) {
	all, err := w.c.api.pairs(ctx, w.server, c.Object+"/lock", query(mode))
	if err != nil || len(all) == 0 {
		return linear.Answer{}, err
	}
	return linear.Answer{Holder: all[0].Session, LockIndex: all[0].LockIndex}, nil
}

// txn is a transaction: what is expected is checked, then all is set.
func (w *worker) txn(ctx context.Context, c linear.Call) (linear.Answer, error) {
	type op struct {
		Verb, Key string
		Value     []byte `json:",omitempty"`
		Index     uint64 `json:",omitempty"`
	}
	var ops []map[string]op
	for _, e := range c.Expect {
		o := op{Verb: "check-not-exists", Key: key(c.Object, e.Slot)}
		if e.Value != "" {
			o.Verb, o.Index = "check-index", w.index(c.Object, e)
		}
		ops = append(ops, map[string]op{"KV": o})
	}
	for _, s := range c.Set {
		ops = append(ops, map[string]op{"KV": {Verb: "set", Key: key(c.Object, s.Slot), Value: []byte(s.Value)}})
	}
	body, err := json.Marshal(ops)
	if err != nil {
		return linear.Answer{}, err
	}
	r, err := w.c.api.do(ctx, w.server, "PUT", "/v1/txn", body)
	if err != nil {
		return linear.Answer{}, err
	}
	switch r.status {
	case http.StatusOK:
		return linear.Answer{OK: true}, nil
	case http.StatusConflict:
		return linear.Answer{OK: false}, nil
	}
	return linear.Answer{}, fmt.Errorf("status %d: %.200s", r.status, r.body)
}
