package local

import (
	"cmp"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/curia-mesh/curia/agent/check"
	"github.com/curia-mesh/curia/catalog"
)

// exposures are the checks that are made through the proxies of their services. State.mu guards it.
type exposures struct {
	exposed map[string]exposure        // by the id of the check
	entries map[string]bool            // proxies of which config entries say that checks are made through them
	proxies map[string]map[string]bool // by the id of the service that they are for
	paths   map[string][]catalog.ExposePath
	rows    map[string]proxied
	before  map[string]int // ports before the restart, by the checks that have not claimed them yet
}

// exposure is a check that is made through the proxy of its service: at a port of the proxy that leads to exactly what the
// check asks for.
// Source: https://developer.hashicorp.com/consul/docs/reference/proxy/connect-proxy (expose)
type exposure struct {
	service, proxy string // their ids
	host           string // at which this agent reaches the proxy
	path           catalog.ExposePath
	entries        bool // config entries say so, not the registration
}

// proxied is a proxy's registration with the paths of such checks.
type proxied struct {
	from  *catalog.Service
	paths []catalog.ExposePath
	row   *catalog.Service
}

// exposeRecord is what is on disk of an exposure.
type exposeRecord struct {
	Port    int
	Proxy   string
	Entries bool `json:",omitempty"`
}

const exposePrefix = "expose/"

func newExposures() exposures {
	return exposures{
		exposed: map[string]exposure{}, entries: map[string]bool{}, proxies: map[string]map[string]bool{},
		paths: map[string][]catalog.ExposePath{}, rows: map[string]proxied{}, before: map[string]int{},
	}
}

// proxyFor is the id of the service that a proxy is for, "" for what is no proxy.
func proxyFor(row *catalog.Service) string {
	if row.Kind != catalog.KindConnectProxy {
		return ""
	}
	return row.Proxy.DestinationServiceID
}

// ExposeChecks takes note of what config entries say of proxies, by their ids: whether the checks of their services are made
// through them. It counts for those that the agent runs.
func (s *State) ExposeChecks(by map[string]bool) {
	news := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for id, on := range by {
			if s.services[id] != nil && s.entries[id] != on {
				return true
			}
		}
		return false
	}
	if !news() {
		return
	}
	s.change.Lock()
	defer s.change.Unlock()
	s.edit(nil, func(e *edit) {
		for id, on := range by {
			svc := e.services[id]
			if svc == nil {
				continue
			}
			if delete(e.entries, id); on {
				e.entries[id] = true
			}
			e.touched[proxyFor(svc.row)] = true
		}
	})
}

// run reports whether the agent runs a proxy.
func (s *State) run(proxy *service) bool {
	managed, said := proxy.row.Proxy.Config["managed"].(bool)
	return s.cfg.ProxyHost != "" && proxy.parent != "" && (managed || !said)
}

// exposes reports whether checks are made through a proxy, and whether it is config entries that say so.
func (s *State) exposes(proxy *service) (exposes, entries bool) {
	if proxy.row.Proxy.Expose.Checks {
		return true, false
	}
	entries = s.entries[proxy.row.ID] && s.run(proxy)
	return entries, entries
}

// exposer is the proxy that the checks of a service are made through, nil when there is none.
func (s *State) exposer(id string) *service {
	for _, id := range slices.Sorted(maps.Keys(s.proxies[id])) {
		if exposes, _ := s.exposes(s.services[id]); exposes {
			return s.services[id]
		}
	}
	return nil
}

// reach is the host at which this agent reaches a proxy.
func (s *State) reach(proxy *service) string {
	if s.run(proxy) {
		return s.cfg.ProxyHost
	}
	return cmp.Or(proxy.row.Address, loopback)
}

// exposable are the checks that are made through a proxy, by their ids, as far as they can be; their ports are open yet.
func (s *State) exposable(of, proxy *service, checks []*health) map[string]exposure {
	found := map[string]exposure{}
	_, entries := s.exposes(proxy)
	for _, h := range checks {
		host, path, ok := check.Asks(h.def)
		if ok && s.isHere(host, of, proxy) {
			found[h.row.CheckID] = exposure{service: of.row.ID, proxy: proxy.row.ID, host: s.reach(proxy), path: path, entries: entries}
		}
	}
	return found
}

// isHere reports whether a host is that of a service: as it is registered, or as its proxy knows it.
func (s *State) isHere(host string, of, proxy *service) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	if err == nil && (ip.Unmap().IsLoopback() || ip.IsUnspecified()) {
		return true
	}
	for _, own := range []string{cmp.Or(of.row.Address, s.node.node.Address), proxy.row.Proxy.LocalServiceAddress} {
		at, bad := netip.ParseAddr(own)
		if own != "" && strings.EqualFold(own, host) || err == nil && bad == nil && at.Unmap() == ip.Unmap() {
			return true
		}
	}
	return false
}

// reserve gives out ports for the checks of a registration that will be made through a proxy, by the ids of the checks; those in taken
// are given out already.
func (s *State) reserve(r *registration, taken map[int]bool) (map[string]int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ports := map[string]int{}
	of, proxy := r.service, s.exposer(r.service.row.ID)
	if r.sidecar != nil {
		proxy = nil
		if exposes, _ := s.exposes(r.sidecar.service); exposes {
			proxy = r.sidecar.service
		}
	}
	checks := r.checks
	if to := s.services[proxyFor(r.service.row)]; to != nil && r.service.row.Proxy.Expose.Checks {
		of, proxy, checks = to, r.service, slices.Collect(maps.Values(s.owned[to.row.ID]))
	}
	if proxy == nil {
		return ports, nil
	}
	wanted := s.exposable(of, proxy, checks)
	for _, id := range slices.Sorted(maps.Keys(wanted)) {
		if s.portOf(id) > 0 {
			continue
		}
		port, err := s.exposePort(taken)
		if err != nil {
			return nil, catalog.Errorf(catalog.CodeOf(err), "service %q: check %q is to be made through its proxy: %w", of.row.ID, id, err)
		}
		ports[id], taken[port] = port, true
	}
	return ports, nil
}

// portOf is the port that a check has, or had before the restart; 0 for none.
func (s *State) portOf(id string) int {
	return cmp.Or(s.exposed[id].path.ListenerPort, s.before[id])
}

// exposePort is the lowest port of the range that nobody uses and that is not taken.
func (s *State) exposePort(taken map[int]bool) (int, error) {
	first, last := s.cfg.ExposeMinPort, s.cfg.ExposeMaxPort
	if first <= 0 || last < first {
		return 0, catalog.Errorf(catalog.Invalid, "the agent gives no ports for that: set ports.expose_min_port and ports.expose_max_port, or leave out expose.checks")
	}
	used := maps.Clone(taken)
	for _, x := range s.exposed {
		used[x.path.ListenerPort] = true
	}
	for _, port := range s.before {
		used[port] = true
	}
	for port := range s.ports {
		used[port] = true
	}
	for _, ids := range s.proxies {
		for id := range ids {
			for _, p := range s.services[id].row.Proxy.Expose.Paths {
				used[p.ListenerPort] = true
			}
		}
	}
	for port := first; port <= last; port++ {
		if !used[port] && s.cfg.Unbound(port) {
			return port, nil
		}
	}
	return 0, catalog.Errorf(catalog.Invalid, "all ports from %d to %d are taken: raise ports.expose_max_port, or leave out expose.checks", first, last)
}

// unbound reports whether nobody on this machine listens at a port.
func unbound(port int) bool {
	l, err := net.Listen("tcp", ":"+strconv.Itoa(port))
	if err == nil {
		l.Close()
	}
	return err == nil
}

// expose has the checks of a service made through its proxy, as far as they are to be, and no others.
func (e *edit) expose(id string) {
	wanted := map[string]exposure{}
	if of, proxy := e.services[id], e.exposer(id); of != nil && proxy != nil {
		wanted = e.exposable(of, proxy, slices.Collect(maps.Values(e.owned[id])))
	}
	changed, taken := map[string]bool{}, map[int]bool{} // proxies, and ports
	for _, port := range e.reserved {
		taken[port] = true
	}
	for checkID, x := range e.exposed {
		if _, ok := wanted[checkID]; !ok && x.service == id {
			changed[x.proxy] = true
			delete(e.exposed, checkID)
			e.saves = append(e.saves, save{exposePrefix + checkID, nil})
			e.remake(checkID, 0)
		}
	}
	for _, checkID := range slices.Sorted(maps.Keys(wanted)) {
		x, old := wanted[checkID], e.exposed[checkID]
		port := cmp.Or(e.portOf(checkID), e.reserved[checkID])
		if port == 0 {
			var err error
			if port, err = e.exposePort(taken); err != nil {
				e.log.Error("a check is not made through the proxy of its service, but directly", "check", checkID, "service", id, "err", err)
				continue
			}
		}
		delete(e.before, checkID)
		if x.path.ListenerPort = port; x != old {
			changed[x.proxy], changed[old.proxy] = true, true
			e.exposed[checkID] = x
			e.saves = append(e.saves, save{exposePrefix + checkID, &exposeRecord{port, x.proxy, x.entries}})
		}
		if x != old || e.checks[checkID].row.ExposedPort != port {
			e.remake(checkID, port)
		}
	}
	for proxy := range changed {
		e.showPaths(proxy)
	}
}

// remake has a check made at another place, which its row tells.
func (e *edit) remake(id string, port int) {
	h := e.checks[id]
	if h == nil {
		return
	}
	if h.row.ExposedPort != port {
		row, next := *h.row, *h
		row.ExposedPort = port
		next.row = &row
		h = &next
		e.setCheck(h)
		o := e.link(h)
		o.check = h.row
		e.dispatch(o)
		e.join(e.ticket, o)
	}
	e.start = append(e.start, h)
}

// showPaths tells who follows a proxy which checks are made through it.
func (e *edit) showPaths(proxy string) {
	var paths []catalog.ExposePath
	for _, x := range e.exposed {
		if x.proxy == proxy {
			paths = append(paths, x.path)
		}
	}
	slices.SortFunc(paths, func(a, b catalog.ExposePath) int { return cmp.Compare(a.ListenerPort, b.ListenerPort) })
	if e.paths[proxy] = paths; len(paths) == 0 {
		delete(e.paths, proxy)
		delete(e.rows, proxy)
	}
	if e.services[proxy] != nil {
		e.touch(serviceObject, proxy)
	}
}

// proxied is the registration of a service as its proxy is to have it: with the paths of the checks that are made through it. The
// same registration with the same paths is the same row. s.mu is held.
func (s *State) proxied(svc *service) *catalog.Service {
	paths := s.paths[svc.row.ID]
	if len(paths) == 0 {
		return svc.row
	}
	if r := s.rows[svc.row.ID]; r.from == svc.row && slices.Equal(r.paths, paths) {
		return r.row
	}
	row, proxy := *svc.row, *svc.row.Proxy
	proxy.Expose.Paths = slices.Concat(proxy.Expose.Paths, paths)
	row.Proxy = &proxy
	s.rows[row.ID] = proxied{svc.row, paths, &row}
	return &row
}
