package server

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/authmethod"
	"github.com/curia-mesh/curia/server/handler"
)

// ACLConfig says how tokens are checked.
type ACLConfig struct {
	// Enabled is whether they are at all.
	Enabled bool
	// CopyTokens is whether a secondary datacenter copies the tokens of its primary; otherwise it asks there what they
	// stand for, by Elsewhere, which remembers it. An error of that with code denied says that there is no such token.
	CopyTokens bool
	Elsewhere  func(ctx context.Context, secret string) (acl.Authorizer, error)
	// Default is what becomes of what no rule speaks of.
	Default acl.Effect
	// Management is the secret of the management token that a leader makes if it is missing; empty makes none.
	Management catalog.SecretID
	// KeyList is whether it takes the access list to read the keys under a prefix.
	KeyList bool
	// TTL is how long agents may remember what a token stands for.
	TTL time.Duration
}

// resetFile in the data directory holds the index of the bootstrap that the operator takes back: who has lost the
// last management token may bootstrap once more.
// Source: https://developer.hashicorp.com/consul/docs/secure/acl/troubleshoot (reset the ACL system)
const resetFile = "acl-bootstrap-reset"

// aclDeps are what the verbs of the ACL system need.
func (s *Server) aclDeps() handler.ACL {
	path := filepath.Join(s.cfg.DataDir, resetFile)
	return handler.ACL{
		Enabled: s.cfg.ACL.Enabled, Elsewhere: s.cfg.ACL.Elsewhere != nil && !s.cfg.ACL.CopyTokens, Status: func() *api.ACLReplication { return replicationStatus(s.replica, s.host.Primary()) }, Default: s.cfg.ACL.Default, TTL: s.cfg.ACL.TTL, Logins: authmethod.New(),
		Reset: func() uint64 {
			if s.cfg.DataDir == "" {
				return 0
			}
			text, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) {
				return 0
			}
			index, bad := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
			if err != nil || bad != nil {
				s.log.Warn("the file that takes back the ACL bootstrap cannot be read: it must hold the reset index that a refused bootstrap names", "file", path, "err", errors.Join(err, bad))
				return 0
			}
			return index
		},
		Bootstrapped: func(reset uint64) {
			s.log.Info("the ACL system is bootstrapped", "reset", reset)
			if reset == 0 {
				return
			}
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				s.log.Warn("the file that takes back the ACL bootstrap could not be removed: remove it", "file", path, "err", err)
			}
		},
	}
}

// seedACL sees to it that what is built in is there, and the management token of the configuration.
func (s *leadership) seedACL(ctx context.Context) {
	if !s.cfg.ACL.Enabled {
		return
	}
	seed := handler.Seed(s.store.Read(), s.cfg.ACL.Management, s.replica.Follows(), time.Now())
	if seed == nil {
		return
	}
	_, _, err := api.ACLSeedApply.Call(ctx, s.registry.Duties(), rpc.Header{}, seed)
	switch {
	case err == nil && seed.Management:
		s.log.Info("made the management token of the configuration (acl.tokens.initial_management)")
	case err != nil && ctx.Err() == nil:
		s.log.Error("the built-in policies and tokens could not be stored", "err", err)
	}
}

const (
	// expiryInterval is how often the leader looks for tokens whose time is over. They are refused before that.
	expiryInterval = 10 * time.Second
	// expiryBatch is how many tokens are removed by one log entry.
	expiryBatch = 256
)

// reapTokens removes the tokens whose time is over, until ctx ends. Those of the primary datacenter go when they are gone
// there: by another clock they would come back.
func (s *leadership) reapTokens(ctx context.Context) {
	if !s.cfg.ACL.Enabled {
		return
	}
	tick := time.NewTicker(expiryInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for {
			accessors, _ := state.ExpiredTokens(s.store.Read(), time.Now(), expiryBatch, s.replica.Follows())
			if len(accessors) == 0 {
				break
			}
			if _, _, err := api.TokensReap.Call(ctx, s.registry.Duties(), rpc.Header{}, &api.TokensExpire{Accessors: accessors}); err != nil {
				if ctx.Err() == nil {
					s.log.Warn("expired tokens could not be removed; it is tried again", "tokens", len(accessors), "err", err)
				}
				break
			}
			s.log.Info("removed expired tokens", "tokens", len(accessors))
		}
	}
}
