//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// rebootTime is how long a machine is gone that restarts: long enough for gossip to call it failed and for autopilot
	// to take it out of the voters.
	rebootTime = 10 * time.Second
	// naiveGate is how long the next reboot waits after there is a leader.
	naiveGate = 5 * time.Second
)

// rollingReboot is R10: the machines are rebooted one after the other by somebody who only looks whether there is a
// leader. The leader is the first, so each sequence has at least one election. Whoever was taken out of the voters for
// being gone must not leave so few that the next reboot ends the quorum.
func rollingReboot(ctx context.Context, r *run) error {
	held := 0
	for n := range r.rounds {
		leader, err := r.leader(ctx)
		if err != nil {
			return err
		}
		p := startProbe(ctx, r.cluster, fmt.Sprintf("probe/%s/%d", r.name, n))
		for _, s := range append([]*server{leader}, r.others(leader)...) {
			if err = r.reboot(ctx, s); err != nil {
				break
			}
		}
		p.end()
		if err = errors.Join(err, r.again(ctx, p)); err == nil {
			err = r.allVote(ctx)
		}
		if err != nil {
			r.check(false, "R10 sequences of reboots that end with a whole cluster", fmt.Sprintf("%d of %d", r.rounds, r.rounds), "%d, then %v", held, err)
			return err
		}
		held++
	}
	r.check(held == r.rounds, "R10 sequences of reboots that end with a whole cluster", fmt.Sprintf("%d of %d", r.rounds, r.rounds), "%d of %d", held, r.rounds)
	return nil
}

// reboot has a server gone for a while without notice, and returns when a leader was there for naiveGate.
func (r *run) reboot(ctx context.Context, s *server) error {
	if err := s.host.Kill(); err != nil {
		return err
	}
	pause(ctx, rebootTime)
	if err := s.host.Start(); err != nil {
		return err
	}
	for end := time.Now().Add(longest); ; pause(ctx, beat) {
		if _, err := r.leader(ctx); err == nil {
			pause(ctx, naiveGate)
			return ctx.Err()
		} else if time.Now().After(end) || ctx.Err() != nil {
			return fmt.Errorf("%s after a reboot of %s: %w", longest, s.host.Name, err)
		}
	}
}

// allVote waits until every server is a voter again.
func (r *run) allVote(ctx context.Context) error {
	var configuration struct {
		Servers []struct {
			Node  string
			Voter bool
		}
	}
	for end := time.Now().Add(longest); ; pause(ctx, beat) {
		err := r.api.json(ctx, r.servers[0], "GET", "/v1/operator/raft/configuration", nil, &configuration)
		voters := 0
		for _, s := range configuration.Servers {
			if s.Voter {
				voters++
			}
		}
		if err == nil && voters == len(r.servers) {
			return nil
		}
		if time.Now().After(end) || ctx.Err() != nil {
			return errors.Join(err, fmt.Errorf("%d of %d servers are voters %s after the last reboot", voters, len(r.servers), longest))
		}
	}
}
