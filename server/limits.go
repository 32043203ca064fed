package server

import (
	"context"
	"net"
	"net/netip"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/limit"
)

// Limits are the bounds of how quickly this server is asked.
func (s *Server) Limits() *Limits { return &Limits{s.limits, s.registry.Reads} }

// Limits bounds requests that come from clients of the agent that the server is part of.
type Limits struct {
	*limit.Limiter
	reads func(method string) bool
}

// Admit returns an error with code limited when a request comes too quickly. from is the address of the client's
// connection, host and port; who has none, on a unix socket, counts only among all together.
func (l *Limits) Admit(from, method string) error {
	if l.Idle() {
		return nil
	}
	addr, _ := netip.ParseAddrPort(from)
	return l.Limiter.Admit(addr.Addr(), method, !l.reads(method))
}

// limit bounds the calls that come over the network. Those that another server has taken are bounded there.
func (s *Server) limit(peer rpc.Peer, call *rpc.Call) error {
	if s.limits.Idle() || call.Header.Forwarded > 0 && s.demands().Refuse(rpc.FromServers, peer) == nil {
		return nil
	}
	var from netip.Addr
	if tcp, ok := peer.Addr.(*net.TCPAddr); ok {
		from = tcp.AddrPort().Addr()
	}
	return s.limits.Admit(from, call.Method, !s.registry.Reads(call.Method))
}

// followLimits takes up what the entry about clients' requests says, until ctx ends. Of several the first by name counts.
func (s *Server) followLimits(ctx context.Context) error {
	var index uint64
	for {
		var w state.Watch
		abandoned := s.store.Abandoned()
		entries, _ := state.ConfigEntries(s.store.Read(), &w, catalog.EntryRequestLimit)
		var entry *catalog.RequestLimit
		if len(entries) > 0 {
			entry = entries[0].(*catalog.RequestLimit)
		}
		switch {
		case entry == nil && index != 0:
			s.limits.Entry(nil)
			index = 0
		case entry != nil && entry.ModifyIndex != index:
			s.limits.Entry(entry)
			index = entry.ModifyIndex
		}
		if err := w.Wait(ctx, abandoned); err != nil {
			return nil
		}
	}
}
