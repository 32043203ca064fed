package handler

import (
	"context"
	"slices"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/filter"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/endpoint"
)

type intentionList = []*catalog.Intention

func registerIntentions(r *endpoint.Registry, d Deps) {
	endpoint.AddCommand(r, endpoint.Command[api.IntentionWrite, string]{
		Method: api.IntentionApply, Primary: ruled[api.IntentionWrite],
		Needs: func(req *api.IntentionWrite) []acl.Need { return intentionNeeds(d, req) },
		Prepare: func(_ context.Context, req *api.IntentionWrite) (*api.IntentionWrite, error) {
			return prepareIntention(req)
		},
		Apply: applyIntention,
	})
	endpoint.AddQuery(r, endpoint.Query[api.IntentionQuery, intentionList]{
		Method:  api.IntentionList,
		Visible: visible(seesIntention),
		Filter:  filter.List[*catalog.Intention],
		Read: func(tx *state.Txn, w *state.Watch, _ *api.IntentionQuery) (*intentionList, uint64, error) {
			list, index := state.Intentions(tx, w)
			return &list, index, nil
		},
	})
	endpoint.AddQuery(r, endpoint.Query[api.IntentionQuery, intentionList]{
		Method:  api.IntentionGet,
		Visible: visible(seesIntention),
		Read:    readIntention,
	})
	registerMatches(r, d)
}

func registerMatches(r *endpoint.Registry, d Deps) {
	endpoint.AddQuery(r, endpoint.Query[api.IntentionQuery, map[string][]*catalog.Intention]{
		Method: api.IntentionMatch,
		Needs: func(q *api.IntentionQuery) (needs []acl.Need) {
			for _, name := range q.Names {
				needs = append(needs, acl.Need{Resource: acl.Intention, Name: name, Access: acl.Read})
			}
			return needs
		},
		Check: func(q *api.IntentionQuery) error {
			if q.By != api.MatchSource && q.By != api.MatchDestination {
				return catalog.Errorf(catalog.Invalid, "by=%q is unknown: set it to source or destination", q.By)
			}
			if len(q.Names) == 0 || slices.Contains(q.Names, "") {
				return catalog.Errorf(catalog.Invalid, "name is missing: name at least one service")
			}
			return nil
		},
		Read: matchIntentions,
	})
	endpoint.AddQuery(r, endpoint.Query[api.IntentionQuery, bool]{
		Method: api.IntentionCheck,
		Needs:  func(q *api.IntentionQuery) []acl.Need { return need(acl.Service, q.Destination, acl.Read) },
		Check:  checkBothEnds,
		Read: func(tx *state.Txn, w *state.Watch, q *api.IntentionQuery) (*bool, uint64, error) {
			decision, index, err := decide(d, tx, w, connect.Caller{Service: q.Source, Peer: q.Peer}, q.Destination)
			return new(decision.Verdict == connect.Allow), index, err
		},
	})
	endpoint.AddQuery(r, endpoint.Query[api.Nothing, bool]{
		Method: api.IntentionDefault, Open: "every proxy has to know it, and it says nothing of any service",
		Read: func(*state.Txn, *state.Watch, *api.Nothing) (*bool, uint64, error) {
			if d.DenyIntentions { // it changes with a restart of the servers: another index tells those who waited before
				return new(false), 2, nil
			}
			return new(true), 1, nil
		},
	})
	endpoint.AddQuery(r, endpoint.Query[api.IntentionQuery, api.Authorization]{
		Method: api.IntentionAuthorize,
		Needs:  func(q *api.IntentionQuery) []acl.Need { return need(acl.Service, q.Destination, acl.Write) },
		Check:  checkBothEnds,
		Read: func(tx *state.Txn, w *state.Watch, q *api.IntentionQuery) (*api.Authorization, uint64, error) {
			decision, index, err := decide(d, tx, w, connect.Caller{Service: q.Source, Peer: q.Peer}, q.Destination)
			rep := &api.Authorization{Allowed: decision.Verdict == connect.Allow}
			if decision.Source != nil {
				rep.Source, rep.Destination = decision.Source.Name, decision.Destination.Name
			}
			return rep, index, err
		},
	})
}

func checkBothEnds(q *api.IntentionQuery) error {
	if q.Source == "" || q.Destination == "" {
		return catalog.Errorf(catalog.Invalid, "source and destination are both needed")
	}
	return nil
}

// decide says whether a caller may connect to a service.
func decide(d Deps, tx *state.Txn, w *state.Watch, who connect.Caller, destination string) (connect.Decision, uint64, error) {
	named, all, index := state.ServiceIntentions(tx, w, destination)
	policy, err := connect.NewPolicy(named, all, !d.DenyIntentions, func(group string) []string {
		members, at := samenessPeers(tx, w, group)
		index = max(index, at)
		return members
	})
	if err != nil {
		return connect.Decision{}, index, err
	}
	return policy.Connection(who), index, nil
}

// samenessPeers lists the peers of a sameness group, with an empty name for this cluster.
func samenessPeers(tx *state.Txn, w *state.Watch, group string) ([]string, uint64) {
	e, index := state.ConfigEntry(tx, w, catalog.EntrySamenessGroup, group)
	g, ok := e.(*catalog.SamenessGroup)
	if !ok {
		return nil, index
	}
	return g.Clusters(), index
}

// seesIntention is true for those who may see either end.
func seesIntention(az acl.Authorizer, i *catalog.Intention) bool {
	return az.Allows(acl.Need{Resource: acl.Intention, Name: i.DestinationName, Access: acl.Read}) ||
		az.Allows(acl.Need{Resource: acl.Intention, Name: i.SourceName, Access: acl.Read})
}

// intentionNeeds is what it takes to write an intention: the right to its destination, and to the one that
// an intention of that id has.
func intentionNeeds(d Deps, req *api.IntentionWrite) (needs []acl.Need) {
	if req.Intention.ID != "" {
		if e, _, _ := state.IntentionByID(d.Store.Read(), nil, req.Intention.ID); e != nil {
			needs = need(acl.Intention, e.Name, acl.Write)
		}
	}
	if req.Op == api.IntentionDeleteID {
		return needs
	}
	return append(needs, need(acl.Intention, req.Intention.DestinationName, acl.Write)...)
}

func readIntention(tx *state.Txn, w *state.Watch, q *api.IntentionQuery) (*intentionList, uint64, error) {
	var e *catalog.ServiceIntentions
	var at int
	var index uint64
	if q.ID != "" {
		e, at, index = state.IntentionByID(tx, w, q.ID)
	} else {
		e, at, index = exactIntention(tx, w, q.Source, q.Peer, "", q.Destination)
	}
	list := intentionList{}
	if e != nil {
		list = append(list, e.Intentions()[at])
	}
	return &list, index, nil
}

// exactIntention returns the entry that holds an intention and its place there, -1 when there is none.
func exactIntention(tx *state.Txn, w *state.Watch, source, peer, group, destination string) (*catalog.ServiceIntentions, int, uint64) {
	found, index := state.ConfigEntry(tx, w, catalog.EntryServiceIntentions, destination)
	if e, ok := found.(*catalog.ServiceIntentions); ok {
		if at := e.Find(source, peer, group); at >= 0 {
			return e, at, index
		}
	}
	return nil, -1, index
}

func matchIntentions(tx *state.Txn, w *state.Watch, q *api.IntentionQuery) (*map[string][]*catalog.Intention, uint64, error) {
	found, index := map[string][]*catalog.Intention{}, uint64(0)
	if q.By == api.MatchSource {
		all, at := state.Intentions(tx, w)
		for _, name := range q.Names {
			found[name] = nil
			for _, i := range all {
				if i.SourceName == name || i.SourceName == catalog.Wildcard {
					found[name] = append(found[name], i)
				}
			}
		}
		return &found, at, nil
	}
	for _, name := range q.Names {
		named, all, at := state.ServiceIntentions(tx, w, name)
		index, found[name] = max(index, at), nil
		for _, e := range []*catalog.ServiceIntentions{named, all} {
			if e != nil {
				found[name] = append(found[name], e.Intentions()...)
			}
		}
		catalog.SortIntentions(found[name])
	}
	return &found, index, nil
}

func prepareIntention(given *api.IntentionWrite) (*api.IntentionWrite, error) {
	req := *given
	i := &req.Intention
	i.Normalize()
	i.CreatedAt, i.UpdatedAt = nil, nil // the servers' own
	req.At = writtenAt()
	switch req.Op {
	case api.IntentionUpsert:
		if i.ID != "" || len(i.Meta) > 0 {
			return nil, catalog.Errorf(catalog.Invalid, "intention: ID and Meta cannot be set here; metadata belongs to the config entry %s/%s", catalog.EntryServiceIntentions, i.DestinationName)
		}
	case api.IntentionCreate:
		if i.ID != "" {
			return nil, catalog.Errorf(catalog.Invalid, "intention: ID cannot be set: the servers choose it")
		}
		i.ID = newUUID()
	case api.IntentionUpdate:
		if i.ID == "" {
			return nil, catalog.Errorf(catalog.Invalid, "intention: which one? its ID is missing")
		}
	case api.IntentionDelete:
		if i.SourceName == "" || i.DestinationName == "" {
			return nil, catalog.Errorf(catalog.Invalid, "intention: source and destination are both needed")
		}
		return &req, nil
	case api.IntentionDeleteID:
		return &req, nil
	default:
		return nil, catalog.Errorf(catalog.Invalid, "unknown operation on intentions %q", req.Op)
	}
	if req.Op != api.IntentionUpsert && (len(i.Permissions) > 0 || i.JWT != nil) {
		return nil, catalog.Errorf(catalog.Invalid, "intention: Permissions and JWT belong to the config entry %s/%s: write that", catalog.EntryServiceIntentions, i.DestinationName)
	}
	if err := i.Validate(); err != nil {
		return nil, err
	}
	alone := entryOf(nil, i.DestinationName)
	alone.Sources = []*catalog.SourceIntention{i.Source()}
	alone.Normalize()
	return &req, alone.Validate()
}

func applyIntention(tx *state.Txn, req *api.IntentionWrite) (*string, error) {
	i := req.Intention
	switch req.Op {
	case api.IntentionDelete:
		e, at, _ := exactIntention(tx, nil, i.SourceName, i.SourcePeer, i.SourceSamenessGroup, i.DestinationName)
		return new(""), removeIntention(tx, e, at)
	case api.IntentionDeleteID:
		e, at, _ := state.IntentionByID(tx, nil, i.ID)
		return new(""), removeIntention(tx, e, at)
	case api.IntentionCreate:
		if e, _, _ := exactIntention(tx, nil, i.SourceName, i.SourcePeer, i.SourceSamenessGroup, i.DestinationName); e != nil {
			return nil, catalog.Errorf(catalog.Conflict, "intention %s => %s exists already: change it instead", i.SourceName, i.DestinationName)
		}
		i.CreatedAt, i.UpdatedAt = &req.At, &req.At
	case api.IntentionUpdate:
		old, at, _ := state.IntentionByID(tx, nil, i.ID)
		if old == nil {
			return nil, catalog.Errorf(catalog.NotFound, "intention %s does not exist", i.ID)
		}
		i.CreatedAt, i.UpdatedAt = old.Sources[at].LegacyCreateTime, &req.At
		if e, place, _ := exactIntention(tx, nil, i.SourceName, i.SourcePeer, i.SourceSamenessGroup, i.DestinationName); e != nil && e.Sources[place].LegacyID != i.ID {
			return nil, catalog.Errorf(catalog.Conflict, "intention %s => %s exists already: change it instead", i.SourceName, i.DestinationName)
		}
		if old.Name == i.DestinationName {
			e := entryOf(old, old.Name)
			e.Sources[at] = i.Source()
			return &i.ID, setIntentions(tx, e, old)
		}
		if err := removeIntention(tx, old, at); err != nil {
			return nil, err
		}
	}
	return &i.ID, putIntention(tx, &i)
}

// entryOf is a copy of the entry of a destination to change, a new one when there is none.
func entryOf(e *catalog.ServiceIntentions, destination string) *catalog.ServiceIntentions {
	if e == nil {
		return &catalog.ServiceIntentions{EntryHead: catalog.EntryHead{Kind: catalog.EntryServiceIntentions, Name: destination}}
	}
	return e.Clone().(*catalog.ServiceIntentions)
}

// putIntention adds an intention to its entry, or replaces the one of the same source there.
func putIntention(tx *state.Txn, i *catalog.Intention) error {
	stored, _ := state.ConfigEntry(tx, nil, catalog.EntryServiceIntentions, i.DestinationName)
	old, _ := stored.(*catalog.ServiceIntentions)
	e := entryOf(old, i.DestinationName)
	if at := e.Find(i.SourceName, i.SourcePeer, i.SourceSamenessGroup); at >= 0 {
		e.Sources[at] = i.Source()
	} else {
		e.Sources = append(e.Sources, i.Source())
	}
	return setIntentions(tx, e, stored)
}

// removeIntention removes one intention, and its entry with the last one.
func removeIntention(tx *state.Txn, stored *catalog.ServiceIntentions, at int) error {
	if stored == nil {
		return nil
	}
	if len(stored.Sources) == 1 {
		state.EntryDelete(tx, catalog.EntryServiceIntentions, stored.Name)
		return checkGraph(tx, catalog.EntryServiceIntentions, stored.Name, stored)
	}
	e := entryOf(stored, stored.Name)
	e.Sources = slices.Delete(e.Sources, at, at+1)
	return setIntentions(tx, e, stored)
}

// setIntentions stores an entry, if it is valid and goes with the others. before is nil when it is new.
func setIntentions(tx *state.Txn, e *catalog.ServiceIntentions, before catalog.ConfigEntry) error {
	e.Normalize()
	if err := e.Validate(); err != nil {
		return err
	}
	state.EntrySet(tx, e)
	return checkGraph(tx, catalog.EntryServiceIntentions, e.Name, before)
}
