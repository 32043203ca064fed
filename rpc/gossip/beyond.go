package gossip

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	metrics "github.com/hashicorp/go-metrics"
	"github.com/hashicorp/memberlist"

	"github.com/curia-mesh/curia/rpc/pause"
)

// Beyond is how members are reached to whose addresses nothing leads, by their names. What comes from them so is handed to
// Pool.Take.
type Beyond interface {
	// Leads reports whether the member of a name is reached so. It does not block.
	Leads(name string) bool
	// Dial connects to a member: for one exchange of state, or for packets.
	Dial(ctx context.Context, name string, packets bool) (net.Conn, error)
}

// Packets to a member go over one connection, each behind its length as two bytes. A packet without bytes is a question
// whether anybody is there, which is answered with one byte.
const (
	// pulse is the time between two such questions, and pulses how many may go unanswered.
	pulse  = 2 * time.Second
	pulses = 3
	// lineIdle is how long a connection stays without a packet.
	lineIdle = time.Minute
	// lineWrite bounds a write, and lineQuiet the silence of who has connected: it asks every pulse.
	lineWrite = 5 * time.Second
	lineQuiet = 10 * pulse
	// lineDial bounds a dial. Those that fail follow one another at firstRedial, doubled each time up to lastRedial.
	lineDial    = 5 * time.Second
	firstRedial = 500 * time.Millisecond
	lastRedial  = 8 * time.Second
	// maxLines limits the connections in each direction, and maxQueued the packets that wait for one: as of packets by UDP,
	// what does not fit is lost.
	maxLines, maxQueued = 512, 256
)

var errSilentLine = errors.New("the other end is silent")

// lines are the connections by which packets go to members that are reached by Beyond.
type lines struct {
	t   *transport
	way Beyond

	mu    sync.Mutex
	open  map[string]*line // by the names of members
	ended bool
	lost  stat
}

// line is the connection to one member, from before it is made.
type line struct {
	name    string
	packets chan []byte
	told    bool // of a failure, of its own goroutine alone
}

// send gives a packet to the connection to a member. It does not block.
func (l *lines) send(name string, packet []byte) {
	packet = append([]byte(nil), packet...) // memberlist may use its own again
	if len(packet) >= packetBytes {
		l.lost.Add(1)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	to := l.open[name]
	if to == nil {
		if len(l.open) >= maxLines || l.ended {
			l.lost.Add(1)
			return
		}
		to = &line{name: name, packets: make(chan []byte, maxQueued)}
		l.open[name] = to
		l.t.wg.Go(func() { l.carry(to) }) // ends with the transport, or when nothing is sent any more
	}
	select {
	case to.packets <- packet:
	default:
		l.lost.Add(1)
	}
}

// end keeps connections from being begun. Those that there are end with the transport.
func (l *lines) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
}

// finish takes a connection out, unless there is something to send.
func (l *lines) finish(to *line) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(to.packets) > 0 && l.t.ctx.Err() == nil {
		return false
	}
	delete(l.open, to.name)
	return true
}

// carry sends a member's packets until there have been none for a while, over one connection after the other.
func (l *lines) carry(to *line) {
	rest, last := firstRedial, time.Now() // last is of a packet
	for {
		sent, err := l.connect(to)
		if sent {
			rest, last = firstRedial, time.Now()
		}
		if (err == nil || l.t.ctx.Err() != nil || time.Since(last) > lineIdle) && l.finish(to) {
			return
		}
		if err == nil {
			continue
		}
		if !to.told {
			l.t.log.Warn("gossip does not get through to a member; it is tried again", "node", to.name, "err", err)
			to.told = true
		}
		pause.For(l.t.ctx, rest)
		rest = min(2*rest, lastRedial)
		for len(to.packets) > 0 { // they are of no use any more
			<-to.packets
			l.lost.Add(1)
			last = time.Now()
		}
	}
}

// connect makes a connection and sends over it until it breaks, or nothing has been sent for a while, which is no error. It
// reports whether a packet was sent.
func (l *lines) connect(to *line) (sent bool, err error) {
	dial, cancel := context.WithTimeout(l.t.ctx, lineDial)
	conn, err := l.way.Dial(dial, to.name, true)
	cancel()
	if err != nil {
		return false, err
	}
	answered, broken := make(chan struct{}, 1), make(chan error, 1)
	var reader sync.WaitGroup
	reader.Go(func() { broken <- heed(conn, answered) }) // ends with conn
	defer reader.Wait()
	defer conn.Close()
	defer context.AfterFunc(l.t.ctx, func() { conn.Close() })()
	return l.pump(conn, to, answered, broken)
}

// heed reads answers until the connection ends.
func heed(conn net.Conn, answered chan<- struct{}) error {
	buf := make([]byte, 16)
	for {
		if _, err := conn.Read(buf); err != nil {
			return err
		}
		select {
		case answered <- struct{}{}:
		default:
		}
	}
}

func (l *lines) pump(conn net.Conn, to *line, answered <-chan struct{}, broken <-chan error) (sent bool, err error) {
	ask := time.NewTicker(pulse)
	defer ask.Stop()
	w := bufio.NewWriterSize(conn, packetBytes)
	last, asked := time.Now(), 0
	for {
		var packet []byte
		select {
		case <-l.t.ctx.Done():
			return sent, l.t.ctx.Err()
		case err := <-broken:
			return sent, err
		case <-answered:
			if asked = 0; to.told {
				l.t.log.Info("gossip gets through to a member again", "node", to.name)
				to.told = false
			}
			continue
		case packet = <-to.packets:
			sent, last = true, time.Now()
		case <-ask.C:
			if time.Since(last) > lineIdle {
				return sent, nil
			}
			if asked++; asked > pulses {
				return sent, errSilentLine
			}
		}
		if err := conn.SetWriteDeadline(time.Now().Add(lineWrite)); err != nil {
			return sent, err
		}
		w.Write(binary.BigEndian.AppendUint16(nil, uint16(len(packet)))) // what fails, fails in Flush
		w.Write(packet)
		if len(to.packets) > 0 && packet != nil {
			continue
		}
		if err := w.Flush(); err != nil {
			return sent, err
		}
	}
}

// Take hands a connection to the pool that another server has made by its Beyond: for packets, or for one exchange of
// state. The pool closes it. It does not block.
func (p *Pool) Take(conn net.Conn, packets bool) {
	if p.net == nil || !p.net.take(conn, packets) {
		conn.Close()
	}
}

// take reports whether there is room for a connection.
func (t *transport) take(conn net.Conn, packets bool) bool {
	s, ok := t.admitFar(conn, packets)
	if !ok {
		t.streamsRefused.Add(1)
		return false
	}
	go func() { // ends with s, which ends with the transport
		defer t.wg.Done()
		if packets {
			err := t.readLine(s)
			t.log.Debug("a connection for packets of gossip has ended", "peer", s.RemoteAddr(), "err", err)
			s.Close()
			return
		}
		select {
		case t.incomes <- s:
		case <-t.ctx.Done():
			s.Close()
		}
	}()
	return true
}

// readLine takes the packets of a connection until it ends.
func (t *transport) readLine(conn net.Conn) error {
	r := bufio.NewReaderSize(conn, packetBytes)
	var head [2]byte
	for {
		if err := conn.SetReadDeadline(time.Now().Add(lineQuiet)); err != nil {
			return err
		}
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return err
		}
		n := int(binary.BigEndian.Uint16(head[:]))
		if n == 0 {
			if err := conn.SetWriteDeadline(time.Now().Add(lineWrite)); err != nil {
				return err
			}
			if _, err := conn.Write([]byte{0}); err != nil {
				return err
			}
			continue
		}
		if n >= packetBytes {
			t.packetsRefused.Add(1)
			return fmt.Errorf("a packet of %d bytes: at most %d are allowed", n, packetBytes-1)
		}
		packet := make([]byte, n)
		if _, err := io.ReadFull(r, packet); err != nil {
			return err
		}
		metrics.IncrCounterWithLabels([]string{"memberlist", "udp", "received"}, float32(n), t.labels)
		select {
		case t.packets <- &memberlist.Packet{Buf: packet, From: conn.RemoteAddr(), Timestamp: time.Now()}:
		case <-t.ctx.Done():
			return t.ctx.Err()
		}
	}
}
