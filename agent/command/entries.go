package command

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"strings"

	"github.com/curia-mesh/curia/agent/decode"
	"github.com/curia-mesh/curia/catalog"
)

func configRead(f *flag.FlagSet) action {
	kind := f.String("kind", "", "The `kind` of the entry; it must be given.")
	name := f.String("name", "", "The `name` of the entry; it must be given.")
	return func(ctx context.Context, c *call) error {
		if *kind == "" || *name == "" {
			return usage("set -kind and -name")
		}
		raw, err := c.api.Entries().Read(ctx, *kind, *name, c.q)
		if err != nil {
			return err
		}
		var entry map[string]json.RawMessage
		if err := json.Unmarshal(raw, &entry); err != nil {
			return fmt.Errorf("read the entry: %w", err)
		}
		delete(entry, "Hash") // the servers' own
		return c.json(entry, "    ")
	}
}

func configList(f *flag.FlagSet) action {
	kind := f.String("kind", "", "The `kind` of the entries; it must be given.")
	filter := f.String("filter", "", "Show only entries that this `expression` selects.")
	return func(ctx context.Context, c *call) error {
		if *kind == "" {
			return usage("set -kind")
		}
		q := c.q
		q.Filter = *filter
		entries, err := c.api.Entries().List(ctx, *kind, q)
		if err != nil {
			return err
		}
		for _, raw := range entries {
			_, name, err := identity(raw)
			if err != nil {
				return err
			}
			c.say("%s", clean(name))
		}
		return nil
	}
}

func configWrite(f *flag.FlagSet) action {
	cas := f.Bool("cas", false, "Write only if the entry is still at -modify-index, or if that is 0 does not exist.")
	index := f.Uint64("modify-index", 0, "The `index` for -cas.")
	return func(ctx context.Context, c *call) error {
		if !*cas && *index != 0 {
			return usage("-modify-index needs -cas")
		}
		raw, err := c.entry(c.args[0])
		if err != nil {
			return err
		}
		kind, name, err := identity(raw)
		if err != nil {
			return err
		}
		if kind == "" {
			return fmt.Errorf("%s: the entry has no Kind", c.args[0])
		}
		var at *uint64
		if *cas {
			at = index
		}
		done, err := c.api.Entries().Write(ctx, raw, at, c.q)
		if err != nil {
			return fmt.Errorf("write config entry %s/%s: %w", kind, name, err)
		}
		if !done {
			c.note("Config entry not updated: %s/%s: it is not at index %d", clean(kind), clean(name), *index)
			return nil // scripts of this family expect success
		}
		c.say("Config entry written: %s/%s", clean(kind), clean(name))
		if e, err := decode.Entry(raw); err == nil { // the servers may know more than this program
			if warning := catalog.WarnIdle(e); warning != "" {
				c.note("Warning: %s", clean(warning))
			}
		}
		return nil
	}
}

func configDelete(f *flag.FlagSet) action {
	kind := f.String("kind", "", "The `kind` of the entry.")
	name := f.String("name", "", "The `name` of the entry.")
	filename := f.String("filename", "", "A `file` with an entry of that kind and name, in place of -kind and -name.")
	cas := f.Bool("cas", false, "Delete only if the entry is still at -modify-index.")
	index := f.Uint64("modify-index", 0, "The `index` for -cas.")
	return func(ctx context.Context, c *call) error {
		switch {
		case *filename != "" && (*kind != "" || *name != ""):
			return usage("-filename excludes -kind and -name")
		case *filename != "":
			raw, err := c.entry(*filename)
			if err != nil {
				return err
			}
			if *kind, *name, err = identity(raw); err != nil {
				return err
			}
		}
		switch {
		case *kind == "" || *name == "":
			return usage("set -kind and -name, or -filename")
		case *cas && *index == 0:
			return usage("-cas needs -modify-index")
		case !*cas && *index != 0:
			return usage("-modify-index needs -cas")
		}
		var at *uint64
		if *cas {
			at = index
		}
		done, err := c.api.Entries().Delete(ctx, *kind, *name, at, c.q)
		if err != nil {
			return fmt.Errorf("delete config entry %s/%s: %w", *kind, *name, err)
		}
		if !done {
			return fmt.Errorf("config entry not deleted: %s/%s: it is not at index %d", *kind, *name, *index)
		}
		c.say("Config entry deleted: %s/%s", clean(*kind), clean(*name))
		return nil
	}
}

// entry reads a configuration entry, in HCL or JSON, from a file or with - from standard input.
func (c *call) entry(from string) (json.RawMessage, error) {
	var b []byte
	var err error
	if from == "-" {
		from = "standard input"
		b, err = readAll(c.In, from, maxDefinition)
	} else {
		b, err = readFile(from, maxDefinition)
	}
	if err != nil {
		return nil, err
	}
	if bytes.HasPrefix(bytes.TrimSpace(b), []byte("{")) {
		var entry json.RawMessage
		err = decode.JSON(b, &entry)
		return entry, named(from, err)
	}
	b, err = decode.HCLToJSON(b)
	return b, named(from, err)
}

func named(file string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", file, err)
}

// identity returns an entry's kind and name, however their keys are written.
func identity(raw json.RawMessage) (kind, name string, err error) {
	var entry map[string]json.RawMessage
	if err := json.Unmarshal(raw, &entry); err != nil {
		return "", "", fmt.Errorf("a config entry is an object: %w", err)
	}
	for key, value := range entry {
		to := &kind
		switch strings.ToLower(key) {
		case "kind":
		case "name":
			to = &name
		default:
			continue
		}
		if err := json.Unmarshal(value, to); err != nil {
			return "", "", fmt.Errorf("the entry's %s is no text", key)
		}
	}
	return kind, name, nil
}
