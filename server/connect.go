package server

import (
	"context"
	"sync"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/handler"
)

const (
	// caInterval is how often the leader looks at whether something is due with the CA.
	caInterval = time.Minute
	// caRetry is the first pause after which what failed is tried again; it doubles up to caInterval.
	caRetry = time.Second
)

// registerConnect adds the verbs that the custody of the CA answers.
func (s *operator) registerConnect() {
	add(s.Server, api.ConnectSign, signNeeds, false, func(ctx context.Context, req *api.SignRequest) (*catalog.IssuedCert, error) {
		if !s.cfg.Mesh {
			return nil, handler.ErrNoMesh()
		}
		return s.custody.Sign(ctx, req)
	})
	add(s.Server, api.CASignIntermediate, func(*api.IntermediateRequest) []acl.Need {
		return []acl.Need{{Resource: acl.Operator, Access: acl.Write}}
	}, false,
		func(ctx context.Context, req *api.IntermediateRequest) (*string, error) {
			if !s.cfg.Mesh {
				return nil, handler.ErrNoMesh()
			}
			return s.custody.SignIntermediate(ctx, req)
		})
	configNeeds := func(*catalog.CAConfig) []acl.Need { return []acl.Need{{Resource: acl.Operator, Access: acl.Write}} }
	add(s.Server, api.CASet, configNeeds, false, func(ctx context.Context, req *catalog.CAConfig) (*api.Nothing, error) {
		if !s.cfg.Mesh {
			return nil, handler.ErrNoMesh()
		}
		return &api.Nothing{}, s.custody.Set(ctx, req)
	})
}

// signNeeds is what it takes to get a certificate: to be allowed to be what it names. A request that names
// nothing gets none, whoever makes it.
func signNeeds(req *api.SignRequest) []acl.Need {
	_, id, err := connect.ParseCSR(req.CSR)
	switch {
	case err != nil:
		return nil
	case id.Kind == connect.KindService:
		return []acl.Need{{Resource: acl.Service, Name: id.Name, Access: acl.Write}}
	case id.Kind == connect.KindMeshGateway:
		return []acl.Need{{Resource: acl.Mesh, Access: acl.Write}}
	}
	return []acl.Need{{Resource: acl.Node, Name: id.Name, Access: acl.Write}}
}

// keepCA does what is due with the CA until ctx ends, which is with the leadership. It runs beside the
// other duties: a provider outside may be slow, or away.
func (s *leadership) keepCA(ctx context.Context) {
	if !s.cfg.Mesh {
		return
	}
	failures, told := 0, ""
	for {
		pause := caInterval
		var ruling state.Watch
		gone, tx := s.store.Abandoned(), s.store.Read()
		state.Primacy(tx, &ruling)
		state.Ruler(tx, &ruling)
		err := s.custody.Maintain(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			failures, told = 0, ""
		default:
			pause = min(caRetry<<min(failures, 10), caInterval)
			failures++
			if err.Error() != told {
				told = err.Error()
				s.log.Error("the mesh's CA could not be looked after; it is tried again", "err", err)
			}
		}
		s.pauseCA(ctx, pause, err == nil, func(ctx context.Context) { _ = ruling.Wait(ctx, gone) })
	}
}

// pauseCA blocks until something may be due with the CA, for no longer than a while: when there may be another primary
// datacenter, which ruled blocks for, or news of it. Such count only after all went well: else there would be no pause.
func (s *leadership) pauseCA(ctx context.Context, pause time.Duration, await bool, ruled func(context.Context)) {
	ctx, cancel := context.WithTimeout(ctx, pause)
	var waits sync.WaitGroup
	defer waits.Wait()
	defer cancel()
	waits.Go(func() {
		ruled(ctx)
		cancel()
	})
	if await {
		waits.Go(func() {
			s.custody.Await(ctx)
			cancel()
		})
	}
	select {
	case <-ctx.Done():
	case <-s.restored:
	}
}
