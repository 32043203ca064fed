package telemetry

import (
	"context"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

const (
	pushQueue    = 4096                   // updates waiting to be sent; more are dropped
	packetSize   = 1400                   // bytes, to fit an Ethernet frame
	flushAfter   = 100 * time.Millisecond // how long an update may wait for company
	redialAfter  = 5 * time.Second
	pushDeadline = 5 * time.Second // for a dial, and for a write
	pushLast     = time.Second     // for a write once the agent ends
)

// pusher sends every update as a line to one collector. All three take statsd's lines; they differ in transport and
// in what becomes of labels. It never holds up the emitter: updates that find the queue full are dropped and counted.
type pusher struct {
	setting string // the setting that asked for it
	network string
	addr    string
	name    func(*series) pushName
	logger  *slog.Logger

	queue   chan update
	dropped atomic.Uint64
	told    time.Time // when trouble was last logged
}

// pushName is a series in a collector's words: what stands before and after the value on its line.
type pushName struct{ head, tail string }

type update struct {
	name  *pushName
	value float64
}

// newPushers makes one pusher for each address in the configuration.
func newPushers(cfg *Config, logger *slog.Logger) ([]*pusher, error) {
	var all []*pusher
	add := func(setting, network, addr string, name func(*series) pushName) error {
		if addr == "" {
			return nil
		}
		if path, ok := strings.CutPrefix(addr, "unix://"); ok && setting == "dogstatsd_addr" {
			network, addr = "unixgram", path
		} else if err := checkAddr(setting, addr); err != nil {
			return err
		}
		all = append(all, &pusher{
			setting: setting, network: network, addr: addr, name: name, logger: logger, queue: make(chan update, pushQueue),
		})
		return nil
	}
	if err := add("statsd_address", "udp", cfg.StatsdAddr, statsdName); err != nil {
		return nil, err
	}
	if err := add("statsite_address", "tcp", cfg.StatsiteAddr, statsdName); err != nil {
		return nil, err
	}
	tagged := func(s *series) pushName { return dogstatsdName(s, cfg.DogstatsdTags) }
	if err := add("dogstatsd_addr", "udp", cfg.DogstatsdAddr, tagged); err != nil {
		return nil, err
	}
	return all, nil
}

// statsdName puts the labels' values behind the name, as go-metrics does; statsd knows no labels.
func statsdName(s *series) pushName {
	name := pushClean(s.hosted)
	for _, l := range s.labels {
		name += "." + pushClean(l.Value)
	}
	return pushName{name + ":", "|" + statsdType(s.kind) + "\n"}
}

// dogstatsdName leaves the host to the Datadog agent and sends labels as tags.
// Source: https://docs.datadoghq.com/developers/dogstatsd/datagram_shell
func dogstatsdName(s *series, global []string) pushName {
	tags := append([]string(nil), global...)
	for _, l := range s.labels {
		tag := pushClean(l.Name)
		if l.Value != "" {
			tag += ":" + pushClean(l.Value)
		}
		tags = append(tags, tag)
	}
	tail := "|" + statsdType(s.kind)
	if len(tags) > 0 {
		tail += "|#" + strings.Join(tags, ",")
	}
	return pushName{pushClean(s.name) + ":", tail + "\n"}
}

func statsdType(k Kind) string {
	switch k {
	case KindGauge:
		return "g"
	case KindCounter:
		return "c"
	}
	return "ms"
}

// pushClean replaces what has a meaning in a line, so that a label's value cannot forge another metric.
func pushClean(s string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r == 0x7f || strings.ContainsRune(":|,#@", r) {
			return '_'
		}
		return r
	}, s)
}

func (p *pusher) offer(u update) {
	if !finite(u.value) {
		return
	}
	select {
	case p.queue <- u:
	default:
		p.dropped.Add(1)
	}
}

// run sends until ctx ends, then sends what is queued. A collector that cannot be reached is tried again every 5 s;
// what is emitted meanwhile is lost.
func (p *pusher) run(ctx context.Context) {
	for {
		err := p.session(ctx)
		if ctx.Err() != nil {
			return
		}
		if now := time.Now(); now.Sub(p.told) >= time.Minute {
			p.told = now
			p.logger.Warn("metrics are not delivered", "setting", p.setting, "addr", p.addr, "err", err)
		}
		p.discard(ctx)
	}
}

// discard empties the queue until it is time to dial again.
func (p *pusher) discard(ctx context.Context) {
	again := time.NewTimer(redialAfter)
	defer again.Stop()
	for {
		select {
		case <-p.queue:
			p.dropped.Add(1)
		case <-again.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// session sends over one connection until that fails or ctx ends.
func (p *pusher) session(ctx context.Context) error {
	dialer := net.Dialer{Timeout: pushDeadline}
	conn, err := dialer.DialContext(ctx, p.network, p.addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	pk := packer{conn: conn, deadline: pushDeadline}
	var due <-chan time.Time // nil while nothing waits
	for {
		select {
		case u := <-p.queue:
			err = pk.add(u)
			if due == nil {
				due = time.After(flushAfter)
			}
		case <-due:
			due = nil
			err = pk.flush()
		case <-ctx.Done():
			pk.deadline = pushLast
			return p.rest(&pk)
		}
		if err != nil {
			return err
		}
	}
}

// rest sends what is queued, and ends.
func (p *pusher) rest(pk *packer) error {
	for {
		select {
		case u := <-p.queue:
			if err := pk.add(u); err != nil {
				return err
			}
		default:
			return pk.flush()
		}
	}
}

// packer joins lines into packets.
type packer struct {
	conn     net.Conn
	deadline time.Duration // of a write
	buf      []byte
}

// add appends a line, after sending what is there if both do not fit into a packet.
func (k *packer) add(u update) error {
	before := len(k.buf)
	k.buf = append(k.buf, u.name.head...)
	k.buf = strconv.AppendFloat(k.buf, u.value, 'f', -1, 64)
	k.buf = append(k.buf, u.name.tail...)
	if len(k.buf) <= packetSize || before == 0 {
		return nil
	}
	err := k.send(k.buf[:before])
	k.buf = append(k.buf[:0], k.buf[before:]...)
	return err
}

func (k *packer) flush() error {
	if len(k.buf) == 0 {
		return nil
	}
	err := k.send(k.buf)
	k.buf = k.buf[:0]
	return err
}

func (k *packer) send(packet []byte) error {
	_ = k.conn.SetWriteDeadline(time.Now().Add(k.deadline))
	_, err := k.conn.Write(packet)
	return err
}
