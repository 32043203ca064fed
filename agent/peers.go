package agent

import (
	"crypto"
	"crypto/tls"
	"fmt"
	"strings"
	"time"

	"github.com/curia-mesh/curia/agent/config"
	"github.com/curia-mesh/curia/agent/trust"
	"github.com/curia-mesh/curia/server"
)

// openPeers reads how connections between agents are secured, and warns of what is left open.
func (a *Agent) openPeers(cfg *config.Config) error {
	a.peers = trust.NewPeers(cfg.Datacenter, cfg.Domain, cfg.Server)
	if cfg.Connect.EnableMeshGatewayWANFederation {
		a.peers.Name(cfg.NodeName)
	}
	take, err := a.peers.Prepare(cfg.TLS.InternalRPC)
	if err != nil {
		return err
	}
	take()
	a.warnPeers(cfg)
	return a.openJoins(cfg)
}

// openJoins reads the CA that signs the certificates of who joins with a token.
func (a *Agent) openJoins(cfg *config.Config) error {
	if cfg.Join.CAFile == "" {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(cfg.Join.CAFile, cfg.Join.CAKeyFile)
	if err != nil {
		return fmt.Errorf("join.ca_file: %s with key %s: %w", cfg.Join.CAFile, cfg.Join.CAKeyFile, err)
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok || !pair.Leaf.IsCA {
		return fmt.Errorf("join.ca_file: %s is no certificate of a CA", cfg.Join.CAFile)
	}
	warnKey(a, cfg.Join.CAKeyFile)
	a.joins = &server.Joins{CA: pair.Leaf, Key: key, Domain: strings.TrimSuffix(cfg.Domain, "."), PrimaryDatacenter: cfg.PrimaryDatacenter, Seed: cfg.Join.SeedFile}
	return nil
}

// warnPeers tells what the settings of TLS between agents leave open.
func (a *Agent) warnPeers(cfg *config.Config) {
	t := cfg.TLS.InternalRPC
	if t.VerifyIncoming && !t.VerifyServerHostname && cfg.Server {
		a.log.Warn("any agent's certificate makes a server: set tls.internal_rpc.verify_server_hostname, with certificates of servers that are for " + a.peers.ServerName())
	}
	if cfg.Server && !t.VerifyIncoming && a.peers.Certificate() != nil {
		a.log.Warn("RPC is also served without TLS: set tls.internal_rpc.verify_incoming once all agents have verify_outgoing and a certificate")
	}
}

// recheckPeers ends the connections to agents that are not believed any more: those whose authority was taken out of
// ca_file, and those whose certificate has ended.
func (a *Agent) recheckPeers() {
	if n := a.backend.recheck(a.peers.Believed); n > 0 {
		a.log.Warn("connections to agents were ended: their certificates have ended, or their CA is trusted no more", "connections", n)
	}
}

// expiryWarnings are how long before the end of a certificate the agent warns of it.
var expiryWarnings = []time.Duration{30 * day, 14 * day, 7 * day, day}

const day = 24 * time.Hour

// expiry warns that a certificate is about to end, once at each of expiryWarnings.
type expiry struct {
	end  time.Time
	told time.Duration // the last of expiryWarnings that was told; 0 is none
}

// due returns the warning that it is time for, 0 for none.
func (e *expiry) due(end, now time.Time) time.Duration {
	if !e.end.Equal(end) {
		*e = expiry{end: end}
	}
	due := time.Duration(0)
	for _, before := range expiryWarnings {
		if !end.IsZero() && end.Sub(now) <= before {
			due = before
		}
	}
	if due == 0 || e.told != 0 && due >= e.told {
		return 0
	}
	e.told = due
	return due
}
