package agent

import (
	"context"
	"log/slog"
	"net"
	"time"

	"github.com/curia-mesh/curia/rpc/gossip"
)

// flood brings the servers of this datacenter, which the LAN pool knows, into the WAN pool: so one of them with an
// address elsewhere is enough for all.
// Source: https://developer.hashicorp.com/consul/docs/east-west/wan-federation (join the servers)
type flood struct {
	datacenter string
	lan, wan   *gossip.Pool
	news       chan struct{}
	log        *slog.Logger
}

func newFlood(datacenter string, lan, wan *gossip.Pool, log *slog.Logger) *flood {
	return &flood{datacenter: datacenter, lan: lan, wan: wan, news: make(chan struct{}, 1), log: log}
}

// floodEvery is how often it is looked for servers that are missing, beside each time that one comes.
const floodEvery = time.Minute

// kick hears of what happens in the LAN pool. It does not block.
func (f *flood) kick(e gossip.Event) {
	if f == nil {
		return
	}
	if _, server := e.Member.Server(); !server {
		return
	}
	select {
	case f.news <- struct{}{}:
	default:
	}
}

func (f *flood) run(ctx context.Context) error {
	every := time.NewTicker(floodEvery)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-f.news:
		case <-every.C:
		}
		for name, addr := range f.missing() {
			if _, err := f.wan.Join(ctx, []string{addr}); err != nil && ctx.Err() == nil {
				f.log.Debug("a server of this datacenter is not in the WAN pool yet", "node", name, "address", addr, "err", err)
			}
		}
	}
}

// missing are the addresses in the WAN pool of servers that are in the LAN pool only.
func (f *flood) missing() map[string]string {
	missing := map[string]string{}
	for _, m := range f.lan.Members() {
		s, ok := m.Server()
		port := m.Tags["wan_join_port"]
		if ok && s.Datacenter == f.datacenter && s.Status == gossip.StatusAlive && port != "" && port != "-1" {
			missing[s.Name+"."+s.Datacenter] = net.JoinHostPort(m.Addr.String(), port)
		}
	}
	for _, m := range f.wan.Members() {
		if m.Status == gossip.StatusAlive {
			delete(missing, m.Name)
		}
	}
	return missing
}
