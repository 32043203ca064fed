package command

import (
	"context"
	"encoding/base64"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/curia-mesh/curia/agent/client"
	"github.com/curia-mesh/curia/catalog"
)

// maxValue is how many bytes a value is read from a file or standard input; servers take 512 KiB.
const maxValue = 16 << 20

// argument returns what an argument means: @file is that file's content, - is standard input, all else is
// itself.
func (c *call) argument(arg string, limit int64) ([]byte, error) {
	switch {
	case arg == "-":
		return readAll(c.In, "standard input", limit)
	case strings.HasPrefix(arg, "@"):
		return readFile(arg[1:], limit)
	}
	return []byte(arg), nil
}

func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f, path, limit)
}

func readAll(r io.Reader, name string, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s is larger than %d MiB", name, limit>>20)
	}
	return b, nil
}

// key is the argument at i as a key, "" when there is none. Keys have no leading slash.
func (c *call) key(i int) string {
	if i >= len(c.args) {
		return ""
	}
	return strings.TrimPrefix(c.args[i], "/")
}

func kvGet(f *flag.FlagSet) action {
	encoded := f.Bool("base64", false, "Write values in base64.")
	detailed := f.Bool("detailed", false, "Show flags, indexes and session too.")
	keys := f.Bool("keys", false, "List the names of the keys that begin with the argument.")
	recurse := f.Bool("recurse", false, "Show all keys that begin with the argument.")
	separator := f.String("separator", "/", "With -keys, list names up to this `text` behind the argument, each once.")
	return func(ctx context.Context, c *call) error {
		key := c.key(0)
		switch {
		case key == "" && !*recurse && !*keys:
			return usage("which key? give its name, or -recurse or -keys")
		case *keys:
			names, _, err := c.api.KV().Keys(ctx, key, *separator, c.q)
			for _, name := range names {
				c.say("%s", clean(name))
			}
			return err
		}
		show := func(p *catalog.KVPair) string {
			if *encoded {
				return base64.StdEncoding.EncodeToString(p.Value)
			}
			return string(p.Value)
		}
		if *recurse {
			first := true
			return c.api.KV().Each(ctx, key, c.q, func(p *catalog.KVPair) error {
				if !*detailed {
					_, err := fmt.Fprintf(c.Out, "%s:%s\n", p.Key, show(p))
					return err
				}
				if !first {
					fmt.Fprintln(c.Out)
				}
				first = false
				return detail(c.Out, p, show(p))
			})
		}
		pair, _, err := c.api.KV().Get(ctx, key, c.q)
		switch {
		case err != nil:
			return err
		case pair == nil:
			return fmt.Errorf("no key exists at: %s", key)
		case *detailed:
			return detail(c.Out, pair, show(pair))
		}
		c.say("%s", show(pair))
		return nil
	}
}

func detail(w io.Writer, p *catalog.KVPair, value string) error {
	session := p.Session
	if session == "" {
		session = "-"
	}
	t := tabwriter.NewWriter(w, 0, 2, 6, ' ', 0)
	fmt.Fprintf(t, "CreateIndex\t%d\nFlags\t%d\nKey\t%s\nLockIndex\t%d\nModifyIndex\t%d\nSession\t%s\n",
		p.CreateIndex, p.Flags, p.Key, p.LockIndex, p.ModifyIndex, session)
	if err := t.Flush(); err != nil { // values may hold tabs, so this line is not the tabwriter's
		return err
	}
	_, err := fmt.Fprintf(w, "%-17s%s\n", "Value", value)
	return err
}

func kvPut(f *flag.FlagSet) action {
	encoded := f.Bool("base64", false, "The value is in base64: decode it first.")
	cas := f.Bool("cas", false, "Write only if the key is still at -modify-index, or if that is 0 does not exist.")
	index := f.Uint64("modify-index", 0, "The `index` for -cas.")
	flags := f.Uint64("flags", 0, "A `number` that is kept with the key.")
	acquire := f.Bool("acquire", false, "Lock the key with -session.")
	release := f.Bool("release", false, "Unlock the key that -session locked.")
	session := f.String("session", "", "The `id` of a session for -acquire and -release.")
	return func(ctx context.Context, c *call) error {
		if c.key(0) == "" {
			return usage("which key? give its name")
		}
		if (*acquire || *release) && *session == "" {
			return usage("-acquire and -release need -session")
		}
		w := client.KVWrite{}
		said := 0
		for _, set := range []struct {
			on bool
			do func()
		}{{*cas, func() { w.CAS = index }}, {*acquire, func() { w.Acquire = *session }}, {*release, func() { w.Release = *session }}} {
			if set.on {
				said++
				set.do()
			}
		}
		if said > 1 {
			return usage("-cas, -acquire and -release exclude each other")
		}
		pair := &catalog.KVPair{Key: c.key(0), Flags: *flags}
		if len(c.args) == 2 {
			value, err := c.argument(c.args[1], maxValue)
			if err != nil {
				return err
			}
			pair.Value = value
		}
		if *encoded {
			value, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(pair.Value)))
			if err != nil {
				return fmt.Errorf("the value is no base64: %w", err)
			}
			pair.Value = value
		}
		done, err := c.api.KV().Put(ctx, pair, w, c.q)
		switch {
		case err != nil:
			return err
		case done && *acquire:
			c.say("Success! Lock acquired on: %s", pair.Key)
		case done && *release:
			c.say("Success! Lock released on: %s", pair.Key)
		case done:
			c.say("Success! Data written to: %s", pair.Key)
		case *acquire:
			return fmt.Errorf("did not acquire the lock on %s: another session has it, or its lock delay lasts", pair.Key)
		case *release:
			return fmt.Errorf("did not release the lock on %s: session %s does not have it", pair.Key, *session)
		default:
			return fmt.Errorf("did not write to %s: CAS failed, it is not at index %d (read it again with: %s kv get -detailed)", pair.Key, *index, program)
		}
		return nil
	}
}

func kvDelete(f *flag.FlagSet) action {
	recurse := f.Bool("recurse", false, "Delete all keys that begin with the argument.")
	cas := f.Bool("cas", false, "Delete only if the key is still at -modify-index.")
	index := f.Uint64("modify-index", 0, "The `index` for -cas.")
	return func(ctx context.Context, c *call) error {
		key := c.key(0)
		switch {
		case key == "" && !*recurse:
			return usage("which key? give its name; -recurse with an empty name deletes all keys")
		case *recurse && (*cas || *index != 0):
			return usage("-recurse excludes -cas and -modify-index")
		case *cas && *index == 0:
			return usage("-cas needs -modify-index")
		case !*cas && *index != 0:
			return usage("-modify-index needs -cas")
		case *recurse:
			if err := c.api.KV().DeleteTree(ctx, key, c.q); err != nil {
				return err
			}
			c.say("Success! Deleted keys with prefix: %s", key)
			return nil
		}
		w := client.KVWrite{}
		if *cas {
			w.CAS = index
		}
		done, err := c.api.KV().Delete(ctx, key, w, c.q)
		if err != nil {
			return err
		}
		if !done {
			return fmt.Errorf("did not delete key %s: CAS failed, it is not at index %d", key, *index)
		}
		c.say("Success! Deleted key: %s", key)
		return nil
	}
}
