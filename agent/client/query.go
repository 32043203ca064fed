package client

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
)

// Query holds what most reads can be told. Zero fields are left out.
type Query struct {
	Datacenter string // in place of the client's
	Token      string // in place of the client's
	// Stale lets any server answer; Consistent makes the leader ask its followers first.
	Stale      bool
	Consistent bool
	// Index, or Hash where the endpoint has one, makes the query block until there is something newer or
	// Wait is over; 0 leaves Wait to the agent.
	// Source: https://developer.hashicorp.com/consul/api-docs/features/blocking
	Index    uint64
	Hash     string
	Wait     time.Duration
	Filter   string
	Near     string
	NodeMeta map[string]string
	// Params are parameters of one endpoint.
	Params url.Values
}

// With returns q with one more parameter.
func (q Query) With(name, value string) Query {
	q.Params = maps.Clone(q.Params)
	if q.Params == nil {
		q.Params = url.Values{}
	}
	q.Params[name] = append(slices.Clone(q.Params[name]), value)
	return q
}

func (q Query) blocks() bool { return q.Index != 0 || q.Hash != "" }

func (q Query) values() url.Values {
	v := url.Values{}
	set := func(name, value string) {
		if value != "" {
			v.Set(name, value)
		}
	}
	set("dc", q.Datacenter)
	set("hash", q.Hash)
	set("filter", q.Filter)
	set("near", q.Near)
	if q.Stale {
		v.Set("stale", "")
	}
	if q.Consistent {
		v.Set("consistent", "")
	}
	if q.Index != 0 {
		v.Set("index", strconv.FormatUint(q.Index, 10))
	}
	if q.blocks() && q.Wait > 0 {
		v.Set("wait", strconv.FormatInt(max(q.Wait.Milliseconds(), 1), 10)+"ms")
	}
	for key, value := range q.NodeMeta {
		v.Add("node-meta", key+":"+value)
	}
	for name, values := range q.Params {
		v[name] = append(v[name], values...)
	}
	return v
}

// Meta is what an answer says about itself.
type Meta struct {
	Index       uint64 // for the next blocking query
	Hash        string
	KnownLeader bool
	LastContact time.Duration // how old a stale answer is at most
}

func metaOf(h http.Header) Meta {
	index, _ := strconv.ParseUint(h.Get("X-Consul-Index"), 10, 64)
	contact, _ := strconv.ParseUint(h.Get("X-Consul-LastContact"), 10, 32)
	return Meta{
		Index: index, Hash: h.Get("X-Consul-ContentHash"),
		KnownLeader: h.Get("X-Consul-KnownLeader") == "true",
		LastContact: time.Duration(contact) * time.Millisecond,
	}
}
