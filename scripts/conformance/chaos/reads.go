//go:build linux

package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/curia-mesh/curia/scripts/report"
	"github.com/miekg/dns"
)

// reads asks the servers that are meant to be up for stale reads and DNS answers, as fast as a beat each.
type reads struct {
	c    *cluster
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu                            sync.Mutex
	servers                       []*server
	count, failed, dns, dnsFailed int
	first                         error
	took                          []time.Duration // sorted by end
}

func startReads(ctx context.Context, c *cluster) *reads {
	ctx, stop := context.WithCancel(ctx)
	r := &reads{c: c, stop: stop, servers: c.servers}
	ask := func(one func(context.Context, *server)) {
		r.wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				r.mu.Lock()
				s := r.servers[n%len(r.servers)]
				r.mu.Unlock()
				one(context.WithoutCancel(ctx), s)
				pause(ctx, beat/2)
			}
		})
	}
	ask(r.read)
	ask(r.resolve)
	return r
}

// without is called before a server goes down: from then on the others are asked.
func (r *reads) without(s *server) { r.set(r.c.others(s)) }

func (r *reads) only(s *server) { r.set([]*server{s}) }

func (r *reads) set(servers []*server) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.servers = servers
}

// asked says whether a server is still one of those that are meant to be up. The caller holds mu.
func (r *reads) asked(s *server) bool { return slices.Contains(r.servers, s) }

func (r *reads) read(ctx context.Context, s *server) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	start := time.Now()
	a, err := r.c.api.do(ctx, s, "GET", "/v1/kv/ready/?recurse&stale", nil)
	took := time.Since(start)
	if err == nil && a.status != http.StatusOK {
		err = fmt.Errorf("stale read at %s: status %d: %.100s", s.host.Name, a.status, a.body)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.asked(s) {
		return
	}
	r.count++
	r.took = append(r.took, took)
	r.note(&r.failed, err)
}

// note counts a failure. The caller holds mu.
func (r *reads) note(count *int, err error) {
	if err == nil {
		return
	}
	if *count++; r.first == nil {
		r.first = err
	}
}

func (r *reads) resolve(ctx context.Context, s *server) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	err := r.c.question(ctx, s, "consul.service.consul.")
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.asked(s) {
		r.dns++
		r.note(&r.dnsFailed, err)
	}
}

// question asks for the addresses of a service; the servers themselves are one of every cluster.
func (c *cluster) question(ctx context.Context, s *server, name string) error {
	conn, err := c.client.Dial(ctx, "udp", s.dns)
	if err != nil {
		return err
	}
	defer conn.Close()
	if at, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(at); err != nil {
			return err
		}
	}
	q := new(dns.Msg).SetQuestion(name, dns.TypeA)
	packets := &dns.Conn{Conn: conn.(net.Conn)}
	if err := packets.WriteMsg(q); err != nil {
		return err
	}
	a, err := packets.ReadMsg()
	switch {
	case err != nil:
		return fmt.Errorf("DNS at %s: %w", s.host.Name, err)
	case a.Rcode != dns.RcodeSuccess || len(a.Answer) == 0:
		return fmt.Errorf("DNS at %s: %s with %d records", s.host.Name, dns.RcodeToString[a.Rcode], len(a.Answer))
	}
	return nil
}

func (r *reads) end() {
	r.stop()
	r.wg.Wait()
	slices.Sort(r.took)
}

func (r *reads) at(q float64) string {
	return report.Quantile(r.took, q).Round(10 * time.Microsecond).String()
}

// reason is the first failure, for a table.
func (r *reads) reason() string {
	if r.first == nil {
		return ""
	}
	return fmt.Sprintf(" (%v)", r.first)
}
