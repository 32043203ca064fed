package proxy

import (
	"fmt"
	"net"
	"strconv"
	"sync"
)

// Socket is an open listener by the address that a snapshot has for it.
type Socket struct {
	Network, Address string
	net.Listener     `json:"-"`
}

// Inherited are the listeners of a process whose place this one takes. They stay that one's until Own. Nil has none.
type Inherited struct {
	mu    sync.Mutex
	left  map[socket]net.Listener // that nobody has asked for
	files []*net.UnixListener     // all whose addresses are files
}

// Add adds a listener. One that cannot be what it is said to be is refused, and stays the caller's.
func (i *Inherited) Add(s Socket) error {
	if err := s.check(); err != nil {
		return fmt.Errorf("inherit a listener at %s %s: %w", s.Network, s.Address, err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	at := socket{s.Network, s.Address}
	if i.left[at] != nil {
		return fmt.Errorf("inherit a listener at %s %s: there are two", s.Network, s.Address)
	}
	if i.left == nil {
		i.left = map[socket]net.Listener{}
	}
	i.left[at] = s.Listener
	if u, ok := s.Listener.(*net.UnixListener); ok {
		i.files = append(i.files, u)
	}
	return nil
}

// check compares where a socket listens with where it is said to.
func (s *Socket) check() error {
	is := s.Addr()
	if is.Network() != s.Network {
		return fmt.Errorf("it is at %s %s", is.Network(), is)
	}
	if s.Network == "unix" {
		if is.String() != s.Address {
			return fmt.Errorf("it is at %s", is)
		}
		return nil
	}
	_, port, err := net.SplitHostPort(s.Address)
	if err != nil {
		return err
	}
	if at, ok := is.(*net.TCPAddr); !ok || port != "0" && port != strconv.Itoa(at.Port) { // hosts are written in more than one way
		return fmt.Errorf("it is at %s", is)
	}
	return nil
}

// Listen returns the listener that was inherited for an address, once, and else opens one. The file of a unix socket that
// nobody listens at is in nobody's way.
func (i *Inherited) Listen(network, address string) (net.Listener, error) {
	if i != nil {
		i.mu.Lock()
		defer i.mu.Unlock()
		at := socket{network, address}
		if l := i.left[at]; l != nil {
			delete(i.left, at)
			return l, nil
		}
	}
	return listen(network, address)
}

// Own is for when the process before listens no more: files of sockets go with their listeners from here on, and listeners
// that nobody has asked for are closed.
func (i *Inherited) Own() {
	i.mu.Lock()
	for _, u := range i.files {
		u.SetUnlinkOnClose(true)
	}
	i.mu.Unlock()
	i.Drop()
}

// Drop closes listeners that nobody has asked for.
func (i *Inherited) Drop() {
	i.mu.Lock()
	defer i.mu.Unlock()
	for at, l := range i.left {
		delete(i.left, at)
		l.Close()
	}
}

// Sockets are the listeners that are open.
func (p *Proxy) Sockets() (all []Socket) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for at, l := range p.listening {
		all = append(all, Socket{at.Network, at.Address, l.Listener})
	}
	return all
}

// Begun is closed when the proxy accepts connections.
func (p *Proxy) Begun() <-chan struct{} { return p.begun }

// HandOver leaves all listeners to another process that has them and accepts. The connections that this one has go on as they
// would, but for answers that say they are the last ones, until Run's context ends and the time to drain them is over. There is
// no Update any more.
func (p *Proxy) HandOver() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	for _, l := range p.listening {
		l.handOver()
		p.leaving = append(p.leaving, l)
	}
	clear(p.listening)
}
