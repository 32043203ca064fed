package proxy

import (
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"time"
)

// hello is how a connection of TLS begins, as a listener reads it that routes by the name in it. What was read is passed
// on as it came: nothing is decrypted here.
type hello struct {
	raw  []byte // the records that hold the message, and what came with them
	name string // in lower case
}

// Bounds of what a connection may begin with, in bytes.
const (
	maxHello   = 16 << 10 // of the message; one that offers keys against quantum computers has 2 KiB
	maxRecords = 64       // that it is spread over
	maxRaw     = maxHello + 4 + 5*maxRecords
	firstRead  = 4 << 10 // what most fit into
	maxName    = 255     // RFC 1035, 2.3.4
	recordMax  = 16 << 10
)

// unrecognizedName is the alert that says so, a fatal one.
// Source: RFC 8446, 6, and RFC 6066, 3
const unrecognizedName = "\x15\x03\x03\x00\x02\x02\x70"

// nameless is why a connection is not passed on by its name.
type nameless int

// The reasons.
const (
	notTLS nameless = iota
	tooLong
	tooLate
	cutShort
	noName
	unknownName
	namelessKinds
)

var namelessNames = [namelessKinds]string{"not_tls", "too_long", "too_late", "cut_short", "no_name", "unknown_name"}

// Error implements error.
func (r nameless) Error() string {
	return [namelessKinds]string{
		"it does not begin with a ClientHello of TLS", "its ClientHello is too long", "its ClientHello did not come in time",
		"it ended before its ClientHello did", "its ClientHello has no server name", "nobody is known by its server name",
	}[r]
}

// readHello reads the message that a connection begins with. The connection's deadline bounds it. Errors are of type nameless.
func readHello(conn net.Conn) (*hello, error) {
	h := &hello{raw: make([]byte, 0, firstRead)}
	for {
		if len(h.raw) == cap(h.raw) {
			if cap(h.raw) >= maxRaw {
				return nil, tooLong
			}
			h.raw = append(make([]byte, 0, min(2*cap(h.raw), maxRaw)), h.raw...)
		}
		n, err := conn.Read(h.raw[len(h.raw):cap(h.raw)])
		h.raw = h.raw[:len(h.raw)+n]
		if n > 0 {
			text, why := message(h.raw)
			switch {
			case why == nil:
				h.name, why = serverName(text)
				return h, why
			case !errors.Is(why, errMore):
				return nil, why
			}
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, tooLate
		case err != nil:
			return nil, cutShort
		}
	}
}

// errMore says that what came is the beginning of a message.
var errMore = io.ErrUnexpectedEOF

// message is the body of the ClientHello at the beginning of some records, which it may be spread over.
// Source: RFC 8446, 4 and 5.1
func message(raw []byte) ([]byte, error) {
	var joined []byte
	for range maxRecords {
		switch {
		case len(raw) > 0 && raw[0] != 22 || len(raw) > 1 && raw[1] != 3:
			return nil, notTLS
		case len(raw) < 5:
			return nil, errMore
		}
		size := int(binary.BigEndian.Uint16(raw[3:]))
		if size == 0 || size > recordMax {
			return nil, notTLS
		}
		rest := raw[5:]
		part := rest[:min(size, len(rest))]
		if joined == nil {
			joined = slices.Clip(part) // so that what is added goes elsewhere
		} else {
			joined = append(joined, part...)
		}
		if body, err := whole(joined); !errors.Is(err, errMore) || len(rest) < size {
			return body, err
		}
		raw = rest[size:]
	}
	return nil, tooLong
}

// whole is the body of the ClientHello that a stream of messages begins with.
func whole(stream []byte) ([]byte, error) {
	switch {
	case len(stream) > 0 && stream[0] != 1:
		return nil, notTLS
	case len(stream) < 4:
		return nil, errMore
	}
	size := int(stream[1])<<16 | int(stream[2])<<8 | int(stream[3])
	switch {
	case size > maxHello:
		return nil, tooLong
	case len(stream)-4 < size:
		return nil, errMore
	}
	return stream[4 : 4+size], nil
}

// fields reads what TLS writes. After something that is not there it is not ok.
type fields struct {
	rest []byte
	ok   bool
}

// skip leaves out some bytes.
func (f *fields) skip(n int) { f.take(n) }

func (f *fields) take(n int) []byte {
	if !f.ok || len(f.rest) < n {
		f.ok, f.rest = false, nil
		return nil
	}
	part := f.rest[:n]
	f.rest = f.rest[n:]
	return part
}

func (f *fields) number(bytes int) (n int) {
	for _, b := range f.take(bytes) {
		n = n<<8 | int(b)
	}
	return n
}

// list is what follows its own length, which has so many bytes.
func (f *fields) list(bytes int) fields {
	part := f.take(f.number(bytes))
	return fields{part, f.ok}
}

// serverName is the name that a ClientHello asks for.
// Source: RFC 8446, 4.1.2, and RFC 6066, 3
func serverName(body []byte) (string, error) {
	f := fields{body, true}
	f.skip(2 + 32) // version and random
	f.list(1)      // session
	f.list(2)      // cipher suites
	f.list(1)      // compression
	if f.ok && len(f.rest) == 0 {
		return "", noName
	}
	extensions := f.list(2)
	if len(f.rest) > 0 {
		return "", notTLS
	}
	name, found := "", false
	for extensions.ok && len(extensions.rest) > 0 {
		kind, data := extensions.number(2), extensions.list(2)
		if !data.ok || kind != 0 {
			continue
		}
		if found {
			return "", notTLS
		}
		found = true
		names := data.list(2)
		if kind := names.number(1); kind != 0 {
			names.ok = false
		}
		host := names.list(2)
		if !host.ok || len(names.rest)+len(data.rest) > 0 || len(host.rest) > maxName {
			return "", notTLS
		}
		name = strings.ToLower(string(host.rest))
	}
	switch {
	case !extensions.ok:
		return "", notTLS
	case name == "":
		return "", noName
	}
	return name, nil
}

// greetByName reads how a connection begins that is passed on by its name. One that cannot be is told so, as far as it
// speaks TLS.
func (c *client) greetByName() error {
	h, err := readHello(c.raw)
	if err == nil {
		c.hello = h
		return nil
	}
	return c.refuse(err)
}

// refuse counts a connection that is not passed on by its name, and says why it is not.
func (c *client) refuse(err error) error {
	why := nameless(0)
	if !errors.As(err, &why) {
		return err
	}
	c.listening.unnamed[why].Add(1)
	if why == noName || why == unknownName {
		c.raw.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = c.raw.Write([]byte(unrecognizedName)) // whoever does not hear it sees the end
	}
	return why
}

// unrouted says what becomes of a connection whose name nobody is known by, once in a while: anybody can make many.
func (l *listening) unrouted(c *client, conf *Listener, why nameless) {
	_ = c.refuse(why)
	if c.hello == nil {
		return
	}
	if others, say := l.unreached.again(l.proxy.clock()); say {
		l.proxy.Log.Warn("no connection by its name", "listener", conf.Name, "name", c.hello.name, "from", c.remote.String(), "err", why, "others", others)
	}
}

// begin says to an endpoint what a caller has said already. It reports whether the rest can follow.
func (c *client) begin(up net.Conn, r *relay) bool {
	if c.hello == nil {
		return true
	}
	up.SetWriteDeadline(time.Now().Add(defaultConnectTimeout))
	n, err := up.Write(c.hello.raw)
	up.SetWriteDeadline(time.Time{})
	c.hello.raw = nil
	r.there.Add(int64(n))
	if err != nil {
		abort(c.raw)
		abort(up)
	}
	return err == nil
}

// ByName sends connections to targets by the server name in their ClientHello. A name that begins with a star and a dot is
// for all below it, as far as there is none that fits better.
func ByName(targets map[string]*Target) *Routes {
	r := &Routes{names: make(map[string]*route, len(targets))}
	for _, name := range slices.Sorted(maps.Keys(targets)) {
		t := targets[name]
		r.names[strings.ToLower(name)] = &route{legs: []leg{{below: 1, targets: []*Target{t}}}, total: 1}
		if !slices.Contains(r.targets, t) {
			r.targets = append(r.targets, t)
		}
	}
	return r
}

// of is the route of a connection.
func (r *Routes) of(c *client) (*route, error) {
	if r.names == nil {
		return r.connection(), nil
	}
	if c.hello == nil { // it came when the listener took something else
		return nil, noName
	}
	name := c.hello.name
	if found := r.names[name]; found != nil {
		return found, nil
	}
	for dot := strings.IndexByte(name, '.'); dot >= 0; dot = strings.IndexByte(name, '.') {
		if name = name[dot+1:]; r.names["*."+name] != nil {
			return r.names["*."+name], nil
		}
	}
	return nil, unknownName
}
