package enroll

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/curia-mesh/curia/agent/leaf"
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
)

// Asker asks servers for the certificate of this agent, on connections on which it shows none.
type Asker struct {
	// Servers are the addresses of the servers' ports. It does not block.
	Servers func() []string
	// To is the server at an address.
	To               func(addr string) rpc.Caller
	Node, Datacenter string
	// DNS and IPs are further names of the certificate.
	DNS []string
	IPs []net.IP
	// Token is the agent's.
	Token func() string
	// JWT, which may be nil, is shown to have settings too.
	JWT func() (string, error)
	Log *slog.Logger
}

// askTimeout bounds the wait for one server: it may have to find its leader first.
const askTimeout = 15 * time.Second

// First asks until a server has answered or ctx ends. What goes wrong is told once.
func (a *Asker) First(ctx context.Context) (*Kept, error) {
	told := ""
	for failures := 1; ; failures++ {
		got, err := a.Ask(ctx, a.JWT != nil)
		if err == nil {
			return got, nil
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("this agent has no certificate yet: %w", err)
		}
		if err.Error() != told {
			told = err.Error()
			a.Log.Warn("no server gives this agent its certificate; asking again until one does", "err", err)
		}
		leaf.Sleep(ctx, leaf.Backoff(failures))
	}
}

// Ask asks one server after the other for a certificate, and for settings too where these are wanted.
func (a *Asker) Ask(ctx context.Context, settings bool) (*Kept, error) {
	var errs []error
	for _, addr := range a.Servers() {
		bounded, cancel := context.WithTimeout(ctx, askTimeout)
		got, err := a.from(bounded, a.To(addr), settings)
		cancel()
		if err == nil {
			return got, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", addr, err))
	}
	if len(errs) == 0 {
		return nil, errors.New("no server is known")
	}
	return nil, errors.Join(errs...)
}

func (a *Asker) from(ctx context.Context, server rpc.Caller, settings bool) (*Kept, error) {
	roots, _, err := api.CARoots.Call(ctx, server, rpc.Header{}, &api.Nothing{})
	if err != nil {
		return nil, err
	}
	key, err := connect.GenerateKey(connect.DefaultKey)
	if err != nil {
		return nil, err
	}
	got := &Kept{}
	if got.Key, err = connect.EncodeKey(key); err != nil {
		return nil, err
	}
	csr, err := connect.NewAgentCSR(key, connect.ID{Kind: connect.KindAgent, TrustDomain: roots.TrustDomain, Datacenter: a.Datacenter, Name: a.Node}, a.DNS, a.IPs)
	if err != nil {
		return nil, err
	}
	if settings {
		jwt, err := a.JWT()
		if err != nil {
			return nil, err
		}
		rep, _, err := api.AutoConfigure.Call(ctx, server, rpc.Header{}, &api.AutoRequest{Node: a.Node, JWT: catalog.SecretID(jwt), CSR: csr})
		if err != nil {
			return nil, err
		}
		got.Certificate, got.Settings = rep.Certificate, &rep.Settings
	} else {
		signed, _, err := api.AutoSign.Call(ctx, server, rpc.Header{Token: a.Token()}, &api.SignRequest{CSR: csr})
		if err != nil {
			return nil, err
		}
		got.Certificate = signed.CertPEM
	}
	pair, err := got.Pair()
	if err == nil && !Serves(pair, a.Datacenter, a.Node, time.Now()) {
		err = errors.New("it is of another agent, or has ended")
	}
	if err != nil {
		return nil, fmt.Errorf("the server signed another certificate than it was asked for: %w", err)
	}
	return got, nil
}
