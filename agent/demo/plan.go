package demo

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
)

// Bounds of what one machine is asked for.
const (
	maxDatacenters, maxServers, maxClients = 5, 7, 20
	maxAgents                              = 40
)

// Shape is how large a demo is, and whether it is secured. Zero numbers are not said.
type Shape struct {
	Datacenters, Servers, Clients int // servers and clients of each datacenter
	Secure                        bool
}

// planFile in the demo's directory says what was made there.
const planFile = "demo.json"

// plan is what runs, as it lies in planFile.
type plan struct {
	Shape
	Agents []*place
}

// place is where one agent lives.
type place struct {
	Name, Datacenter string
	Server           bool
	Slot             int // which of each kind of port it has

	dir   string
	guard net.Listener
}

// Ports of slot 0; each further slot has the ones above. Slot 0 has those where commands look by themselves. The guard is
// held while the demo runs: whoever has it has the slot.
const (
	guardPort = 8400 + iota*slots
	httpPort
	dnsPort
	serverPort
	serfPort
	serfWANPort
	webPort
	webSidecar
	upstreamPort // of web, for api
	farPort      // of web, for api of the next datacenter
	apiPort      // and with +2*slots the second one's
	apiSidecar   // and so too
	endPort      = apiPort + 4*slots
	slots        = 100
)

func (p *place) port(of int) int         { return of + p.Slot }
func (p *place) address(of int) string   { return loopback(p.port(of)) }
func (p *place) file(name string) string { return filepath.Join(p.dir, name) }
func (p *place) config() string          { return p.file("etc") }
func (p *place) data() string            { return p.file("data") }
func (p *place) log() string             { return p.file("agent.log") }

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// fill sets what is not said, and refuses what is too much.
func (s *Shape) fill() error {
	if s.Datacenters == 0 {
		s.Datacenters = 1
	}
	if s.Servers == 0 {
		s.Servers = 1
		if s.Secure {
			s.Servers = 3
		}
	}
	if s.Clients == 0 {
		s.Clients = 1
	}
	if s.Secure && s.Datacenters > 1 {
		return errors.New("a secured demo has one datacenter: leave out -secure, or -dcs")
	}
	f := func(what string, n, most int) error {
		if n < 1 || n > most {
			return fmt.Errorf("%d %s: want 1 to %d", n, what, most)
		}
		return nil
	}
	return errors.Join(f("datacenters", s.Datacenters, maxDatacenters), f("servers", s.Servers, maxServers), f("clients", s.Clients, maxClients),
		f("agents in all", s.Datacenters*(s.Servers+s.Clients), maxAgents))
}

// load reads the plan in dir, or makes one of what is said. was reports which.
func load(dir string, said Shape) (p *plan, was bool, err error) {
	path := filepath.Join(dir, planFile)
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := said.fill(); err != nil {
			return nil, false, err
		}
		return draw(said), false, nil
	case err != nil:
		return nil, false, err
	}
	p = &plan{}
	if err := json.Unmarshal(text, p); err != nil {
		return nil, false, fmt.Errorf("%s: %w", path, err)
	}
	if err := p.check(); err != nil {
		return nil, false, fmt.Errorf("%s: %w", path, err)
	}
	for _, d := range []struct {
		what      string
		said, has int
	}{{"datacenters", said.Datacenters, p.Datacenters}, {"servers in each", said.Servers, p.Servers}, {"clients in each", said.Clients, p.Clients}} {
		if d.said != 0 && d.said != d.has {
			return nil, false, fmt.Errorf("the demo in %s has %d %s, not %d: leave the option out, or take another directory", dir, d.has, d.what, d.said)
		}
	}
	if said.Secure && !p.Secure {
		return nil, false, fmt.Errorf("the demo in %s is not secured: leave the option out, or take another directory", dir)
	}
	return p, true, nil
}

// check refuses a plan that was changed by hand into one that would leave its directory or this machine's bounds.
func (p *plan) check() error {
	want := p.Shape
	if err := want.fill(); err != nil {
		return err
	}
	drawn := draw(p.Shape)
	if want != p.Shape || len(p.Agents) != len(drawn.Agents) {
		return errors.New("the agents are not those that the numbers say")
	}
	taken := map[int]bool{}
	for i, a := range p.Agents {
		d := drawn.Agents[i]
		if a == nil || a.Name != d.Name || a.Datacenter != d.Datacenter || a.Server != d.Server || a.Slot < 0 || a.Slot >= slots || taken[a.Slot] {
			return fmt.Errorf("agent %d is not %s with a slot of its own below %d", i+1, d.Name, slots)
		}
		taken[a.Slot] = true
	}
	return nil
}

// draw names the agents: dc1-s1 is the first server of the first datacenter, dc1-c1 its first client agent.
func draw(s Shape) *plan {
	p := &plan{Shape: s}
	for d := range s.Datacenters {
		dc := fmt.Sprint("dc", d+1)
		for i := range s.Servers {
			p.Agents = append(p.Agents, &place{Name: fmt.Sprint(dc, "-s", i+1), Datacenter: dc, Server: true})
		}
		for i := range s.Clients {
			p.Agents = append(p.Agents, &place{Name: fmt.Sprint(dc, "-c", i+1), Datacenter: dc})
		}
	}
	return p
}

// write keeps the plan.
func (p *plan) write(dir string) error {
	text, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, planFile), append(text, '\n'), 0o600)
}

// settle puts the agents below dir, and takes their slots: those they had, or free ones.
func (p *plan) settle(dir string, had bool) error {
	next := 0
	for _, a := range p.Agents {
		a.dir = filepath.Join(dir, a.Name)
		if had {
			if err := a.take(); err != nil {
				return fmt.Errorf("agent %s: %w. End who has it, or take another directory", a.Name, err)
			}
			continue
		}
		for {
			if next == slots {
				return fmt.Errorf("no free ports for %d agents from %d on", len(p.Agents), guardPort)
			}
			a.Slot = next
			next++
			if a.take() == nil {
				break
			}
		}
	}
	return nil
}

// take takes the slot, when all of its ports are free.
func (p *place) take() error {
	guard, err := net.Listen("tcp", p.address(guardPort))
	if err != nil {
		return err
	}
	for of := httpPort; of < endPort; of += slots {
		stream, err := net.Listen("tcp", p.address(of))
		if err == nil {
			stream.Close()
			var packets net.PacketConn
			if packets, err = net.ListenPacket("udp", p.address(of)); err == nil {
				packets.Close()
			}
		}
		if err != nil {
			guard.Close()
			return err
		}
	}
	p.guard = guard
	return nil
}

// free gives the slots back.
func (p *plan) free() {
	for _, a := range p.Agents {
		if a.guard != nil {
			a.guard.Close()
		}
	}
}

// in are the agents of a datacenter: its servers, or its client agents.
func (p *plan) in(dc string, servers bool) (found []*place) {
	for _, a := range p.Agents {
		if a.Datacenter == dc && a.Server == servers {
			found = append(found, a)
		}
	}
	return found
}

// datacenters are the names, in order.
func (p *plan) datacenters() (names []string) {
	for d := range p.Datacenters {
		names = append(names, fmt.Sprint("dc", d+1))
	}
	return names
}
