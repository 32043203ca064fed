package agent

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/curia-mesh/curia/agent/config"
)

// The power went before the note of the last run was on the disk: the file's time stands for it.
func TestEmptyNote(t *testing.T) {
	cfg := &config.Config{DataDir: t.TempDir(), ServerRejoinAgeMax: 6 * time.Hour}
	path := filepath.Join(cfg.DataDir, seenFile)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	if err := refuseStale(cfg, now.Add(5*time.Hour)); err != nil {
		t.Error(err)
	}
	if err := refuseStale(cfg, now.Add(7*time.Hour)); err == nil {
		t.Error("a server that was away for 7 hours starts")
	}
}
