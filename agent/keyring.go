package agent

import (
	"context"
	"errors"
	"fmt"

	"github.com/curia-mesh/curia/agent/httpapi"
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc/gossip"
)

// Keyring implements httpapi.Node.
func (n *node) Keyring(ctx context.Context, op httpapi.KeyringOp, key gossip.Key, relay int, localOnly bool) ([]httpapi.KeyringAnswer, error) {
	if !n.pools.lan.EncryptionEnabled() {
		return nil, catalog.Errorf(catalog.Internal, "gossip is not encrypted: set encrypt to a key of curia keygen on every agent, there is no keyring without")
	}
	pools := []*gossip.Pool{n.pools.lan}
	if n.pools.wan != nil && !localOnly {
		pools = append([]*gossip.Pool{n.pools.wan}, pools...)
	}
	var answers []httpapi.KeyringAnswer
	var failed error
	for _, p := range pools {
		got, err := keyringDo(ctx, p, op, key, relay)
		failed = errors.Join(failed, err)
		answers = append(answers, httpapi.KeyringAnswer{
			WAN: p == n.pools.wan, Datacenter: n.config.get().Datacenter, Messages: got.Messages,
			Keys: got.Keys, PrimaryKeys: got.Primary, NumNodes: got.Nodes,
		})
	}
	return answers, failed
}

func keyringDo(ctx context.Context, p *gossip.Pool, op httpapi.KeyringOp, key gossip.Key, relay int) (gossip.KeyringAnswers, error) {
	switch op {
	case httpapi.KeyringList:
		return p.ListKeys(ctx, relay)
	case httpapi.KeyringInstall:
		return p.InstallKey(ctx, key, relay)
	case httpapi.KeyringUse:
		return p.UseKey(ctx, key, relay)
	case httpapi.KeyringRemove:
		return p.RemoveKey(ctx, key, relay)
	}
	return gossip.KeyringAnswers{}, fmt.Errorf("unknown keyring operation %q", op)
}
