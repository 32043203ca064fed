package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc/pause"
)

// Watch is a view of the cluster that is looked at again whenever it changes.
// Source: https://developer.hashicorp.com/consul/docs/automate/watch
type Watch struct {
	Type        string // one of WatchTypes
	Key         string // key
	Prefix      string // keyprefix
	Service     string // service, checks and connect_leaf
	ServiceID   string // agent_service
	State       string // checks
	Name        string // event
	Tags        []string
	PassingOnly bool
	Filter      string
	Query       Query // datacenter, token and consistency
}

// calm is the shortest time between two looks that find nothing new.
const calm = 250 * time.Millisecond

// WatchTypes are the types of watches.
func WatchTypes() []string {
	return []string{"key", "keyprefix", "services", "nodes", "service", "checks", "event", "connect_roots", "connect_leaf", "agent_service"}
}

// Result is a watch's view at one moment.
type Result struct {
	Index uint64 // 0 where the view has a hash instead
	Hash  string
	JSON  []byte // compact
}

// Validate checks that the watch says what its type needs.
func (w *Watch) Validate() error {
	need := func(what, value string) error {
		if value == "" {
			return catalog.Errorf(catalog.Invalid, "a watch of type %s needs a %s", w.Type, what)
		}
		return nil
	}
	switch w.Type {
	case "":
		return catalog.Errorf(catalog.Invalid, "watch has no type: want one of %v", WatchTypes())
	case "key":
		return need("key", w.Key)
	case "keyprefix":
		return need("prefix", w.Prefix)
	case "service", "connect_leaf":
		return need("service", w.Service)
	case "agent_service":
		return need("service id", w.ServiceID)
	case "checks":
		if w.Service != "" && w.State != "" {
			return catalog.Errorf(catalog.Invalid, "a watch of checks takes a service or a state, not both")
		}
	}
	if !slices.Contains(WatchTypes(), w.Type) {
		return catalog.Errorf(catalog.Invalid, "unknown watch type %q: want one of %v", w.Type, WatchTypes())
	}
	return nil
}

// Fetch looks once; with a last result it waits until the view differs from that one or the agent's wait
// is over.
func (w *Watch) Fetch(ctx context.Context, c *Client, last Result) (Result, error) {
	path, q := w.request()
	q.Index, q.Hash, q.Filter = last.Index, last.Hash, w.Filter
	var raw json.RawMessage
	meta, err := c.Do(ctx, http.MethodGet, path, q, nil, &raw)
	var e *Error
	if errors.As(err, &e) && e.Status == http.StatusNotFound && (w.Type == "key" || w.Type == "keyprefix") {
		meta, raw, err = e.Meta, nil, nil
	}
	if err != nil {
		return Result{}, err
	}
	shaped, err := w.shape(raw)
	if err != nil {
		return Result{}, fmt.Errorf("watch of type %s: %w", w.Type, err)
	}
	if w.Type == "agent_service" {
		return Result{Hash: meta.Hash, JSON: shaped}, nil
	}
	return Result{Index: next(meta.Index, last.Index), JSON: shaped}, nil
}

// Run looks again and again and gives every new view to deliver, until ctx ends or deliver fails. Looks
// that fail are told to missed and tried again, at most a minute apart.
func (w *Watch) Run(ctx context.Context, c *Client, deliver func(context.Context, Result) error, missed func(error)) error {
	var last Result
	var seen []byte
	failures := 0
	for ctx.Err() == nil {
		started := time.Now()
		r, err := w.Fetch(ctx, c, last)
		if err != nil {
			if ctx.Err() != nil {
				break
			}
			missed(err)
			last = Result{} // the next look answers at once
			pause.For(ctx, min(time.Second<<min(failures, 6), time.Minute))
			failures++
			continue
		}
		failures, last = 0, r
		if seen != nil && bytes.Equal(seen, r.JSON) {
			if time.Since(started) < calm { // an agent that does not block must not be asked in a storm
				pause.For(ctx, calm)
			}
			continue
		}
		seen = r.JSON
		if err := deliver(ctx, r); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (w *Watch) request() (string, Query) {
	q := w.Query
	switch w.Type {
	case "key":
		return keyPath(w.Key), q
	case "keyprefix":
		return keyPath(w.Prefix), q.With("recurse", "")
	case "services":
		return "/v1/catalog/services", q
	case "nodes":
		return "/v1/catalog/nodes", q
	case "service":
		for _, tag := range w.Tags {
			q = q.With("tag", tag)
		}
		if w.PassingOnly {
			q = q.With("passing", "1")
		}
		return Path("health", "service", w.Service), q
	case "checks":
		if w.Service != "" {
			return Path("health", "checks", w.Service), q
		}
		if w.State == "" {
			return Path("health", "state", string(catalog.Any)), q
		}
		return Path("health", "state", w.State), q
	case "event":
		if w.Name != "" {
			q = q.With("name", w.Name)
		}
		return "/v1/event/list", q
	case "connect_roots":
		return "/v1/agent/connect/ca/roots", q
	case "connect_leaf":
		return Path("agent", "connect", "ca", "leaf", w.Service), q
	}
	return Path("agent", "service", w.ServiceID), q
}

// shape turns an answer of the API into what handlers of this watch expect.
func (w *Watch) shape(raw json.RawMessage) ([]byte, error) {
	switch w.Type {
	case "key", "keyprefix":
		return w.keys(raw)
	case "service":
		return services(raw)
	}
	var b bytes.Buffer
	err := json.Compact(&b, raw)
	return b.Bytes(), err
}

// keys writes a session even where there is none, and of one key no list.
func (w *Watch) keys(raw json.RawMessage) ([]byte, error) {
	pairs := []*struct {
		catalog.KVPair
		Session string
	}{}
	if raw != nil {
		if err := json.Unmarshal(raw, &pairs); err != nil {
			return nil, err
		}
	}
	switch {
	case w.Type == "keyprefix":
		return json.Marshal(pairs)
	case len(pairs) == 0:
		return []byte("null"), nil
	}
	return json.Marshal(pairs[0])
}

// services leaves out what a service does not say of its mode and peer, and lists even no checks.
func services(raw json.RawMessage) ([]byte, error) {
	var instances []map[string]json.RawMessage
	if err := json.Unmarshal(raw, &instances); err != nil {
		return nil, err
	}
	for _, in := range instances {
		var service map[string]json.RawMessage
		if err := json.Unmarshal(in["Service"], &service); err != nil {
			return nil, err
		}
		drop(service, "PeerName")
		var proxy map[string]json.RawMessage
		if json.Unmarshal(service["Proxy"], &proxy) == nil && proxy != nil {
			drop(proxy, "Mode")
			service["Proxy"] = marshal(proxy)
		}
		in["Service"] = marshal(service)
		if string(in["Checks"]) == "null" {
			in["Checks"] = json.RawMessage("[]")
		}
	}
	if instances == nil {
		return []byte("[]"), nil
	}
	return json.Marshal(instances)
}

func drop(m map[string]json.RawMessage, key string) {
	if string(m[key]) == `""` {
		delete(m, key)
	}
}

// marshal writes what was read as JSON a moment ago.
func marshal(m map[string]json.RawMessage) json.RawMessage {
	b, _ := json.Marshal(m)
	return b
}
