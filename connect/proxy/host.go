package proxy

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/curia-mesh/curia/connect"
)

// host is an endpoint as one identity of ours reaches it under one of theirs. It outlives snapshots: connections that
// are kept for the next exchange are its.
type host struct {
	key     hostKey
	expect  []connect.ID
	current [2]atomic.Pointer[generation] // of the TLS configuration, that offers HTTP/2 and that does not

	mu      sync.Mutex
	idle    []*upstream // the last one that was used is the last
	retired bool
	hops    hopSet
	watched
}

// hostKey tells hosts apart. Connections of different callers do not mix where the endpoint is told about them.
type hostKey struct {
	socket
	certs      Certs
	identities string
	serverName string
	keepIdle   time.Duration
	maxIdle    int
	http2      bool // without being asked
}

// socket is where something listens.
type socket struct{ Network, Address string }

// identity is whom endpoints have to prove to be, as a text.
func (t *Target) identity() string {
	var ids strings.Builder
	for _, id := range t.Identities {
		ids.WriteString(id.String())
		ids.WriteByte('\n')
	}
	return ids.String()
}

func keyOf(t *Target, e Endpoint) hostKey {
	return hostKey{socket{e.Network, e.Address}, t.Certs, t.identity(), t.ServerName, or(t.KeepIdle, defaultKeepIdle), or(t.MaxIdle, defaultMaxIdle), t.HTTP2}
}

func newHost(t *Target, key hostKey) *host { return &host{key: key, expect: t.Identities} }

// generation is that of what is shown and believed, 0 without TLS.
func (h *host) generation() uint64 {
	if h.key.certs == nil {
		return 0
	}
	return h.key.certs.Generation()
}

// sessions is how many sessions can be gone on with. One is used once.
const sessions = 16

func (h *host) tls(http2 bool) *tls.Config {
	n := h.generation()
	current := &h.current[0]
	if http2 {
		current = &h.current[1]
	}
	if g := current.Load(); g != nil && g.number == n {
		return g.config
	}
	config := modern(connect.ClientTLS(h.key.certs, h.expect...))
	config.ServerName = h.key.serverName
	if http2 {
		config.NextProtos = []string{protoHTTP2, protoHTTP1}
	}
	config.ClientSessionCache = tls.NewLRUClientSessionCache(sessions)
	current.Store(&generation{n, config})
	return config
}

// dial makes a connection for a caller, with all that comes before its first byte. It may be one of HTTP/2.
func (h *host) dial(t *Target, c *client, http2 bool) (net.Conn, error) {
	if err := h.silent(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), or(t.ConnectTimeout, defaultConnectTimeout))
	defer cancel()
	conn, err := h.call(ctx)
	if err != nil {
		h.unanswered(c.listening.proxy, err)
		return nil, err
	}
	if t.SendProxy > 0 {
		by, _ := ctx.Deadline()
		conn.SetWriteDeadline(by)
		if _, err := conn.Write(appendProxy(nil, t.SendProxy, c.remote, c.local)); err != nil {
			conn.Close()
			return nil, err
		}
		conn.SetWriteDeadline(time.Time{})
	}
	if h.key.certs == nil {
		return conn, nil
	}
	secure := tls.Client(&cork{Conn: newRecords(conn)}, h.tls(http2))
	if err := c.listening.proxy.shake(ctx, secure); err != nil {
		conn.Close()
		if silence(err) {
			h.try(c.listening.proxy, time.Now(), true)
		}
		return nil, err
	}
	return secure, nil
}
