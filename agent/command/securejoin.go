package command

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server"
	"github.com/curia-mesh/curia/server/api"
)

// joinTimeout bounds the wait for one server.
const joinTimeout = 15 * time.Second

// joinPatience is how long servers that do not listen yet are tried again, each joinRetry.
const (
	joinPatience = time.Minute
	joinRetry    = 300 * time.Millisecond
)

// joinSecured makes this machine an agent of the cluster that made the token.
func joinSecured(ctx context.Context, c *call, p *place, text string) error {
	rep, node, err := p.enlist(ctx, text)
	if err != nil {
		return err
	}
	c.say("This machine, %s, is a %s of datacenter %s now. Its configuration is in %s.", node, rep.Role, rep.Datacenter, p.dir)
	return p.begin(c)
}

// enlist writes what an agent of the cluster that made the token needs, and returns what the servers say and the node's
// name.
func (p *place) enlist(ctx context.Context, text string) (*api.JoinReply, string, error) {
	token, err := server.ParseJoinText(text)
	if err != nil {
		return nil, "", err
	}
	cfg, err := p.open(map[string]any{"datacenter": token.Datacenter, "domain": token.Domain})
	if err != nil {
		return nil, "", err
	}
	csr, key, err := newRequest(cfg.NodeName)
	if err != nil {
		return nil, "", err
	}
	keyPEM, err := connect.EncodeKey(key)
	if err != nil {
		return nil, "", err
	}
	rep, err := redeem(ctx, token, &api.JoinRequest{ID: token.ID, Secret: catalog.SecretID(token.Secret), Node: cfg.NodeName, CSR: csr})
	if err != nil {
		return nil, "", fmt.Errorf("this machine has not joined: %w", err)
	}
	files := map[string]string{secureCA: rep.CA, secureCert: rep.Certificate, secureKey: keyPEM}
	settings := map[string]any{
		"server": rep.Role == catalog.JoinServer, "data_dir": p.data, "datacenter": rep.Datacenter, "domain": rep.Domain, "node_name": cfg.NodeName, "retry_join": rep.Join, "retry_interval": "1s",
		"tls": p.security(),
	}
	if rep.PrimaryDatacenter != rep.Datacenter {
		settings["primary_datacenter"] = rep.PrimaryDatacenter
	}
	if len(rep.Keys) > 0 {
		settings["encrypt"] = rep.Keys[0]
	}
	if rep.Role == catalog.JoinServer {
		files[secureCAKey] = rep.CAKey
		settings["join"] = p.joins()
	} else {
		settings["join"] = map[string]any{"renew": true}
	}
	if rep.ACL {
		agent := rep.AgentToken.Reveal()
		settings["acl"] = map[string]any{"enabled": true, "default_policy": rep.DefaultPolicy, "tokens": map[string]any{"agent": agent, "dns": agent}}
	}
	return rep, cfg.NodeName, p.write(files, settings)
}

// redeem shows the token to one server after the other. It goes to servers only that the CA in the token has signed.
func redeem(ctx context.Context, token *server.JoinText, req *api.JoinRequest) (*api.JoinReply, error) {
	pool := rpc.NewPool(rpc.PoolOptions{
		Protocol: rpc.ProtocolIntro, Decode: server.DecodeError,
		Dialer: rpc.Dialer{TLS: func(string) (*tls.Config, error) { return pinned(token), nil }},
	})
	defer pool.Close()
	late := time.Now().Add(joinPatience)
	for {
		var errs []error
		wait := true // for servers that are about to start, or elect a leader
		for _, addr := range token.Servers {
			bounded, cancel := context.WithTimeout(ctx, joinTimeout)
			rep, _, err := api.JoinRedeem.Call(bounded, pool.To(addr), rpc.Header{}, req)
			cancel()
			if err == nil {
				return rep, nil
			}
			errs = append(errs, err)
			code := catalog.CodeOf(err)
			wait = wait && (errors.Is(err, syscall.ECONNREFUSED) || code == catalog.NoLeader)
		}
		if !wait || time.Now().After(late) || ctx.Err() != nil {
			return nil, errors.Join(errs...)
		}
		select {
		case <-time.After(joinRetry):
		case <-ctx.Done():
			return nil, errors.Join(errs...)
		}
	}
}

// pinned believes the one CA whose hash is in the token, and of whom it has signed a server of the datacenter.
func pinned(token *server.JoinText) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: "server." + token.Datacenter + "." + token.Domain,
		InsecureSkipVerify: true, // VerifyConnection does it, with what the token says
		VerifyConnection: func(c tls.ConnectionState) error {
			roots := x509.NewCertPool()
			for _, cert := range c.PeerCertificates {
				if sum := sha256.Sum256(cert.Raw); hex.EncodeToString(sum[:]) == token.CA {
					roots.AddCert(cert)
				}
			}
			_, err := c.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, DNSName: c.ServerName, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
			if err != nil {
				return fmt.Errorf("who answers is no server of the cluster that made the join token: %w", err)
			}
			return nil
		},
	}
}
