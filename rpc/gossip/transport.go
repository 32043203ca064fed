package gossip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	metrics "github.com/hashicorp/go-metrics"
	"github.com/hashicorp/memberlist"
)

const (
	// packetBytes is several times the largest packet of memberlist (1400 bytes); what is longer is not from one of us.
	packetBytes = 8 << 10
	// socketBuffer is what the kernel is asked to keep of a burst of packets.
	socketBuffer = 2 << 20
	// maxStreams and maxHostStreams limit the connections that others have open to us, in all and from one address.
	maxStreams, maxHostStreams = 256, 32
	// streamBudget limits the bytes that all of these connections may have sent and still hold in memory.
	streamBudget = 64 << 20
)

// transport is memberlist's way to the network: UDP for packets, TCP for exchanges of state. It differs from the
// library's own in that it refuses strangers before anything is parsed, limits what connections can take up, and does
// not allocate 64 KiB for each packet.
type transport struct {
	log       *slog.Logger
	tcp       *net.TCPListener
	udp       *net.UDPConn
	advertise netip.AddrPort
	allowed   []netip.Prefix
	labels    []metrics.Label

	packets chan *memberlist.Packet
	incomes chan net.Conn

	ctx  context.Context // ends with Shutdown; memberlist's interface carries none
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu    sync.Mutex
	open  map[*stream]struct{} // both directions
	hosts map[netip.Addr]int   // incoming
	count int                  // incoming
	held  int64                // bytes read from incoming streams that are open

	packetsRefused, streamsRefused stat

	far      *lines // nil without members that are reached by Beyond
	farLines int    // incoming, for packets; guarded by mu
}

var _ memberlist.NodeAwareTransport = (*transport)(nil)

// listen binds both sockets; start begins to read.
func listen(cfg Config, log *slog.Logger) (*transport, error) {
	t := &transport{
		log: log, allowed: cfg.Allowed, labels: []metrics.Label{{Name: "network", Value: string(cfg.Kind)}},
		packets: make(chan *memberlist.Packet), incomes: make(chan net.Conn),
		open: map[*stream]struct{}{}, hosts: map[netip.Addr]int{},
	}
	if err := t.bind(cfg.Bind); err != nil {
		return nil, bindError(cfg, err)
	}
	port := uint16(t.tcp.Addr().(*net.TCPAddr).Port)
	t.advertise = cfg.Advertise
	if t.advertise.Port() == 0 {
		t.advertise = netip.AddrPortFrom(t.advertise.Addr(), port)
	}
	// A smaller buffer than asked for works too; the kernel caps it silently as it is.
	if err := t.udp.SetReadBuffer(socketBuffer); err != nil {
		log.Debug("gossip socket keeps its receive buffer", "err", err)
	}
	t.ctx, t.stop = context.WithCancel(context.Background())
	if cfg.Beyond != nil {
		t.far = &lines{t: t, way: cfg.Beyond, open: map[string]*line{}}
	}
	return t, nil
}

// start begins to read. Its goroutines end with Shutdown.
func (t *transport) start() {
	t.wg.Go(t.readPackets)
	t.wg.Go(t.acceptStreams)
}

// bind takes the same port twice. A port picked by the kernel for TCP may be taken for UDP, so it tries a few.
func (t *transport) bind(at netip.AddrPort) error {
	tries := 1
	if at.Port() == 0 {
		tries = 10
	}
	var last error
	for range tries {
		tcp, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
		if err != nil {
			return err
		}
		got := netip.AddrPortFrom(at.Addr(), uint16(tcp.Addr().(*net.TCPAddr).Port))
		udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(got))
		if err == nil {
			t.tcp, t.udp = tcp, udp
			return nil
		}
		last = errors.Join(err, tcp.Close())
	}
	return last
}

func bindError(cfg Config, err error) error {
	fix := fmt.Sprintf("set ports.serf_%s or serf_%s", cfg.Kind, cfg.Kind)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		fix = fmt.Sprintf("another process has the port: stop it or set ports.serf_%s", cfg.Kind)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		fix = fmt.Sprintf("this machine does not have the address: set bind_addr or serf_%s", cfg.Kind)
	case errors.Is(err, syscall.EACCES):
		fix = fmt.Sprintf("a port below 1024 needs a privilege: set ports.serf_%s", cfg.Kind)
	}
	return fmt.Errorf("cannot listen on address %s port %d: %w: %s", cfg.Bind.Addr(), cfg.Bind.Port(), err, fix)
}

// FinalAdvertiseAddr ignores its arguments: they were in the Config.
func (t *transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return t.advertise.Addr().Unmap().AsSlice(), int(t.advertise.Port()), nil
}

func (t *transport) PacketCh() <-chan *memberlist.Packet { return t.packets }

func (t *transport) StreamCh() <-chan net.Conn { return t.incomes }

func (t *transport) WriteTo(b []byte, addr string) (time.Time, error) {
	return t.WriteToAddress(b, memberlist.Address{Addr: addr})
}

// WriteToAddress sends one packet. Addresses come from members, which is why a name is not looked up.
func (t *transport) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	if t.isFar(a.Name) {
		t.far.send(a.Name, b)
		return time.Now(), nil
	}
	to, err := netip.ParseAddrPort(a.Addr)
	if err != nil {
		return time.Time{}, fmt.Errorf("packet to %q: not an IP address and port", a.Addr)
	}
	_, err = t.udp.WriteToUDPAddrPort(b, netip.AddrPortFrom(to.Addr().Unmap(), to.Port()))
	return time.Now(), err
}

func (t *transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return t.DialAddressTimeout(memberlist.Address{Addr: addr}, timeout)
}

// DialAddressTimeout opens a connection that ends with the transport.
func (t *transport) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(t.ctx, timeout)
	defer cancel()
	var c net.Conn
	var err error
	if t.isFar(a.Name) {
		c, err = t.far.way.Dial(ctx, a.Name, false)
	} else {
		c, err = (&net.Dialer{}).DialContext(ctx, "tcp", a.Addr)
	}
	if err != nil {
		return nil, err
	}
	s := &stream{Conn: c, t: t}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ctx.Err() != nil {
		return nil, errors.Join(errClosed, c.Close())
	}
	t.open[s] = struct{}{}
	return s, nil
}

// isFar reports whether the member of a name is reached by Beyond.
func (t *transport) isFar(name string) bool { return t.far != nil && t.far.way.Leads(name) }

// Shutdown closes sockets and connections and waits for the readers.
func (t *transport) Shutdown() error {
	t.stop()
	err := errors.Join(t.tcp.Close(), t.udp.Close())
	t.mu.Lock()
	left := make([]*stream, 0, len(t.open))
	for s := range t.open {
		left = append(left, s)
	}
	t.mu.Unlock()
	for _, s := range left {
		s.Close() // its user sees the error
	}
	if t.far != nil {
		t.far.end()
	}
	t.wg.Wait()
	return err
}

// readPackets ends with Shutdown.
func (t *transport) readPackets() {
	buf := make([]byte, packetBytes)
	for {
		n, from, err := t.udp.ReadFromUDPAddrPort(buf)
		now := time.Now()
		if err != nil {
			if t.pause("receive packets", err) {
				continue
			}
			return
		}
		if n == 0 || n == len(buf) || !allows(t.allowed, from.Addr()) {
			t.packetsRefused.Add(1)
			continue
		}
		metrics.IncrCounterWithLabels([]string{"memberlist", "udp", "received"}, float32(n), t.labels)
		p := &memberlist.Packet{Buf: append([]byte(nil), buf[:n]...), From: net.UDPAddrFromAddrPort(from), Timestamp: now}
		select {
		case t.packets <- p:
		case <-t.ctx.Done():
			return
		}
	}
}

// acceptStreams ends with Shutdown.
func (t *transport) acceptStreams() {
	for {
		c, err := t.tcp.AcceptTCP()
		if err != nil {
			if t.pause("accept connections", err) {
				continue
			}
			return
		}
		s, ok := t.admit(c)
		if !ok {
			t.streamsRefused.Add(1)
			c.Close()
			continue
		}
		select {
		case t.incomes <- s:
		case <-t.ctx.Done():
			s.Close()
			return
		}
	}
}

// pause tells whether to go on after an error, such as too many open files, which would come back at once.
func (t *transport) pause(what string, err error) bool {
	if t.ctx.Err() != nil {
		return false
	}
	t.log.Warn("gossip socket fails, trying again", "op", what, "err", err)
	select {
	case <-time.After(100 * time.Millisecond):
		return true
	case <-t.ctx.Done():
		return false
	}
}

// admit registers an incoming connection, where there is room for it.
func (t *transport) admit(c *net.TCPConn) (*stream, bool) {
	host := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
	if !allows(t.allowed, host) {
		return nil, false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.register(c, host)
}

// admitFar registers a connection that came by the Beyond of another server, where there is room for it. Its address is that
// of a gateway, so no network is asked for.
func (t *transport) admitFar(c net.Conn, packets bool) (s *stream, ok bool) {
	host, some := c.RemoteAddr().(*net.TCPAddr)
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.far == nil || !some || t.ctx.Err() != nil:
		return nil, false
	case !packets:
		s, ok = t.register(c, host.AddrPort().Addr().Unmap())
	case t.farLines < maxLines:
		s, ok = &stream{Conn: c, t: t, line: true}, true
		t.farLines++
		t.open[s] = struct{}{}
	}
	if ok {
		t.wg.Add(1) // under the lock, which Shutdown takes before it waits
	}
	return s, ok
}

// register takes an incoming connection up, where there is room for it. The lock is held.
func (t *transport) register(c net.Conn, host netip.Addr) (*stream, bool) {
	if t.count >= maxStreams || t.hosts[host] >= maxHostStreams {
		return nil, false
	}
	s := &stream{Conn: c, t: t, host: host}
	t.count++
	t.hosts[host]++
	t.open[s] = struct{}{}
	return s, true
}

// stream is a connection that the transport knows of until it is closed.
type stream struct {
	net.Conn
	t    *transport
	host netip.Addr // of an incoming one for an exchange of state
	line bool       // an incoming one for packets
	read int64      // bytes, guarded by t.mu
	once sync.Once
}

// Read counts what an incoming connection brings: memberlist keeps all of it until the exchange is over.
func (s *stream) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	if !s.host.IsValid() || n == 0 {
		return n, err
	}
	s.t.mu.Lock()
	defer s.t.mu.Unlock()
	if _, isOpen := s.t.open[s]; isOpen {
		s.read += int64(n)
		s.t.held += int64(n)
	}
	if s.t.held > streamBudget {
		return n, errors.New("too much is coming in over all gossip connections at once")
	}
	return n, err
}

// Close may be called more than once.
func (s *stream) Close() error {
	err := s.Conn.Close()
	s.once.Do(func() {
		s.t.mu.Lock()
		defer s.t.mu.Unlock()
		delete(s.t.open, s)
		if s.line {
			s.t.farLines--
		}
		if !s.host.IsValid() {
			return
		}
		s.t.held -= s.read
		s.t.count--
		if s.t.hosts[s.host]--; s.t.hosts[s.host] == 0 {
			delete(s.t.hosts, s.host)
		}
	})
	return err
}
