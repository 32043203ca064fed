package sidecar

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/curia-mesh/curia/connect/proxy"
	"github.com/curia-mesh/curia/rpc/socket"
)

// A process takes the place of another one by asking for its listeners, at the socket. Each side makes sure that the other is
// of its own user. After the head of the request, which asks for this protocol, and of an answer with status 101:
//
//	old  a line of JSON, an offer: at what addresses it listens
//	new  's', send them
//	old  for each address a byte, with the listener
//	new  'a', I accept connections
//	old  'y', they are yours
//
// Until it has said that, the old one goes on as if nothing had been asked; then it accepts no more. A listener is open all the
// time, with the connections that wait at it: both processes have the same one. Who says anything else, or nothing for a while, is
// not spoken with.
const (
	handoverProtocol = "curia-handover/1"
	handoverVersion  = 1

	handoverTime = 30 * time.Second // for all of it
	maxOffer     = 4 << 20          // bytes, with the head
	maxSockets   = 1 << 14

	saySend   = 's'
	sayAccept = 'a'
	sayYours  = 'y'
)

// offer is what a process can hand over.
type offer struct{ Sockets []proxy.Socket }

// handover hands the listeners over to who asks for them, and ends.
func (p *process) handover(w http.ResponseWriter, r *http.Request) {
	if got := r.Header.Get("Upgrade"); got != handoverProtocol {
		w.Header().Set("Upgrade", handoverProtocol)
		http.Error(w, fmt.Sprintf("Upgrade is %.64q: this process hands its listeners over by %s", got, handoverProtocol), http.StatusUpgradeRequired)
		return
	}
	if !p.handing.TryLock() {
		http.Error(w, "the listeners are being handed over to another process", http.StatusConflict)
		return
	}
	c, read, err := http.NewResponseController(w).Hijack()
	if err != nil {
		p.handing.Unlock()
		fail(w, err)
		return
	}
	defer c.Close()
	defer p.handing.Unlock() // before who asked hears the end, and may ask again
	if err := p.handOver(c, read.Reader); err != nil {
		p.runner.Log.Warn("another process asked for the listeners, and does not get them", "err", err)
	}
}

// handOver is the side of the old process.
func (p *process) handOver(c net.Conn, read *bufio.Reader) error {
	to, ok := c.(*net.UnixConn)
	if !ok || read.Buffered() > 0 {
		return errors.New("it says more than it should")
	}
	if err := socket.SameUser(to); err != nil {
		return err
	}
	if err := p.runner.store(); err != nil { // the other one reads it
		p.runner.Log.Warn("the proxy's snapshot could not be stored: the next process begins with an older one", "err", err)
	}
	to.SetDeadline(time.Now().Add(handoverTime))
	all := p.runner.sockets()
	text, err := json.Marshal(offer{all})
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(to, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n%s\n", handoverProtocol, text); err != nil {
		return err
	}
	if err := hear(to, saySend); err != nil {
		return err
	}
	for _, s := range all {
		if err := socket.Pass(to, s.Listener); err != nil {
			return fmt.Errorf("the listener at %s: %w", s.Address, err)
		}
	}
	if err := hear(to, sayAccept); err != nil {
		return err
	}
	own, ok := p.socket.(*net.UnixListener)
	if ok {
		own.SetUnlinkOnClose(false) // the other one puts its own in the place
	}
	if _, err := to.Write([]byte{sayYours}); err != nil {
		if ok {
			own.SetUnlinkOnClose(true)
		}
		return err
	}
	p.runner.proxy.HandOver()
	p.end()
	return nil
}

// hear reads a byte that has to be the one that is wanted.
func hear(c net.Conn, want byte) error {
	var got [1]byte
	if _, err := io.ReadFull(c, got[:]); err != nil {
		return fmt.Errorf("waiting for %q: %w", want, err)
	}
	if got[0] != want {
		return fmt.Errorf("it says %q, want %q", got[0], want)
	}
	return nil
}

// predecessor is the process that this one takes the place of.
type predecessor struct {
	*proxy.Inherited
	conn *net.UnixConn
}

// inherit asks the process of a directory for its listeners.
func inherit(dir string) (*predecessor, error) {
	conn, err := net.Dial("unix", filepath.Join(dir, socketFile))
	if err != nil {
		return nil, err
	}
	p := &predecessor{&proxy.Inherited{}, conn.(*net.UnixConn)}
	if err := p.ask(); err != nil {
		p.leave()
		return nil, fmt.Errorf("the process that runs hands no listeners over: %w", err)
	}
	return p, nil
}

// leave has the process before go on, unless succeed has succeeded.
func (p *predecessor) leave() {
	p.conn.Close()
	p.Drop()
}

// ask has the listeners handed over. They are open in both processes then.
func (p *predecessor) ask() error {
	if err := socket.SameUser(p.conn); err != nil {
		return err
	}
	p.conn.SetDeadline(time.Now().Add(handoverTime))
	if _, err := fmt.Fprintf(p.conn, "POST /handover HTTP/1.1\r\nHost: proxy\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", handoverProtocol); err != nil {
		return err
	}
	sockets, err := p.offered()
	if err != nil {
		return err
	}
	if _, err := p.conn.Write([]byte{saySend}); err != nil {
		return err
	}
	for _, s := range sockets {
		if s.Listener, err = socket.Take(p.conn); err != nil {
			return fmt.Errorf("the listener at %.256s: %w", s.Address, err)
		}
		if err := p.Add(s); err != nil {
			s.Listener.Close()
			return err
		}
	}
	return nil
}

// offered reads what the process before can hand over.
func (p *predecessor) offered() ([]proxy.Socket, error) {
	read := bufio.NewReader(io.LimitReader(p.conn, maxOffer))
	r, err := http.ReadResponse(read, nil)
	if err != nil {
		return nil, err
	}
	if got := r.Header.Get("Upgrade"); r.StatusCode != http.StatusSwitchingProtocols || got != handoverProtocol {
		return nil, fmt.Errorf("it answers with status %d and protocol %.64q, want 101 and %s", r.StatusCode, got, handoverProtocol)
	}
	line, err := read.ReadBytes('\n')
	if err != nil {
		return nil, fmt.Errorf("its offer has no end within %d bytes: %w", maxOffer, err)
	}
	var o offer
	switch err := json.Unmarshal(line, &o); {
	case err != nil:
		return nil, fmt.Errorf("its offer: %w", err)
	case len(o.Sockets) > maxSockets:
		return nil, fmt.Errorf("it offers %d listeners, want %d at most", len(o.Sockets), maxSockets)
	case read.Buffered() > 0:
		return nil, errors.New("it says more than an offer")
	}
	return o.Sockets, nil
}

// succeed tells the process before that this one accepts, and has its listeners for good.
func (p *predecessor) succeed() error {
	defer p.conn.Close()
	if _, err := p.conn.Write([]byte{sayAccept}); err != nil {
		return err
	}
	if err := hear(p.conn, sayYours); err != nil {
		return err
	}
	p.Own()
	return nil
}
