package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/curia-mesh/curia/agent/config"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/rpc/durable"
	"github.com/curia-mesh/curia/rpc/gossip"
	"github.com/curia-mesh/curia/server"
	"github.com/curia-mesh/curia/server/api"
)

// An agent that was away while the keys of gossip were rotated can read nobody and be read by nobody. It asks
// the servers that it knew, over RPC, where its certificate and theirs say who is who.

const (
	// rekeyInterval is how often an agent that sees no server in its pool asks for the keys.
	rekeyInterval = 2 * time.Second
	// firstInterval is the same for one that has seen none yet.
	firstInterval = 200 * time.Millisecond
	// rekeyTimeout bounds the wait for one server.
	rekeyTimeout = 2 * time.Second
	// maxKnown bounds the servers that are remembered.
	maxKnown = 32
)

// known is where a server was: RPC and gossip in its own datacenter.
type known struct {
	Name   string `json:"name"`
	RPC    string `json:"rpc"`
	Gossip string `json:"gossip"`
}

// rekey gets the present keys of gossip for an agent that has missed a rotation, until ctx ends.
func (a *Agent) rekey(ctx context.Context) error {
	cfg := a.config.get()
	if !a.pools.lan.EncryptionEnabled() || cfg.Dev || cfg.DataDir == "" {
		return nil
	}
	file := knownFile(cfg)
	last, err := readKnown(file)
	if err != nil {
		a.log.Warn("the servers that this agent knew cannot be read: it finds them by gossip alone", "err", err)
	}
	pool := rpc.NewPool(rpc.PoolOptions{Dialer: rpc.Dialer{TLS: a.peers.Dial, Plain: a.peers.PlainOut, Timeout: rekeyTimeout}, Decode: server.DecodeError})
	defer pool.Close()
	tick := time.NewTicker(firstInterval)
	defer tick.Stop()
	told := ""
	if len(last) > 0 {
		tick.Reset(rekeyInterval)
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if now := a.serversInPool(); len(now) > 0 {
			told = ""
			if !slices.Equal(now, last) {
				if err := writeKnown(file, now); err != nil {
					a.log.Warn("the servers that this agent knows cannot be written: after a rotation of gossip keys it may not find back by itself", "err", err)
				}
				last = now
				tick.Reset(rekeyInterval)
			}
			continue
		}
		if !a.peers.KnowsServers() {
			continue // whoever has any certificate could pass for a server
		}
		switch from, err := a.fetchKeys(ctx, pool, last); {
		case ctx.Err() != nil:
		case err != nil && err.Error() != told:
			told = err.Error()
			a.log.Warn("no server is in the pool, and none gives the present gossip keys; trying again", "err", err)
		case from != "":
			a.log.Info("the gossip keys have been rotated while this agent was away: it has the present ones now", "from", from)
		}
	}
}

// serversInPool are the other servers that gossip reaches.
func (a *Agent) serversInPool() []known {
	var all []known
	for _, m := range a.pools.lan.Members() {
		s, ok := m.Server()
		if ok && m.Status == gossip.StatusAlive && m.Name != a.config.get().NodeName && len(all) < maxKnown {
			all = append(all, known{m.Name, s.Addr.String(), m.AddrPort().String()})
		}
	}
	return all
}

// fetchKeys asks one server after the other for keys that this agent does not have, takes them up and joins. It returns
// who gave them, "" when the keys are as they were.
func (a *Agent) fetchKeys(ctx context.Context, pool *rpc.Pool, servers []known) (from string, err error) {
	var errs []error
	for _, s := range servers {
		bounded, cancel := context.WithTimeout(ctx, rekeyTimeout)
		changed, err := a.takeKeys(bounded, pool, s)
		cancel()
		if err != nil {
			errs = append(errs, fmt.Errorf("%s at %s: %w", s.Name, s.RPC, err))
			continue
		}
		if !changed {
			return "", nil
		}
		if _, err := a.pools.lan.Join(ctx, []string{s.Gossip}); err != nil {
			a.log.Debug("joining with the new keys failed; it is tried again", "node", s.Name, "err", err)
		}
		return s.Name, nil
	}
	return "", errors.Join(errs...)
}

func (a *Agent) takeKeys(ctx context.Context, pool *rpc.Pool, s known) (changed bool, err error) {
	verbs := map[*gossip.Pool]rpc.Method[api.Nothing, api.GossipKeys]{a.pools.lan: api.KeyringLAN}
	if a.pools.wan != nil {
		verbs[a.pools.wan] = api.KeyringWAN
	}
	for p, verb := range verbs {
		got, _, err := verb.Call(ctx, pool.To(s.RPC), rpc.Header{}, &api.Nothing{})
		if err != nil {
			return changed, err
		}
		var keys []gossip.Key
		for _, text := range got.Keys {
			key, err := gossip.ParseKey(text)
			if err != nil {
				return changed, err
			}
			keys = append(keys, key)
		}
		if len(keys) == 0 || slices.Equal(keys, p.Keys()) {
			continue
		}
		if err := p.ReplaceKeys(keys); err != nil {
			return changed, err
		}
		changed = true
	}
	return changed, nil
}

func knownFile(cfg *config.Config) string { return filepath.Join(cfg.DataDir, "serf", "servers.json") }

func readKnown(path string) ([]known, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []known
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("%s: %w: delete it", path, err)
	}
	return all[:min(len(all), maxKnown)], nil
}

// writeKnown replaces the file in one step.
func writeKnown(path string, all []known) error {
	text, err := json.Marshal(all)
	if err != nil {
		return err
	}
	return durable.Write(path, text, 0o600)
}
