package server

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/rpc/gossip"
	"github.com/curia-mesh/curia/server/api"
)

// Joins lets agents join this cluster with a token: it has the key of the CA for connections between agents.
type Joins struct {
	CA  *x509.Certificate
	Key crypto.Signer
	// Domain and PrimaryDatacenter are told those who join.
	Domain, PrimaryDatacenter string
	// Seed is a file with tokens that the first leader stores and then removes; it may be missing.
	Seed string
}

const (
	// JoinPrefix is how the text of a join token begins.
	JoinPrefix = "curia-join-"
	// joinLife is that of the certificates that are given away.
	joinLife = 365 * 24 * time.Hour
	// Bounds of a join token's life.
	minJoinTTL, maxJoinTTL = time.Minute, 30 * 24 * time.Hour
	// introMessage bounds what those without a certificate may send, and introCalls how much at once.
	introMessage, introCalls = 64 << 10, 4
)

// JoinText is what the text of a join token holds: enough to find the cluster, to know it by its CA, and to be let in.
type JoinText struct {
	ID         string   `json:"i"`
	Secret     string   `json:"s"`
	CA         string   `json:"c"` // SHA-256 of the certificate, in hexadecimal
	Servers    []string `json:"a"` // addresses of RPC
	Datacenter string   `json:"d"`
	Domain     string   `json:"n"`
}

// String writes the token. It is a secret.
func (t *JoinText) String() string {
	text, err := json.Marshal(t)
	if err != nil {
		return "" // cannot be: strings
	}
	return JoinPrefix + base64.RawURLEncoding.EncodeToString(text)
}

// ParseJoinText reads a token. Its errors do not repeat it.
func ParseJoinText(text string) (*JoinText, error) {
	rest, ok := bytes.CutPrefix([]byte(text), []byte(JoinPrefix))
	if !ok || len(text) > 8<<10 {
		return nil, fmt.Errorf("the join token does not begin with %s", JoinPrefix)
	}
	plain := make([]byte, base64.RawURLEncoding.DecodedLen(len(rest)))
	n, err := base64.RawURLEncoding.Decode(plain, rest)
	t := new(JoinText)
	if err != nil || json.Unmarshal(plain[:n], t) != nil || t.ID == "" || t.Secret == "" || len(t.CA) != 2*sha256.Size || len(t.Servers) == 0 {
		return nil, errors.New("the join token is damaged: copy it whole")
	}
	return t, nil
}

// NewJoin makes a token and what is stored of it.
func NewJoin(role catalog.JoinRole, uses int, ttl time.Duration, ca *x509.Certificate, datacenter, domain string, servers []string) (*catalog.JoinToken, *JoinText, error) {
	if ttl < minJoinTTL || ttl > maxJoinTTL {
		return nil, nil, catalog.Errorf(catalog.Invalid, "join token: a life of %s: want %s to %s", ttl, minJoinTTL, maxJoinTTL)
	}
	raw := make([]byte, 48)
	rand.Read(raw) // never fails, see crypto/rand
	id := fmt.Sprintf("%x-%x-%x-%x-%x", raw[:4], raw[4:6], raw[6:8], raw[8:10], raw[10:16])
	sum := sha256.Sum256(ca.Raw)
	text := &JoinText{ID: id, Secret: base64.RawURLEncoding.EncodeToString(raw[16:]), CA: hex.EncodeToString(sum[:]), Servers: servers, Datacenter: datacenter, Domain: domain}
	token := &catalog.JoinToken{ID: id, Role: role, Uses: uses, Expires: time.Now().Add(ttl).UTC().Truncate(time.Second), Hash: catalog.HashJoinSecret(text.Secret)}
	return token, text, token.Validate()
}

// registerJoins adds the verbs that make join tokens and take them.
func (s *operator) registerJoins() {
	add(s.Server, api.JoinCreate, func(*api.JoinNew) []acl.Need { return []acl.Need{{Resource: acl.Operator, Access: acl.Write}} }, false, s.createJoin)
	addLeader(s.Server, api.JoinRedeem, "the join token is what lets in", s.redeemJoin)
	add(s.Server, api.JoinRenew, func(r *api.JoinRenewal) []acl.Need {
		return []acl.Need{{Resource: acl.Node, Name: r.Node, Access: acl.Write}}
	}, true, s.renewJoined)
}

// peerKey is the key of a context's value: the certificate of who makes a call.
type peerKey struct{}

// renewJoined signs another certificate for an agent that shows one of this CA's. It is for client agents, and for them
// alone: servers have the key of the CA themselves, so that none is ever made by what a client shows.
func (s *operator) renewJoined(ctx context.Context, req *api.JoinRenewal) (*string, error) {
	if s.cfg.Joins == nil {
		return nil, errNoJoins()
	}
	peer, ok := ctx.Value(peerKey{}).(rpc.Peer)
	switch {
	case !ok || peer.Certificate == nil || peer.Certificate.CheckSignatureFrom(s.cfg.Joins.CA) != nil:
		return nil, catalog.Errorf(catalog.Denied, "renew: the agent shows no certificate that the CA of join tokens has signed: replace it as it was made")
	case peer.Identity.Role != rpc.RoleClient || peer.Identity.Datacenter != s.cfg.Datacenter:
		return nil, catalog.Errorf(catalog.Denied, "renew: this is for client agents of datacenter %s: %v", s.cfg.Datacenter, peer)
	}
	key, err := requestedKey(req.CSR)
	if err != nil {
		return nil, err
	}
	text, err := s.cfg.Joins.Certify(catalog.JoinClient, s.cfg.Datacenter, req.Node, key)
	if err == nil {
		s.log.Info("renewed the certificate of an agent that has joined", "node", req.Node)
	}
	return &text, err
}

// Certify signs a certificate of an agent, in PEM with the CA's behind it. That of a server names its node too, by which mesh
// gateways lead to it.
func (j *Joins) Certify(role catalog.JoinRole, datacenter, node string, key crypto.PublicKey) (string, error) {
	spec := &connect.AgentCert{Kind: string(role), Datacenter: datacenter, Domain: j.Domain, Life: min(joinLife, time.Until(j.CA.NotAfter)-time.Minute)}
	if role == catalog.JoinServer {
		spec.NameNode(node)
	}
	der, err := spec.Sign(j.CA, j.Key, key, time.Now())
	if err != nil {
		return "", err
	}
	return connect.EncodeCertificate(der) + connect.EncodeCertificate(j.CA.Raw), nil
}

func errNoJoins() error {
	return catalog.Errorf(catalog.Invalid, "this cluster takes no join tokens: its servers have no key of its CA (join.ca_file and join.ca_key_file), which curia init sets")
}

func (s *operator) createJoin(ctx context.Context, req *api.JoinNew) (*api.JoinMade, error) {
	if s.cfg.Joins == nil {
		return nil, errNoJoins()
	}
	var servers []string
	for _, m := range s.roster.alive() {
		servers = append(servers, m.Addr.String())
	}
	token, text, err := NewJoin(req.Role, req.Uses, req.TTL, s.cfg.Joins.CA, s.cfg.Datacenter, s.cfg.Joins.Domain, servers)
	if err != nil {
		return nil, err
	}
	if _, _, err := api.JoinStore.Call(ctx, s.registry.Duties(), rpc.Header{}, token); err != nil {
		return nil, err
	}
	s.log.Info("made a join token", "id", token.ID, "role", token.Role, "uses", token.Uses, "expires", token.Expires)
	return &api.JoinMade{Token: token, Text: catalog.SecretID(text.String())}, nil
}

// redeemJoin lets an agent in. What is wrong with the request is told before a use of the token is taken.
func (s *operator) redeemJoin(ctx context.Context, req *api.JoinRequest) (*api.JoinReply, error) {
	joins := s.cfg.Joins
	if joins == nil {
		return nil, errNoJoins()
	}
	if err := gossip.ValidateName(req.Node); err != nil {
		return nil, catalog.Errorf(catalog.Invalid, "node: %w", err)
	}
	key, err := requestedKey(req.CSR)
	if err != nil {
		return nil, err
	}
	token, _, err := api.JoinTake.Call(ctx, s.registry.Duties(), rpc.Header{}, &api.JoinSpend{ID: req.ID, Hash: catalog.HashJoinSecret(req.Secret.Reveal()), Now: time.Now()})
	if err != nil {
		s.refused.warn(s.log, "a join was refused", "node", req.Node, "id", req.ID, "err", err)
		return nil, err
	}
	cert, err := joins.Certify(token.Role, s.cfg.Datacenter, req.Node, key)
	if err != nil {
		return nil, err
	}
	ca := connect.EncodeCertificate(joins.CA.Raw)
	rep := &api.JoinReply{
		Role: token.Role, Datacenter: s.cfg.Datacenter, PrimaryDatacenter: joins.PrimaryDatacenter, Domain: joins.Domain, CA: ca, Certificate: cert,
		ACL: s.cfg.ACL.Enabled, DefaultPolicy: "allow",
	}
	if s.cfg.ACL.Default == acl.Deny {
		rep.DefaultPolicy = "deny"
	}
	for _, m := range s.cfg.Members() {
		if _, ok := m.Server(); ok && m.Status == gossip.StatusAlive {
			rep.Join = append(rep.Join, m.AddrPort().String())
		}
	}
	if s.cfg.GossipKeys != nil {
		rep.Keys = s.cfg.GossipKeys(false)
	}
	if token.Role == catalog.JoinServer {
		if rep.CAKey, err = connect.EncodeKey(joins.Key); err != nil {
			return nil, err
		}
	}
	if rep.AgentToken, err = s.agentToken(ctx, req.Node, ""); err != nil {
		return nil, err
	}
	s.log.Info("an agent has joined with a token", "node", req.Node, "role", token.Role, "id", token.ID, "left", token.Uses)
	return rep, nil
}

// agentToken makes the token of a node's agent, where tokens are checked.
func (s *Server) agentToken(ctx context.Context, node string, secret catalog.SecretID) (catalog.SecretID, error) {
	if !s.cfg.ACL.Enabled {
		return "", nil
	}
	token := catalog.Token{SecretID: secret, Description: "agent of " + node + ", made when it joined", TemplatedPolicies: []*catalog.TemplatedPolicy{{TemplateName: "builtin/dns"}}, NodeIdentities: []*catalog.NodeIdentity{{NodeName: node, Datacenter: s.cfg.Datacenter}}}
	made, _, err := api.TokenApply.Call(ctx, s.registry.Duties(), rpc.Header{}, &api.TokenWrite{Op: api.ACLCreate, Token: token})
	if err != nil {
		return "", fmt.Errorf("the token of the agent of %s: %w", node, err)
	}
	return made.SecretID, nil
}

// requestedKey is the public key of a request for a certificate that was signed with it.
func requestedKey(text string) (crypto.PublicKey, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil || len(text) > introMessage/2 {
		return nil, catalog.Errorf(catalog.Invalid, "certificate request: want one in PEM")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err == nil {
		err = csr.CheckSignature()
	}
	if err == nil {
		_, err = connect.SpecOf(csr.PublicKey)
	}
	if err != nil {
		return nil, catalog.Errorf(catalog.Invalid, "certificate request: %w", err)
	}
	return csr.PublicKey, nil
}

// seedJoins stores the tokens that were made before there was a cluster. The file is removed with the last of them, so
// that none comes back once it is used up.
func (s *leadership) seedJoins(ctx context.Context) {
	if s.cfg.Joins == nil || s.cfg.Joins.Seed == "" {
		return
	}
	text, err := os.ReadFile(s.cfg.Joins.Seed)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var seeds JoinSeeds
	if err == nil {
		err = json.Unmarshal(text, &seeds)
	}
	if err == nil && s.cfg.ACL.Enabled && seeds.AgentToken != "" {
		_, made := s.agentToken(ctx, seeds.Node, catalog.SecretID(seeds.AgentToken))
		if made != nil && catalog.CodeOf(made) != catalog.Conflict && catalog.CodeOf(made) != catalog.Invalid { // it may be there from an attempt that broke off
			err = made
		}
	}
	for _, seed := range seeds.Tokens {
		token := seed.JoinToken
		token.Hash = seed.Hash
		_, _, stored := api.JoinStore.Call(ctx, s.registry.Duties(), rpc.Header{}, &token)
		err = errors.Join(err, stored)
	}
	if err == nil {
		err = os.Remove(s.cfg.Joins.Seed)
	}
	if err != nil && ctx.Err() == nil {
		s.log.Error("the first join tokens could not be stored: make others with operator join-token create", "file", s.cfg.Joins.Seed, "err", err)
	}
}

// JoinSeeds is what the first leader stores.
type JoinSeeds struct {
	Tokens []JoinSeed
	// Node is the first server, and AgentToken the secret of its agent's token.
	Node, AgentToken string
}

// JoinSeed is a token in the file of the first ones.
type JoinSeed struct {
	catalog.JoinToken
	Hash string
}
