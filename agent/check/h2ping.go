package check

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"

	"github.com/curia-mesh/curia/catalog"
)

const (
	h2FrameSize = 16 << 10 // the largest frame a peer may send before it learns of another limit: RFC 9113, 4.2
	h2MaxFrames = 64       // how many frames a peer may send before it answers a ping
)

// newH2Ping makes a check that passes when the target answers an HTTP/2 ping. Over TLS it must agree to
// speak h2; otherwise HTTP/2 is spoken at once (prior knowledge).
func newH2Ping(r *Runner) (probe, error) {
	target, err := address("h2ping", r.def.H2PING)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (catalog.Status, string) {
		if err := r.h2ping(ctx, target); err != nil {
			if ctx.Err() != nil {
				err = fmt.Errorf("no answer within %s", r.timeout)
			}
			return catalog.Critical, fmt.Sprintf("HTTP2 ping %s: %v", r.def.H2PING, err)
		}
		return catalog.Passing, "HTTP2 ping " + r.def.H2PING + ": Success"
	}, nil
}

func (r *Runner) h2ping(ctx context.Context, target string) error {
	var conn net.Conn
	var err error
	if useTLS := r.def.H2PingUseTLS; useTLS == nil || *useTLS {
		tlsConn, tlsErr := r.dialTLS(ctx, target, "h2")
		if tlsErr != nil {
			return tlsErr
		}
		conn = tlsConn
		if proto := tlsConn.ConnectionState().NegotiatedProtocol; proto != "h2" {
			err = fmt.Errorf("the target does not speak HTTP/2: it chose protocol %q", proto)
		}
	} else if conn, err = r.deps.Dial(ctx, "tcp", target); err != nil {
		return err
	}
	defer conn.Close()
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })() // an end of ctx ends reads and writes
	return ping(conn)
}

// Types of HTTP/2 frames and their flag. Source: RFC 9113, 6.
const (
	h2Settings = 4
	h2Ping     = 6
	h2GoAway   = 7
	h2Ack      = 1
)

// ping opens HTTP/2 on conn as a client, sends a PING and waits for its answer. It reads frames, not
// streams, so it needs no more of the protocol than their headers. Source: RFC 9113, 3.4, 4.1 and 6.7.
func ping(conn io.ReadWriter) error {
	data := [8]byte{'c', 'u', 'r', 'i', 'a'}
	hello := append([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), h2Frame(h2Settings, 0, nil)...)
	if _, err := conn.Write(append(hello, h2Frame(h2Ping, 0, data[:])...)); err != nil {
		return err
	}
	var header [9]byte // length (3), type, flags, stream (4)
	payload := make([]byte, h2FrameSize)
	for range h2MaxFrames {
		if _, err := io.ReadFull(conn, header[:]); err != nil {
			return fmt.Errorf("read a frame: %w", err)
		}
		size := int(header[0])<<16 | int(header[1])<<8 | int(header[2])
		if size > h2FrameSize {
			return fmt.Errorf("the target does not speak HTTP/2: it sent a frame of %d bytes", size)
		}
		if _, err := io.ReadFull(conn, payload[:size]); err != nil {
			return fmt.Errorf("read a frame: %w", err)
		}
		switch kind, ack := header[3], header[4]&h2Ack != 0; {
		case kind == h2Ping && ack && string(payload[:size]) == string(data[:]):
			_, _ = conn.Write(h2Frame(h2GoAway, 0, make([]byte, 8))) // last stream 0, no error: only a courtesy
			return nil
		case kind == h2Settings && !ack:
			if _, err := conn.Write(h2Frame(h2Settings, h2Ack, nil)); err != nil {
				return err
			}
		case kind == h2GoAway && size >= 8:
			return fmt.Errorf("the target closed the connection with HTTP/2 error %d", binary.BigEndian.Uint32(payload[4:]))
		}
	}
	return fmt.Errorf("no answer to the ping among %d frames", h2MaxFrames)
}

// h2Frame is one frame of the connection itself, that is, of stream 0.
func h2Frame(kind, flags byte, payload []byte) []byte {
	return append([]byte{0, 0, byte(len(payload)), kind, flags, 0, 0, 0, 0}, payload...)
}
