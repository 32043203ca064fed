//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// profileRequest saves a CPU profile of Curia under one row, in a run of its own, where profiles are asked for.
func profileRequest(ctx context.Context, o options, a *agent, q request) error {
	if o.profiles == "" {
		return nil
	}
	e, err := dial("tcp", a.http, q.clients, func(i int) wire { return q.agent(i, q.clients) })
	if err != nil {
		return err
	}
	seconds := max(int(o.length.Seconds()), 2)
	return profiled(ctx, a, o.profiles, q.key(), seconds, func() error {
		_, err := measure(ctx, a.process, e, 0, time.Duration(seconds)*time.Second)
		return err
	})
}

// profiled calls f while a CPU profile of so many seconds is taken, and returns when both have ended.
func profiled(ctx context.Context, a *agent, dir, name string, seconds int, f func() error) error {
	done := make(chan error, 1)
	go func() { // ends with the profile
		done <- saveProfile(ctx, a, fmt.Sprintf("/debug/pprof/profile?seconds=%d", seconds), dir, name)
	}()
	err := f()
	if perr := <-done; err == nil {
		err = perr
	}
	return err
}

// saveProfile writes what path answers to a file that is named after a row.
func saveProfile(ctx context.Context, a *agent, path, dir, name string) error {
	body, err := a.get(ctx, path)
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	file := strings.NewReplacer(" ", "-", ",", "", "×", "x").Replace(name) + ".pprof"
	return os.WriteFile(filepath.Join(dir, file), []byte(body), 0o600)
}
