//go:build linux

package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	// beat is the time between two probes.
	beat = 20 * time.Millisecond
	// outstanding bounds the probes without an answer.
	outstanding = 512
)

// probe writes a new key every beat, at one server after the other and without waiting for earlier answers, and so
// shows how long nobody could write. It also keeps what was acknowledged, to look for it later.
type probe struct {
	c      *cluster
	prefix string
	stop   context.CancelFunc
	wg     sync.WaitGroup

	mu    sync.Mutex
	acked []ack
	slots int
}

type ack struct {
	at  time.Time
	key string
}

// startProbe probes until end. avoid are servers that clients cannot be expected to ask.
func startProbe(ctx context.Context, c *cluster, prefix string, avoid ...*server) *probe {
	ctx, stop := context.WithCancel(ctx)
	p := &probe{c: c, prefix: prefix, stop: stop}
	p.wg.Go(func() {
		ticker := time.NewTicker(beat)
		defer ticker.Stop()
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			if s := c.servers[n%len(c.servers)]; !slices.Contains(avoid, s) && p.take() {
				p.wg.Go(func() { p.write(ctx, s, fmt.Sprintf("%s/%d", prefix, n)) })
			}
		}
	})
	return p
}

func (p *probe) take() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.slots >= outstanding {
		return false
	}
	p.slots++
	return true
}

func (p *probe) write(ctx context.Context, s *server, key string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), wait)
	defer cancel()
	_, err := p.c.api.ask(ctx, s, "PUT", "/v1/kv/"+key, []byte("x"))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.slots--
	if err == nil {
		p.acked = append(p.acked, ack{time.Now(), key})
	}
}

// end stops the probes and waits for their answers.
func (p *probe) end() {
	p.stop()
	p.wg.Wait()
	slices.SortFunc(p.acked, func(a, b ack) int { return a.at.Compare(b.at) })
}

// gap is the longest time without an acknowledgement that ended after from; it is called after end.
func (p *probe) gap(from time.Time) time.Duration {
	var longest time.Duration
	last := from
	for _, a := range p.acked {
		if a.at.Before(from) {
			continue
		}
		longest = max(longest, a.at.Sub(last))
		last = a.at
	}
	return longest
}

// acknowledged says whether a write sent after from was acknowledged by now.
func (p *probe) acknowledged(from time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.acked) > 0 && p.acked[len(p.acked)-1].at.After(from)
}

// lost are the acknowledged keys that are not there.
func (p *probe) lost(ctx context.Context) ([]string, error) {
	all, err := p.c.api.pairs(ctx, p.c.servers[0], p.prefix+"/", "consistent")
	if err != nil {
		return nil, err
	}
	there := make(map[string]bool, len(all))
	for _, kv := range all {
		there[kv.Key] = true
	}
	var lost []string
	for _, a := range p.acked {
		if !there[a.key] {
			lost = append(lost, a.key)
		}
	}
	return lost, nil
}

// steady says whether of the last second's probes nearly all were acknowledged.
func (p *probe) steady() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, a := range p.acked {
		if time.Since(a.at) < time.Second {
			n++
		}
	}
	return n >= int(time.Second/beat)/2
}
