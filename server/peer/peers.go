// Package peer connects this cluster with others that have authorities, tokens and data of their own: it makes and takes
// tokens of peerings, keeps a stream open between the leaders of both, and carries over it what each exports to the other.
//
// A cluster never asks for anything over a stream. Each sends what its config entries export to the other, and nothing
// else of it can be had there.
package peer

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-uuid"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
)

// Config is what peerings need of the server. Functions may be called by many goroutines at once.
type Config struct {
	Datacenter string
	Store      *state.Store
	// Write reaches this server's verbs as its duties do.
	Write rpc.Caller
	// Leading reports whether this server leads.
	Leading func() bool
	// Sign signs for this server itself.
	Sign func(ctx context.Context, csr string) (*catalog.IssuedCert, error)
	// Exports lists the services that a peer may see, and Addresses where the servers of this cluster meet peers that need no
	// gateways for it.
	Exports   func(tx *state.Txn, w *state.Watch, peer string) []string
	Addresses func(tx *state.Txn, w *state.Watch) []string
	// Leader is the way to the server that leads, when it is another one; an error with code no_leader without one.
	Leader func() (Way, error)
	// Connect is another network than the machine's, for simulations.
	Connect func(ctx context.Context, network, address string) (net.Conn, error)
	// Decode makes errors of what came over the network.
	Decode rpc.DecodeError
	Log    *slog.Logger
}

// Way leads to a server: for calls, and for streams.
type Way interface {
	rpc.Caller
	api.Opener
}

// Peers is a server's part in its cluster's peerings. Tokens, streams and deletions are the leader's.
type Peers struct {
	cfg      Config
	identity identity
	ways     ways

	mu    sync.Mutex
	lines map[string]*line // by the id of the peering; nil while this server does not lead
	again func()           // makes Lead look at all peerings again
}

// New makes a server's part. Run keeps its certificate, and Lead the streams.
func New(cfg Config) *Peers {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Peers{
		cfg: cfg, ways: ways{store: cfg.Store},
		identity: identity{datacenter: cfg.Datacenter, store: cfg.Store, sign: cfg.Sign, log: cfg.Log, first: make(chan struct{})},
	}
}

// Run keeps the certificate that this server shows to peers until ctx ends.
func (p *Peers) Run(ctx context.Context) error {
	p.identity.run(ctx)
	return nil
}

// TLS is what the port of peers serves with.
func (p *Peers) TLS() (*tls.Config, error) {
	now, err := p.identity.now()
	if err != nil {
		return nil, err
	}
	return now.serve, nil
}

// Lead keeps the streams of all peerings until ctx ends, which is with the leadership.
func (p *Peers) Lead(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	p.mu.Lock()
	p.lines = map[string]*line{}
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		p.lines = nil
		p.mu.Unlock()
	}()
	for ctx.Err() == nil {
		waiting, again := context.WithCancel(ctx)
		gone, w := p.cfg.Store.Abandoned(), &state.Watch{}
		rows, _ := state.Peerings(p.cfg.Store.Read(), w)
		p.mu.Lock()
		p.again = again
		p.mu.Unlock()
		for _, row := range rows {
			p.mu.Lock()
			if p.lines[row.ID] == nil {
				l := newLine(p, row)
				p.lines[row.ID] = l
				running.Go(func() { // ends with the peering, or with ctx
					l.run(ctx)
					p.mu.Lock()
					delete(p.lines, l.id)
					p.again() // a restore may have brought the peering back
					p.mu.Unlock()
				})
			}
			p.mu.Unlock()
		}
		_ = w.Wait(waiting, gone) // ctx is asked above
		again()
	}
}

func (p *Peers) line(id string) *line {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lines[id]
}

// logOf is a log that names a peering.
func (p *Peers) logOf(row *catalog.Peering) *slog.Logger {
	return p.cfg.Log.With("peering", row.Name, "id", row.ID)
}

// Stream is what the leader knows of the connection with a peer; of other servers it is empty.
func (p *Peers) Stream(id string) catalog.PeeringStream {
	if l := p.line(id); l != nil {
		return l.status.stream()
	}
	return catalog.PeeringStream{}
}

// change alters a peering, and repeats that where somebody else altered it at the same time. alter must not change what
// its argument points to.
func (p *Peers) change(ctx context.Context, id string, alter func(*catalog.Peering) error) error {
	for {
		row := state.PeeringByID(p.cfg.Store.Read(), nil, id)
		if row == nil {
			return catalog.Errorf(catalog.NotFound, "peering %s does not exist any more", id)
		}
		next := *row
		if err := alter(&next); err != nil || next.Same(row) {
			return err
		}
		done, err := p.put(ctx, &next, row.ModifyIndex)
		if err != nil || done {
			return err
		}
	}
}

func (p *Peers) put(ctx context.Context, row *catalog.Peering, was uint64) (bool, error) {
	done, _, err := api.PeeringStore.Call(ctx, p.cfg.Write, rpc.Header{}, &api.PeeringPut{Peering: *row, Was: was})
	if err != nil {
		return false, err
	}
	return *done, nil
}

// TokenLife is how long a token can be used.
const TokenLife = 7 * 24 * time.Hour

// Token makes a token with which another cluster can peer with this one.
func (p *Peers) Token(ctx context.Context, req *api.PeeringWrite) (*string, error) {
	now, err := p.identity.await(ctx)
	if err != nil {
		return nil, err
	}
	secret := rand.Text()
	token := catalog.PeeringToken{
		CA: now.roots, ManualServerAddresses: req.Token.ManualServerAddresses, ServerAddresses: p.meetingPoints(p.cfg.Store.Read(), nil),
		ServerName: serverName(now.id), EstablishmentSecret: secret, Remote: catalog.PeeringRemote{Partition: catalog.DefaultTenancy, Datacenter: p.cfg.Datacenter},
	}
	if token.ServerAddresses == nil {
		token.ServerAddresses = []string{}
	}
	if err := checkAddresses(token.ManualServerAddresses); err != nil {
		return nil, err
	}
	if err := p.checkReached(&token); err != nil {
		return nil, err
	}
	fresh := catalog.PeeringSecrets{Establishment: catalog.HashPeeringSecret(secret), Expires: time.Now().Add(TokenLife).UTC()}
	err = p.begin(ctx, req.Name, func(row *catalog.Peering) error {
		switch {
		case row.State == catalog.PeeringDeleting:
			return catalog.Errorf(catalog.Conflict, "peering %q is being deleted: try again in a moment", row.Name)
		case row.Dials() && row.State != catalog.PeeringTerminated:
			return catalog.Errorf(catalog.Conflict, "peering %q was established with a token of the other cluster, so only that one makes another: delete the peering first to change sides", row.Name)
		case row.Secrets != nil && row.State != catalog.PeeringTerminated:
			secrets := *row.Secrets // what stands goes on until the new token is used
			secrets.Establishment, secrets.Expires = fresh.Establishment, fresh.Expires
			row.Secrets = &secrets
		default:
			*row = catalog.Peering{ID: row.ID, Name: row.Name, Meta: row.Meta, State: catalog.PeeringPending, Secrets: &fresh}
		}
		if req.Meta != nil {
			row.Meta = req.Meta
		}
		token.PeerID = row.ID
		return nil
	})
	if err != nil {
		return nil, err
	}
	text := token.String()
	return &text, nil
}

// begin alters the peering with a name, or makes it.
func (p *Peers) begin(ctx context.Context, name string, alter func(*catalog.Peering) error) error {
	if err := (&catalog.Peering{Name: name}).Validate(); err != nil {
		return err
	}
	for {
		row, _ := state.Peering(p.cfg.Store.Read(), nil, name)
		next, was := catalog.Peering{Name: name}, uint64(0)
		if row != nil {
			next, was = *row, row.ModifyIndex
		} else {
			id, err := uuid.GenerateUUID()
			if err != nil {
				return err
			}
			next.ID = id
		}
		if err := alter(&next); err != nil {
			return err
		}
		if done, err := p.put(ctx, &next, was); err != nil || done {
			return err
		}
	}
}

// checkAddresses refuses what nobody can connect to.
func checkAddresses(list []string) error {
	for _, a := range list {
		host, port, err := net.SplitHostPort(a)
		if err != nil || host == "" || port == "" || strings.ContainsAny(a, " \t\r\n") {
			return catalog.Errorf(catalog.Invalid, "server address %.255q: want host:port", a)
		}
	}
	return nil
}

// Delete ends a peering: it is marked, and goes once the other cluster has been told and what it exported is removed. One
// that was never established goes at once.
func (p *Peers) Delete(ctx context.Context, name string) error {
	row, _ := state.Peering(p.cfg.Store.Read(), nil, name)
	if row == nil {
		return nil
	}
	if row.State == catalog.PeeringPending && row.Secrets != nil && row.Secrets.Accepted == "" {
		_, _, err := api.PeeringRemove.Call(ctx, p.cfg.Write, rpc.Header{}, &api.Named{Name: row.ID})
		return err
	}
	at := time.Now().UTC()
	err := p.change(ctx, row.ID, func(row *catalog.Peering) error {
		if row.State != catalog.PeeringDeleting {
			row.State, row.DeletedAt = catalog.PeeringDeleting, &at
		}
		return nil
	})
	if catalog.CodeOf(err) == catalog.NotFound {
		return nil
	}
	return err
}

// reachable lists where a token says that servers are, those that people have written first and alone.
func reachable(token *catalog.PeeringToken) []string {
	if len(token.ManualServerAddresses) > 0 {
		return slices.Clone(token.ManualServerAddresses)
	}
	return slices.Clone(token.ServerAddresses)
}
