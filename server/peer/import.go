package peer

import (
	"context"
	"slices"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/rpc/pause"
	"github.com/curia-mesh/curia/server/api"
)

const (
	// pace is the pause after each write of what a peer brings: however quickly it sends, this cluster's log has room for
	// others.
	pace = 20 * time.Millisecond
	// batch and batchBytes are how many services go with one write, and of how many bytes.
	batch      = 64
	batchBytes = 4 << 20
	// maxImports bounds all that a peer exports, in bytes of its messages.
	maxImports = 256 << 20
)

// importer is what a session has heard of the other side's exports.
type importer struct {
	*session
	listed map[string]bool // nil before the list has come
	part   *catalog.ImportedService
	ready  []*catalog.ImportedService
	waits  int            // bytes of ready
	sizes  map[string]int // of services, in bytes
	total  int            // of sizes
	partly int            // bytes of part
}

// take stores what comes until ctx ends, or something comes that has no place here.
func (s *session) take(ctx context.Context, came <-chan *message) error {
	i := &importer{session: s, sizes: map[string]int{}}
	for {
		select {
		case m := <-came:
			if err := i.message(ctx, m); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		for more := true; more && len(i.ready) < batch && i.waits < batchBytes; { // what has come goes with one write
			select {
			case m := <-came:
				if err := i.message(ctx, m); err != nil {
					return err
				}
			default:
				more = false
			}
		}
		if err := i.flush(ctx); err != nil {
			return err
		}
	}
}

func (i *importer) message(ctx context.Context, m *message) error {
	switch {
	case m.Bundle != nil:
		return i.bundle(ctx, m.Bundle)
	case m.Exports != nil:
		return i.exports(ctx, m.Exports.Names)
	case m.Service != nil:
		return i.service(m.Service, m.size)
	}
	return nil // of a newer version
}

// bundle takes note of how the other cluster's servers are known and reached from now on. Who they are does not change:
// only the authorities that say so, and where they are.
func (i *importer) bundle(ctx context.Context, b *bundle) error {
	if b.ServerName != i.row.PeerServerName {
		return catalog.Errorf(catalog.Denied, "the other cluster calls its servers %.255q, not %q as when it was established", b.ServerName, i.row.PeerServerName)
	}
	id, err := parseServerName(b.ServerName)
	if err != nil {
		return err
	}
	if len(b.Roots) == 0 || len(b.Roots) > maxRoots || len(b.Addresses) > maxServers {
		return catalog.Errorf(catalog.Invalid, "the other cluster has %d roots and %d servers: no fit numbers", len(b.Roots), len(b.Addresses))
	}
	if _, err := connect.NewTrust(id.TrustDomain, b.Roots...); err != nil {
		return err
	}
	if err := checkAddresses(b.Addresses); err != nil {
		return err
	}
	if err := b.checkGateways(); err != nil {
		return err
	}
	defer pause.For(ctx, pace)
	return i.line.peers.change(ctx, i.line.id, func(row *catalog.Peering) error {
		row.PeerCAPems, row.KnownAs, row.Gateways = b.Roots, b.KnownAs, b.Gateways
		if row.Dials() && !row.Manual && len(b.Addresses) > 0 {
			row.PeerServerAddresses = b.Addresses
		}
		return nil
	})
}

// checkGateways refuses what is no name of a peer, and addresses that nobody can connect to. A cluster of an older version says
// neither.
func (b *bundle) checkGateways() error {
	if b.KnownAs != "" {
		if err := (&catalog.Peering{Name: b.KnownAs}).Validate(); err != nil {
			return err
		}
	}
	if len(b.Gateways) > maxGateways {
		return catalog.Errorf(catalog.Invalid, "the other cluster has %d mesh gateways: at most %d are taken", len(b.Gateways), maxGateways)
	}
	return checkAddresses(b.Gateways)
}

// maxServers bounds the addresses of another cluster's servers.
const maxServers = 64

// exports takes note of all that the other cluster exports: what else is here of it goes.
func (i *importer) exports(ctx context.Context, names []string) error {
	if len(names) > catalog.MaxImportedServices {
		return catalog.Errorf(catalog.Limited, "the other cluster exports %d services: at most %d are taken", len(names), catalog.MaxImportedServices)
	}
	listed := map[string]bool{}
	for _, name := range names {
		if err := (&catalog.ImportedService{Service: name}).Adopt(i.row.Name); err != nil {
			return err
		}
		listed[name] = true
	}
	i.listed, i.part, i.partly = listed, nil, 0
	for name, size := range i.sizes {
		if !listed[name] {
			i.total -= size
			delete(i.sizes, name)
		}
	}
	i.ready = slices.DeleteFunc(i.ready, func(s *catalog.ImportedService) bool { return !listed[s.Service] })
	found, _ := state.Imports(i.line.peers.cfg.Store.Read(), nil, i.row.Name)
	if !slices.ContainsFunc(found, func(s *catalog.ImportedService) bool { return !listed[s.Service] }) {
		return nil
	}
	return i.write(ctx, &api.PeeringImport{ID: i.line.id, Whole: true, Keep: names})
}

// service takes what is said of one of them, when it is whole.
func (i *importer) service(u *serviceUpdate, size int) error {
	if i.part != nil && i.part.Service != u.Name {
		return catalog.Errorf(catalog.Invalid, "the other cluster speaks of service %.80q before all was said of %.80q", u.Name, i.part.Service)
	}
	if i.part == nil {
		i.part = &catalog.ImportedService{Service: u.Name}
	}
	if i.partly += size; i.total+i.partly > maxImports {
		return catalog.Errorf(catalog.Limited, "what the other cluster exports has more than %d bytes", maxImports)
	}
	i.part.Instances, i.part.Sidecars = append(i.part.Instances, u.Instances...), append(i.part.Sidecars, u.Sidecars...)
	if n := len(i.part.Instances) + len(i.part.Sidecars); n > catalog.MaxImportedInstances {
		return catalog.Errorf(catalog.Limited, "service %.80q of the other cluster has more than %d instances", u.Name, catalog.MaxImportedInstances)
	}
	if u.More {
		return nil
	}
	whole, bytes := i.part, i.partly
	i.part, i.partly = nil, 0
	if !i.listed[whole.Service] {
		return nil // it is exported no more
	}
	i.total += bytes - i.sizes[whole.Service]
	i.sizes[whole.Service] = bytes
	i.waits += bytes
	if err := whole.Adopt(i.row.Name); err != nil {
		return err
	}
	i.ready = append(slices.DeleteFunc(i.ready, func(s *catalog.ImportedService) bool { return s.Service == whole.Service }), whole)
	return nil
}

// flush stores the services that have changed.
func (i *importer) flush(ctx context.Context) error {
	if len(i.ready) == 0 {
		return nil
	}
	tx := i.line.peers.cfg.Store.Read()
	news := slices.DeleteFunc(i.ready, func(s *catalog.ImportedService) bool {
		old, _ := state.Imported(tx, nil, i.row.Name, s.Service)
		return old != nil && s.Same(old) && (old.Virtual != "" || len(s.Sidecars) == 0) // servers of before gave no addresses
	})
	i.ready, i.waits = nil, 0
	if len(news) == 0 {
		return nil
	}
	return i.write(ctx, &api.PeeringImport{ID: i.line.id, Services: news})
}

func (i *importer) write(ctx context.Context, req *api.PeeringImport) error {
	_, _, err := api.PeeringTake.Call(ctx, i.line.peers.cfg.Write, rpc.Header{}, req)
	pause.For(ctx, pace)
	return err
}
