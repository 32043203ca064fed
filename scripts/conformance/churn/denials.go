//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/curia-mesh/curia/scripts/report"
)

// Goals of P3: how long after an intention was written what it denies may still be begun, and what was open before may last.
const (
	deniedBy = 2 * time.Second
	cutBy    = 5 * time.Second
)

// inARow is how many requests have to be denied until the intention is taken to hold.
const inARow = 20

// denials is how long denied requests went on, and denied connections, by trial.
type denials struct{ requests, conns []time.Duration }

// denials denies web both applications and allows them again, so often. Nobody else uses them meanwhile.
func (m *mesh) denials(ctx context.Context, trials int) (d denials, err error) {
	for range trials {
		if err := m.answers(ctx); err != nil {
			return d, err
		}
		if err := m.cut(ctx, &d); err != nil {
			return d, err
		}
		if err := m.refuse(ctx, &d); err != nil {
			return d, err
		}
		for _, to := range []string{"api", "echo"} {
			if err := m.put(ctx, m.server, "/v1/config", allow(to, false)); err != nil {
				return d, err
			}
		}
	}
	return d, ctx.Err()
}

func deny(to string) map[string]any {
	return map[string]any{"Kind": "service-intentions", "Name": to, "Sources": []any{map[string]any{"Name": "web", "Action": "deny"}}}
}

// cut measures until an open connection is cut after it was denied.
func (m *mesh) cut(ctx context.Context, d *denials) error {
	c, err := net.DialTimeout("tcp", m.tcp, patience)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := say(c); err != nil {
		return fmt.Errorf("a connection that is allowed: %w", err)
	}
	if err := m.put(ctx, m.server, "/v1/config", deny("echo")); err != nil {
		return err
	}
	at := time.Now()
	c.SetDeadline(at.Add(patience))
	var b [1]byte
	if _, err := io.ReadFull(c, b[:]); err == nil {
		return fmt.Errorf("the application says %q unasked", b)
	}
	d.conns = append(d.conns, time.Since(at)) // no less than patience where it was not cut
	return nil
}

// refuse measures until no request is let through after they were denied.
func (m *mesh) refuse(ctx context.Context, d *denials) error {
	if err := m.put(ctx, m.server, "/v1/config", deny("api")); err != nil {
		return err
	}
	at, last, denied := time.Now(), time.Duration(0), 0
	for denied < inARow && ctx.Err() == nil && time.Since(at) < settled {
		began := time.Since(at)
		w, err := m.http.Get("http://" + m.api + "/")
		if err != nil {
			return err
		}
		w.Body.Close()
		switch w.StatusCode {
		case http.StatusForbidden:
			denied++
		case http.StatusOK:
			last, denied = began, 0
		case http.StatusBadGateway: // it was under way, and was cut
		default:
			return fmt.Errorf("a request that is denied: %s", w.Status)
		}
		pause(ctx, 5*time.Millisecond)
	}
	if denied < inARow {
		last = settled
	}
	d.requests = append(d.requests, last)
	return ctx.Err()
}

// worst is the quantile that goals are about: of fewer than 100 trials the 99th percentile is the worst.
func worst(all []time.Duration) time.Duration {
	return report.Quantile(slices.Sorted(slices.Values(all)), 0.99)
}
