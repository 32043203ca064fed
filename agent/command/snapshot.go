package command

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/curia-mesh/curia/agent/client"
	"github.com/curia-mesh/curia/rpc/durable"
	"github.com/curia-mesh/curia/server/snapshot"
)

func snapshotSave(f *flag.FlagSet) action {
	appended := f.String("append-filename", "", "What to put into the file's name, before its extension: any of `version,dc,node,status`.")
	return func(ctx context.Context, c *call) error {
		path, err := c.appended(ctx, c.args[0], *appended)
		if err != nil {
			return err
		}
		index, err := c.save(ctx, path)
		if err != nil {
			return fmt.Errorf("nothing was saved: %w", err)
		}
		c.say("Saved and verified snapshot to index %d", index)
		return nil
	}
}

// appended puts facts about the agent into a file's name.
func (c *call) appended(ctx context.Context, path, what string) (string, error) {
	if what == "" {
		return path, nil
	}
	known := []string{"version", "dc", "node", "status"}
	wanted := strings.Split(what, ",")
	for _, w := range wanted {
		if !slices.Contains(known, w) {
			return "", usage("-append-filename: unknown %q: want any of %s", w, strings.Join(known, ","))
		}
	}
	self, err := c.api.Agent().Self(ctx)
	if err != nil {
		return "", err
	}
	facts := map[string]string{
		"version": self.Config.Version, "dc": self.Config.Datacenter, "node": self.Config.NodeName,
		"status": strings.ToLower(self.Stats["raft"]["state"]),
	}
	ext := filepath.Ext(path)
	for _, w := range wanted {
		fact := strings.Map(func(r rune) rune {
			if r == '/' || r == '\\' || r < ' ' {
				return '_'
			}
			return r
		}, facts[w])
		path = strings.TrimSuffix(path, ext) + "-" + fact + ext
	}
	return path, nil
}

// save writes a snapshot to a file that appears whole and verified, or not at all.
func (c *call) save(ctx context.Context, path string) (index uint64, err error) {
	archive, meta, err := c.api.Snapshot().Save(ctx, c.q)
	if err != nil {
		return 0, err
	}
	defer archive.Close()
	err = durable.Create(path, 0o600, func(f *os.File) error {
		bar := c.progress("saving", -1, true, true)
		_, err := io.Copy(io.MultiWriter(f, bar), archive)
		bar.finish()
		if err != nil {
			return err
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		received, err := snapshot.Read(f)
		if err != nil {
			return fmt.Errorf("what was received is damaged: %w", err)
		}
		index = received.Meta.Index
		return received.Close()
	})
	if meta.Index != 0 {
		index = meta.Index
	}
	return index, err
}

func snapshotRestore(f *flag.FlagSet) action {
	force := f.Bool("force", false, "Restore another cluster's snapshot over data that this one has.")
	return func(ctx context.Context, c *call) error {
		f, err := os.Open(c.args[0])
		if err != nil {
			return err
		}
		defer f.Close()
		archive, err := snapshot.Read(f)
		if err != nil {
			return fmt.Errorf("%s cannot be restored: %w", c.args[0], err)
		}
		if err := archive.Close(); err != nil {
			return err
		}
		size, err := f.Seek(0, io.SeekEnd)
		if err != nil {
			return err
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		var q client.Query
		if *force {
			q = q.With("force", "true")
		}
		bar := c.progress("restoring", size, true, true)
		err = c.api.Snapshot().Restore(ctx, io.TeeReader(f, bar), size, q)
		bar.finish()
		if err != nil {
			return err
		}
		c.say("Restored snapshot")
		return nil
	}
}
