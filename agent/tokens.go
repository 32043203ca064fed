package agent

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/curia-mesh/curia/agent/config"
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc/durable"
)

// tokenKinds are the agent's own tokens by the names that the API gives them, with older names.
var tokenKinds = map[string]func(*config.Tokens) *string{
	"default":                          func(t *config.Tokens) *string { return &t.Default },
	"acl_token":                        func(t *config.Tokens) *string { return &t.Default },
	"agent":                            func(t *config.Tokens) *string { return &t.Agent },
	"acl_agent_token":                  func(t *config.Tokens) *string { return &t.Agent },
	"agent_recovery":                   func(t *config.Tokens) *string { return &t.AgentRecovery },
	"agent_master":                     func(t *config.Tokens) *string { return &t.AgentRecovery },
	"acl_agent_master_token":           func(t *config.Tokens) *string { return &t.AgentRecovery },
	"replication":                      func(t *config.Tokens) *string { return &t.Replication },
	"acl_replication_token":            func(t *config.Tokens) *string { return &t.Replication },
	"config_file_service_registration": func(t *config.Tokens) *string { return &t.ConfigFileServiceRegistration },
	"dns":                              func(t *config.Tokens) *string { return &t.DNS },
}

// kindNames are the names under which tokens are kept.
var kindNames = []string{"default", "agent", "agent_recovery", "replication", "config_file_service_registration", "dns"}

// tokensFile in the data directory keeps the tokens that were set over the API, where acl.enable_token_persistence is
// on: an object of their names and secrets.
const tokensFile = "acl-tokens.json"

// keptTokens are the tokens that were set over the API and are kept. They count before those of the configuration.
type keptTokens struct {
	path   string // empty keeps nothing
	secret map[string]string
}

// readTokens reads the kept tokens, if any are to be.
func readTokens(cfg *config.Config) (*keptTokens, error) {
	k := &keptTokens{secret: map[string]string{}}
	if !cfg.ACL.EnableTokenPersistence || cfg.Dev || cfg.DataDir == "" {
		return k, nil
	}
	k.path = filepath.Join(cfg.DataDir, tokensFile)
	text, err := os.ReadFile(k.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return k, nil
	case err != nil:
		return nil, fmt.Errorf("the agent's tokens: %w", err)
	}
	if err := json.Unmarshal(text, &k.secret); err != nil {
		return nil, fmt.Errorf("the agent's tokens in %s cannot be read: delete the file and set them anew: %w", k.path, err)
	}
	return k, nil
}

// over returns the tokens with the kept ones in place of those of the configuration.
func (k *keptTokens) over(t config.Tokens) *config.Tokens {
	for name, secret := range k.secret {
		if of := tokenKinds[name]; of != nil && secret != "" {
			*of(&t) = secret
		}
	}
	return &t
}

// keep writes the tokens, whole or not at all.
func (k *keptTokens) keep(t *config.Tokens, set string) error {
	if k.path == "" {
		return nil
	}
	next := map[string]string{}
	for _, name := range kindNames {
		if _, was := k.secret[name]; was || tokenKinds[name](t) == tokenKinds[set](t) {
			next[name] = *tokenKinds[name](t)
		}
	}
	text, err := json.Marshal(next)
	if err == nil {
		err = durable.Write(k.path, text, 0o600)
	}
	if err != nil {
		return catalog.Errorf(catalog.Internal, "the agent's tokens could not be kept, and nothing has changed: %w", err)
	}
	k.secret = next
	return nil
}

// SetToken implements httpapi.Node.
func (n *node) SetToken(kind, secret string) error {
	of := tokenKinds[kind]
	if of == nil {
		return catalog.Errorf(catalog.NotFound, "no agent token %q: want default, agent, agent_recovery, replication, config_file_service_registration or dns", kind)
	}
	n.reloading.Lock() // which replaces them too
	defer n.reloading.Unlock()
	tokens := *n.config.tokens.Load()
	*of(&tokens) = secret
	if err := n.config.kept.keep(&tokens, kind); err != nil {
		return err
	}
	n.config.tokens.Store(&tokens)
	n.local.Kick() // what was refused may be allowed now
	return nil
}

// agentToken is the token of the agent's own requests.
func (c *current) agentToken() string {
	t := c.tokens.Load()
	return cmp.Or(t.Agent, t.Default)
}

// registering returns the services and checks of the configuration with the token that registers them.
func (c *current) registering(cfg *config.Config) ([]*catalog.ServiceDefinition, []*catalog.AgentCheck) {
	token := c.tokens.Load().ConfigFileServiceRegistration
	services, checks := cfg.Services, cfg.Checks
	if token == "" {
		return services, checks
	}
	services, checks = nil, nil
	for _, s := range cfg.Services {
		own := *s
		own.Token = cmp.Or(s.Token, token)
		services = append(services, &own)
	}
	for _, d := range cfg.Checks {
		own := *d
		own.Token = cmp.Or(d.Token, token)
		checks = append(checks, &own)
	}
	return services, checks
}
