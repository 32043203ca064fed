package dns

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// asking holds the queries that recursors are asked at the moment. All who send the same one meanwhile wait
// for its reply: more of them would only give who guesses IDs more of them to guess (RFC 5452 section 5),
// and one that comes back to us, from a recursor that asks us in turn, goes round no further.
type asking struct {
	mu      sync.Mutex
	queries map[string]*asked
}

type asked struct {
	done  chan struct{}
	reply []byte // shared: read it only
	err   error
}

// once returns the reply to a query, with the query's ID; ask gets it unless somebody else does already.
func (a *asking) once(ctx context.Context, pkt []byte, tcp bool, ask func() ([]byte, error)) ([]byte, error) {
	key := string(pkt[2:])
	if tcp {
		key += "tcp"
	}
	a.mu.Lock()
	q, under := a.queries[key]
	if !under {
		if a.queries == nil {
			a.queries = map[string]*asked{}
		}
		q = &asked{done: make(chan struct{})}
		a.queries[key] = q
	}
	a.mu.Unlock()
	if under {
		select {
		case <-q.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	} else {
		q.reply, q.err = ask()
		a.mu.Lock()
		delete(a.queries, key)
		a.mu.Unlock()
		close(q.done)
	}
	if q.err != nil {
		return nil, q.err
	}
	reply := bytes.Clone(q.reply)
	copy(reply, pkt[:2])
	return reply, nil
}

// forward sends a well-formed query to the recursors, by the protocol it came by, until one answers
// that there is such a name or that there is none. The reply's ID is of no meaning.
func (s *settings) forward(ctx context.Context, pkt []byte, tcp bool) ([]byte, error) {
	order := make([]int, len(s.recursors))
	for i := range order {
		order[i] = i
	}
	if s.RecursorOrder == Random {
		order = rand.Perm(len(order))
	}
	failed := errors.New("no recursors")
	for _, i := range order {
		reply, err := s.exchange(ctx, s.recursors[i], pkt, tcp)
		if err == nil {
			return reply, nil
		}
		failed = fmt.Errorf("recursor %s: %w", s.recursors[i], err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, failed
}

// exchange asks one recursor. It takes a port and an ID of its own for each query, and only a reply
// that has both and repeats the question (RFC 5452 section 9).
func (s *settings) exchange(ctx context.Context, to netip.AddrPort, pkt []byte, tcp bool) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, s.RecursorTimeout)
	defer cancel()
	network := "udp"
	if tcp {
		network = "tcp"
	}
	conn, err := s.dial(ctx, network, to.String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	out := make([]byte, prefixLen, prefixLen+len(pkt))
	binary.BigEndian.PutUint16(out, uint16(len(pkt)))
	out = append(out, pkt...)
	query := out[prefixLen:]
	binary.BigEndian.PutUint16(query, uint16(rand.Uint32()))
	if !tcp {
		out = query
	}
	if _, err := conn.Write(out); err != nil {
		return nil, err
	}
	return s.readReply(conn, query, tcp)
}

func (s *settings) readReply(conn net.Conn, query []byte, tcp bool) ([]byte, error) {
	pooled := s.buffers.Get().(*[]byte)
	defer s.buffers.Put(pooled)
	buf := *pooled
	for {
		size, err := readMessage(conn, buf, tcp)
		if err != nil {
			return nil, err
		}
		if reply := buf[:size]; answers(reply, query) {
			switch code := int(reply[3] & 0xf); code {
			case dns.RcodeSuccess, dns.RcodeNameError:
				return bytes.Clone(reply), nil
			default:
				return nil, errors.New(dns.RcodeToString[code])
			}
		}
		if tcp {
			return nil, errors.New("reply to another question")
		}
	}
}

func readMessage(conn net.Conn, buf []byte, tcp bool) (int, error) {
	if !tcp {
		return conn.Read(buf)
	}
	if _, err := io.ReadFull(conn, buf[:prefixLen]); err != nil {
		return 0, err
	}
	return io.ReadFull(conn, buf[:binary.BigEndian.Uint16(buf)])
}

// answers reports whether a message is a reply to the query: same ID, same question.
func answers(reply, query []byte) bool {
	end := wireName(query, headerLen)
	if len(reply) < end+4 || !bytes.Equal(reply[:2], query[:2]) || reply[2]&0x80 == 0 || !bytes.Equal(reply[4:6], query[4:6]) {
		return false
	}
	return sameName(reply[headerLen:end], query[headerLen:end]) && bytes.Equal(reply[end:end+4], query[end:end+4])
}

// sameName compares two names in wire form as RFC 4343 section 3 has it: only ASCII letters have a case.
func sameName(a, b []byte) bool {
	return slices.EqualFunc(a, b, func(x, y byte) bool { return lowerByte(x) == lowerByte(y) })
}

// recurse resolves a name that an answer of ours mentions. Failing that, the client has the name.
func (r *resolver) recurse(ctx context.Context, host string, qtype uint16, tcp bool) []dns.RR {
	msg := new(dns.Msg).SetQuestion(host, qtype).SetEdns0(maxUDPSize, false)
	pkt, err := msg.Pack()
	if err != nil {
		return nil
	}
	raw, err := r.forward(ctx, pkt, tcp)
	if err == nil && raw[2]&0x02 != 0 && !tcp {
		raw, err = r.forward(ctx, pkt, true)
	}
	reply := new(dns.Msg)
	if err != nil || reply.Unpack(raw) != nil {
		return nil
	}
	var found []dns.RR
	for _, rr := range reply.Answer {
		switch rr.(type) {
		case *dns.A, *dns.AAAA, *dns.CNAME:
			if rr.Header().Class == dns.ClassINET {
				found = append(found, rr)
			}
		}
	}
	return found
}
