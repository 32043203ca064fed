package agent

import (
	"fmt"
	"os"
	"time"

	"github.com/curia-mesh/curia/agent/config"
	"github.com/curia-mesh/curia/server/raftstore"
)

// openDataDir makes the data directory when it is not there and takes it for this process alone, before
// anything in it is touched. It warns when others could read what lies there.
func (a *Agent) openDataDir(cfg *config.Config, opened *rollback) error {
	if cfg.Dev || cfg.DataDir == "" {
		return nil
	}
	lock, err := raftstore.Lock(cfg.DataDir, raftstore.DefaultLockTimeout)
	if err != nil {
		return fmt.Errorf("data_dir %s: %w", cfg.DataDir, err)
	}
	a.unlock = func() { lock.Close() }
	opened.add(a.unlock)
	if cfg.Server {
		if err := refuseStale(cfg, time.Now()); err != nil {
			return err
		}
	}
	info, err := os.Stat(cfg.DataDir)
	if err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		a.log.Warn("the data directory is open to other users: chmod 700", "path", cfg.DataDir, "mode", mode.String())
	}
	for _, tls := range []config.TLSInterface{cfg.TLS.InternalRPC, cfg.TLS.HTTPS, cfg.TLS.GRPC} {
		warnKey(a, tls.KeyFile)
	}
	return nil
}

// warnKey warns when anyone can read a private key. Its group may: that is how services share certificates.
func warnKey(a *Agent, path string) {
	if path == "" {
		return
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o007 != 0 {
		a.log.Warn("a private key is open to all users: chmod 600", "path", path, "mode", info.Mode().Perm().String())
	}
}
