package agent

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/rpc/durable"
	"github.com/curia-mesh/curia/server/api"
)

// renewJoined renews the certificate of an agent that was made by init or join: a server signs it with the key of the CA
// that it has, a client agent asks the servers. The key stays, so that one file is replaced and no crash leaves two that do
// not belong together.
func (a *Agent) renewJoined(ctx context.Context) (*tls.Certificate, error) {
	cfg := a.config.get()
	present := a.peers.Certificate()
	key, ok := present.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("the key in %s cannot sign", cfg.TLS.InternalRPC.KeyFile)
	}
	var text string
	var err error
	if a.joins != nil {
		if present.Leaf.CheckSignatureFrom(a.joins.CA) != nil {
			return nil, fmt.Errorf("the certificate in %s is not of the CA in join.ca_file: set join.renew to false, and replace it as it was made", cfg.TLS.InternalRPC.CertFile)
		}
		text, err = a.joins.Certify(catalog.JoinServer, cfg.Datacenter, cfg.NodeName, key.Public())
	} else {
		text, err = a.askRenewal(ctx, key)
	}
	if err != nil {
		return nil, err
	}
	chain, err := connect.ParseCertificates(text)
	if err != nil {
		return nil, err
	}
	if err := a.supersedes(chain, present.Leaf); err != nil {
		return nil, fmt.Errorf("the servers signed another certificate than they were asked for: %w", err)
	}
	if err := durable.Write(cfg.TLS.InternalRPC.CertFile, []byte(text), 0o600); err != nil {
		return nil, err
	}
	a.reloading.Lock()
	defer a.reloading.Unlock()
	if err := a.reloadTLS(a.config.get()); err != nil {
		return nil, err
	}
	return a.peers.Certificate(), nil
}

func (a *Agent) askRenewal(ctx context.Context, key crypto.Signer) (string, error) {
	node := a.config.get().NodeName
	csr, err := connect.NewRequest(key, node)
	if err != nil {
		return "", err
	}
	text, _, err := api.JoinRenew.Call(ctx, a.backend.caller(), rpc.Header{Token: a.config.agentToken()}, &api.JoinRenewal{Node: node, CSR: csr})
	if err != nil {
		return "", err
	}
	return *text, nil
}

// supersedes refuses a chain that must not take the place of a certificate: of another key or name, or one that the agent's
// own CA has not signed.
func (a *Agent) supersedes(chain []*x509.Certificate, before *x509.Certificate) error {
	same, ok := chain[0].PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	switch {
	case !ok || !same.Equal(before.PublicKey):
		return errors.New("it is of another key")
	case chain[0].Subject.CommonName != before.Subject.CommonName:
		return fmt.Errorf("it is of %q, not of %q", chain[0].Subject.CommonName, before.Subject.CommonName)
	case !chain[0].NotAfter.After(before.NotAfter) || time.Now().After(chain[0].NotAfter):
		return errors.New("it ends no later: the CA is about to end itself")
	}
	return a.peers.Believed(chain)
}
