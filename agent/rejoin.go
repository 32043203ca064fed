package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/curia-mesh/curia/agent/config"
	"github.com/curia-mesh/curia/rpc/durable"
)

// seenFile tells when a server was last running.
// Source: https://developer.hashicorp.com/consul/docs/reference/agent/configuration-file/general (server_rejoin_age_max)
const seenFile = "server_metadata.json"

// seenInterval is how often a running server notes that it is.
const seenInterval = time.Hour

type seen struct {
	Unix int64 `json:"last_seen_unix"` // seconds
}

// refuseStale refuses to start a server that was away for longer than server_rejoin_age_max: the others may
// have replaced it, and what it knows is old.
func refuseStale(cfg *config.Config, now time.Time) error {
	path := filepath.Join(cfg.DataDir, seenFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("when this server ran last: %w", err)
	}
	at, err := lastSeen(path, text)
	if err != nil {
		return fmt.Errorf("when this server ran last: %s: %w; delete the file if this server may join its cluster again", path, err)
	}
	if away := now.Sub(at); away > cfg.ServerRejoinAgeMax {
		return fmt.Errorf("this server ran last %s ago, longer than server_rejoin_age_max (%s): the cluster may have gone on without it; delete %s if it may join again",
			away.Round(time.Minute), cfg.ServerRejoinAgeMax, path)
	}
	return nil
}

// lastSeen is what the note says. A file system may make an empty file of one that was not synced before the power went:
// then the file's own time has to do.
func lastSeen(path string, text []byte) (time.Time, error) {
	if len(text) == 0 {
		info, err := os.Stat(path)
		if err != nil {
			return time.Time{}, err
		}
		return info.ModTime(), nil
	}
	var last seen
	err := json.Unmarshal(text, &last)
	return time.Unix(last.Unix, 0), err
}

// noteSeen notes that the server runs.
func noteSeen(dir string, now time.Time) error {
	text, err := json.Marshal(seen{now.Unix()})
	if err != nil {
		return err
	}
	return durable.Write(filepath.Join(dir, seenFile), text, 0o600)
}

// noteRunning is noteSeen for this agent, if it is a server that keeps anything. That a note cannot be made is
// no reason to end.
func noteRunning(cfg *config.Config, log *slog.Logger) {
	if !cfg.Server || cfg.Dev || cfg.DataDir == "" {
		return
	}
	if err := noteSeen(cfg.DataDir, time.Now()); err != nil {
		log.Warn("that this server runs could not be noted: after a restart it may be taken for one that was away", "err", err)
	}
}

// keepSeen notes now and then that the server runs, until ctx ends.
func keepSeen(ctx context.Context, cfg *config.Config, log *slog.Logger) error {
	tick := time.NewTicker(seenInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			noteRunning(cfg, log)
		}
	}
}
