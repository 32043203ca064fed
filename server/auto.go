package server

import (
	"context"
	"fmt"
	"strings"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/filter"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/rpc/gossip"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/authmethod"
)

// Auto is how client agents get their certificates, and their settings, from the servers.
// Source: https://developer.hashicorp.com/consul/docs/reference/agent/configuration-file/encryption (auto_encrypt), …/auto-config
type Auto struct {
	// AllowTLS gives certificates of the mesh's authority to agents whose token may write their node.
	AllowTLS bool
	// Domain is that of the names of agents, such as consul.
	Domain string
	// Intro, which may be nil, tells whose JWTs let agents have their settings.
	Intro *catalog.AuthMethod
	// Assertions are expressions that must all hold of what the JWT claims; ${node} in them is the agent's node.
	Assertions []string
	// Settings is what such an agent is told. It does not block.
	Settings func() api.AutoSettings
	// Believe hears whose agents the mesh's roots have certified, again when the roots change. It does not block.
	Believe func(*connect.Trust)
}

// gives reports whether agents have certificates of the mesh's authority.
func (a *Auto) gives() bool { return a.AllowTLS || a.Intro != nil }

// followRoots tells whose agents are to be believed, from what this server knows, also while there is no leader, until
// ctx ends.
func (s *Server) followRoots(ctx context.Context) error {
	if !s.cfg.Auto.gives() {
		return nil
	}
	for {
		var w state.Watch
		gone := s.store.Abandoned()
		tx := s.store.Read()
		list, _ := state.Roots(tx, &w)
		if config := state.CA(tx, &w); config != nil && len(list) > 0 {
			var texts []string
			for _, r := range list {
				texts = append(texts, r.RootCert)
			}
			trust, err := connect.NewTrust(connect.TrustDomain(config.ClusterID), texts...)
			if err != nil {
				s.log.Error("the mesh's roots cannot be used: agents that have their certificates from here are refused", "err", err)
			} else {
				s.cfg.Auto.Believe(trust)
			}
		}
		if w.Wait(ctx, gone) != nil {
			return nil
		}
	}
}

// introduces reports whether agents without a certificate may ask this server for one.
func (c *Config) introduces() bool { return c.Joins != nil || c.Auto.gives() }

// Check refuses settings by which nobody could be let in, or not be told from others.
func (a *Auto) Check() error {
	if a.Intro == nil {
		return nil
	}
	blank, err := authmethod.New().Blank(a.Intro)
	if err != nil {
		return err
	}
	return a.assert(blank, "node", func(bool, string) error { return nil })
}

// assert tells judge of each assertion whether it holds of who asks for a node. An assertion that cannot be read is an error.
func (a *Auto) assert(who *authmethod.Subject, node string, judge func(holds bool, assertion string) error) error {
	for _, text := range a.Assertions {
		about, err := catalog.Interpolate(text, map[string]string{"node": node, "segment": "", "partition": "default"})
		if err != nil {
			return catalog.Errorf(catalog.Invalid, "claim_assertions: %q: %w", text, err)
		}
		keep, err := filter.Compile(about)
		if err != nil {
			return catalog.Errorf(catalog.Invalid, "claim_assertions: %q: %w", text, err)
		}
		holds, err := keep.Accepts(who.Fields)
		if err != nil {
			return catalog.Errorf(catalog.Invalid, "claim_assertions: %q: %w", text, err)
		}
		if err := judge(holds, text); err != nil {
			return err
		}
	}
	return nil
}

// autoNeeds is what it takes to get the certificate of an agent: to be allowed to be its node.
func (s *operator) autoNeeds(req *api.SignRequest) []acl.Need {
	_, id, err := connect.ParseAgentCSR(req.CSR, s.cfg.Auto.Domain)
	if err != nil {
		return nil // and the answer is why
	}
	return []acl.Need{{Resource: acl.Node, Name: id.Name, Access: acl.Write}}
}

// registerAuto adds the verbs by which client agents get their certificates and settings.
func (s *operator) registerAuto() {
	add(s.Server, api.AutoSign, s.autoNeeds, false, func(ctx context.Context, req *api.SignRequest) (*catalog.IssuedCert, error) {
		if !s.cfg.Auto.gives() { // whoever has its settings from here renews its certificate so
			return nil, catalog.Errorf(catalog.Invalid, "this server gives client agents no certificates: set auto_encrypt.allow_tls on every server")
		}
		return s.custody.SignAgent(ctx, req, s.cfg.Auto.Domain)
	})
	logins := authmethod.New()
	addLeader(s.Server, api.AutoConfigure, "the JWT is what lets in", func(ctx context.Context, req *api.AutoRequest) (*api.AutoReply, error) {
		rep, err := s.configureAgent(ctx, logins, req)
		if err != nil {
			s.refused.warn(s.log, "an agent was refused its settings", "node", fmt.Sprintf("%.128q", req.Node), "err", err)
			return nil, err
		}
		s.log.Info("an agent has its settings from here", "node", req.Node)
		return rep, nil
	})
}

// nodeCharacters are those that a name can have which stands in assertions: no other has a meaning there.
const nodeCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."

// configureAgent gives an agent its settings, with its certificate and token, when its JWT is good for that.
func (s *operator) configureAgent(ctx context.Context, logins *authmethod.Service, req *api.AutoRequest) (*api.AutoReply, error) {
	auto := &s.cfg.Auto
	if auto.Intro == nil {
		return nil, catalog.Errorf(catalog.Invalid, "this server gives agents no settings: set auto_config.authorization.enabled on every server")
	}
	if err := gossip.ValidateName(req.Node); err != nil || strings.Trim(req.Node, nodeCharacters) != "" {
		return nil, catalog.Errorf(catalog.Invalid, "node name %.128q: want letters, digits, dots, dashes and underscores", req.Node)
	}
	who, err := logins.Login(ctx, auto.Intro, req.JWT.Reveal())
	if err != nil {
		return nil, err
	}
	err = auto.assert(who, req.Node, func(holds bool, assertion string) error {
		if holds {
			return nil
		}
		return catalog.Errorf(catalog.Denied, "Permission denied: the JWT is good, and not for node %s: %s does not hold", req.Node, assertion)
	})
	if err != nil {
		return nil, err
	}
	_, id, err := connect.ParseAgentCSR(req.CSR, auto.Domain)
	if err == nil && id.Name != req.Node {
		err = catalog.Errorf(catalog.Invalid, "certificate request of %s: the agent is %s", id, req.Node)
	}
	if err != nil {
		return nil, err
	}
	signed, err := s.custody.SignAgent(ctx, &api.SignRequest{CSR: req.CSR}, auto.Domain)
	if err != nil {
		return nil, err
	}
	rep := &api.AutoReply{Certificate: signed.CertPEM, Settings: auto.Settings()}
	secret, err := s.agentToken(ctx, req.Node, "")
	rep.Settings.ACL.Tokens.Agent = secret.Reveal()
	return rep, err
}
