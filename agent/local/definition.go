package local

import (
	"cmp"
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/curia-mesh/curia/agent/check"
	"github.com/curia-mesh/curia/catalog"
)

// serversService is the service that the servers register for themselves.
const serversService = "consul"

// registration is a service that is ready to be registered: valid, with its checks and its sidecar.
type registration struct {
	service *service
	checks  []*health
	sidecar *registration // nil when it has none
}

// ports gives out ports for sidecars.
type ports interface {
	// sidecar returns the port for the sidecar with this id.
	sidecar(id string) (int, error)
}

// prepare makes a registration of a definition, or says what is wrong with it. Nothing changes.
func (s *State) prepare(def *catalog.ServiceDefinition, token string, origin check.Origin, free ports) (*registration, error) {
	if def.Name == "" {
		return nil, catalog.Errorf(catalog.Invalid, "service has no name: set Name")
	}
	row := def.Service()
	if err := checkID("service", row.ID); err != nil {
		return nil, err
	}
	if row.ID == serversService {
		return nil, catalog.Errorf(catalog.Invalid, "service id %q belongs to the servers: choose another", row.ID)
	}
	if def.Proxy != nil {
		proxy, err := canonical(def.Proxy)
		if err != nil {
			return nil, catalog.Errorf(catalog.Invalid, "service %q: proxy: %w", row.ID, err)
		}
		row.Proxy = proxy
		row.Normalize()
	}
	addAddresses(row)
	if err := row.Validate(); err != nil {
		return nil, err
	}
	token = cmp.Or(def.Token, token)
	r := &registration{service: &service{row: row, tags: row.Tags, token: token, origin: origin}}
	if origin == check.Local {
		r.service.given = def
	}
	seen := map[string]bool{}
	for _, c := range def.AllChecks() {
		if seen[c.CheckID] {
			return nil, catalog.Errorf(catalog.Invalid, "service %q: two of its checks have the id %q", row.ID, c.CheckID)
		}
		seen[c.CheckID] = true
		h, err := s.prepareCheck(c, row, token, origin)
		if err != nil {
			return nil, catalog.Errorf(catalog.CodeOf(err), "service %q: %w", row.ID, err)
		}
		r.checks = append(r.checks, h)
	}
	if def.Connect == nil || def.Connect.SidecarService == nil {
		return r, nil
	}
	side, err := sidecarDefinition(def, row, free)
	if err == nil {
		r.sidecar, err = s.prepare(side, token, origin, free)
	}
	if err != nil {
		return nil, catalog.Errorf(catalog.CodeOf(err), "sidecar_service of service %q: %w", row.ID, err)
	}
	r.sidecar.service.parent, r.sidecar.service.given = row.ID, nil
	return r, nil
}

// prepareCheck makes a check of a definition that has its id. row is its service, nil for one of the node.
func (s *State) prepareCheck(def *catalog.AgentCheck, row *catalog.Service, token string, origin check.Origin) (*health, error) {
	if err := checkID("check", def.CheckID); err != nil {
		return nil, err
	}
	if def.CheckID == catalog.SerfHealth {
		return nil, catalog.Errorf(catalog.Invalid, "check id %q belongs to the servers: choose another", def.CheckID)
	}
	if err := s.set.Verify(def, origin); err != nil {
		return nil, err
	}
	return s.newHealth(def, row, token, origin), nil
}

func (s *State) newHealth(def *catalog.AgentCheck, row *catalog.Service, token string, origin check.Origin) *health {
	h := &health{def: def, row: def.Check(s.cfg.Node.Node), token: cmp.Or(def.Token, token), origin: origin}
	if row != nil {
		h.row = retag(h.row, row)
	}
	return h
}

// checkID refuses ids that cannot be kept or sent. Those that are only odd are the user's affair.
func checkID(what, id string) error {
	if !utf8.ValidString(id) {
		return catalog.Errorf(catalog.Invalid, "%s id %q is not UTF-8 text", what, id)
	}
	if strings.ContainsRune(id, 0) {
		return catalog.Errorf(catalog.Invalid, "%s id %q holds a zero byte", what, id)
	}
	return nil
}

// canonical returns a copy of a proxy's configuration that is the same after it has crossed a network.
func canonical(given *catalog.Proxy) (*catalog.Proxy, error) {
	text, err := json.Marshal(given)
	if err != nil {
		return nil, err
	}
	proxy := &catalog.Proxy{}
	return proxy, json.Unmarshal(text, proxy)
}

// addAddresses gives a service whose address is an IP the tagged addresses of that family, where it does
// not say others.
func addAddresses(row *catalog.Service) {
	ip, err := netip.ParseAddr(row.Address)
	if err != nil {
		return // a name, or none
	}
	family := "_ipv6"
	if ip.Unmap().Is4() {
		family = "_ipv4"
	}
	tagged := map[string]catalog.ServiceAddress{}
	for _, net := range []string{"lan", "wan"} {
		tagged[net+family] = catalog.ServiceAddress{Address: row.Address, Port: row.Port}
	}
	for name, address := range row.TaggedAddresses {
		tagged[name] = address
	}
	row.TaggedAddresses = tagged
}

// same is whether a check is defined as before.
func (h *health) same(o *health) bool {
	return h.token == o.token && h.origin == o.origin && h.alone == o.alone && reflect.DeepEqual(h.def, o.def)
}

// maintenance is whether the check only says that something is out of service: it is of no kind.
func (h *health) maintenance() bool { return h.def.Kind() == "" }
