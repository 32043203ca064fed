package command

import (
	"context"
	"flag"
	"log/slog"
	"time"

	"github.com/curia-mesh/curia/agent/backup"
	"github.com/curia-mesh/curia/agent/logging"
)

func snapshotAgent(f *flag.FlagSet) action {
	var cfg backup.Config
	f.DurationVar(&cfg.Interval, "interval", time.Hour, "The `time` between two snapshots; 0 saves one and ends.")
	f.IntVar(&cfg.Retain, "retain", 30, "How `many` snapshots are kept; 0 keeps all.")
	f.StringVar(&cfg.LockKey, "lock-key", "consul-snapshot/lock", "The `place` in the key/value store of the lock that one of several snapshot agents holds.")
	f.IntVar(&cfg.MaxFailures, "max-failures", 3, "After how `many` failures in a row another snapshot agent may try; 0 never gives up.")
	f.StringVar(&cfg.Service, "service", "consul-snapshot", "The `name` of the service that the snapshot agent registers; empty registers none.")
	f.DurationVar(&cfg.DeregisterAfter, "deregister-after", 72*time.Hour, "The `time` of silence after which that service is removed.")
	f.StringVar(&cfg.Dir, "local-path", ".", "The `directory` of the snapshots.")
	f.StringVar(&cfg.Prefix, "prefix", "consul", "The `beginning` of the files' names.")
	level := f.String("log-level", "info", "The least `level` that is logged.")
	return func(ctx context.Context, c *call) error {
		switch {
		case cfg.Interval < 0 || cfg.Interval > 0 && cfg.Interval < time.Second:
			return usage("-interval %s: want 0 or at least 1s", cfg.Interval)
		case cfg.Retain < 0 || cfg.MaxFailures < 0 || cfg.DeregisterAfter < 0:
			return usage("-retain, -max-failures and -deregister-after must not be negative")
		}
		cfg.Stale = c.q.Stale
		logs, err := logging.New(logging.Config{Name: "snapshot", Level: *level}, c.Out)
		if err != nil {
			return usage("-log-level: %v", err)
		}
		defer logs.Close()
		r, err := backup.New(cfg, c.api, logs.Logger())
		if err != nil {
			return err
		}
		logs.Logger().LogAttrs(ctx, slog.LevelInfo, "snapshot agent running", slog.String("dir", cfg.Dir), slog.Int("retain", cfg.Retain))
		return r.Run(ctx)
	}
}

func snapshotVerify(*flag.FlagSet) action {
	return func(_ context.Context, c *call) error {
		for _, path := range c.args {
			saved, err := backup.Verify(path)
			if err != nil {
				return err
			}
			c.say("%s: index %d, %d rows, can be restored", path, saved.Index, saved.Rows)
		}
		return nil
	}
}
