package command

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/curia-mesh/curia/agent/client"
	"github.com/curia-mesh/curia/catalog"
)

// maxImport is how many bytes are imported from what cannot be read twice.
const maxImport = 256 << 20

// exported is a key as exports hold it.
type exported struct {
	Key   string `json:"key"`
	Flags uint64 `json:"flags"`
	Value []byte `json:"value"` // base64 in JSON
}

func kvExport(*flag.FlagSet) action {
	return func(ctx context.Context, c *call) error {
		out := bufio.NewWriterSize(c.Out, 64<<10)
		bar := c.progress("exported", -1, false, false)
		separator := "[\n\t"
		err := c.api.KV().Each(ctx, c.key(0), c.q, func(p *catalog.KVPair) error {
			entry := exported{p.Key, p.Flags, p.Value}
			if entry.Value == nil {
				entry.Value = []byte{}
			}
			b, err := json.MarshalIndent(entry, "\t", "\t")
			if err != nil {
				return err
			}
			out.WriteString(separator)
			separator = ",\n\t"
			bar.add(1)
			_, err = out.Write(b)
			return err
		})
		bar.finish()
		if err != nil {
			return fmt.Errorf("the export is incomplete: %w", err)
		}
		if strings.HasPrefix(separator, "[") {
			out.WriteString("[]\n")
		} else {
			out.WriteString("\n]\n")
		}
		return out.Flush()
	}
}

func kvImport(f *flag.FlagSet) action {
	prefix := f.String("prefix", "", "Put this `prefix` before every key.")
	return func(ctx context.Context, c *call) error {
		source, err := c.source(c.args[0])
		if err != nil {
			return err
		}
		defer source.Close()
		below := strings.TrimPrefix(*prefix, "/")
		if below != "" && !strings.HasSuffix(below, "/") {
			below += "/"
		}
		// The whole is checked before any of it is written.
		total := 0
		if err := entries(source, func(*exported) error { total++; return nil }); err != nil {
			return err
		}
		if _, err := source.Seek(0, io.SeekStart); err != nil {
			return err
		}
		bar := c.progress("imported", int64(total), false, false)
		done := 0
		err = entries(source, func(e *exported) error {
			pair := &catalog.KVPair{Key: below + strings.TrimPrefix(e.Key, "/"), Flags: e.Flags, Value: e.Value}
			if _, err := c.api.KV().Put(ctx, pair, client.KVWrite{}, c.q); err != nil {
				return fmt.Errorf("imported %d of %d keys, then %s failed: %w", done, total, pair.Key, err)
			}
			done++
			bar.add(1)
			c.say("Imported: %s", clean(pair.Key))
			return nil
		})
		bar.finish()
		return err
	}
}

// source is what an import reads, as often as it needs to.
func (c *call) source(arg string) (io.ReadSeekCloser, error) {
	if strings.HasPrefix(arg, "@") {
		f, err := os.Open(arg[1:])
		if err != nil {
			return nil, err
		}
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			return f, nil
		}
		f.Close() // a pipe: read it like standard input
	}
	b, err := c.argument(arg, maxImport)
	if err != nil {
		return nil, err
	}
	return nopCloser{bytes.NewReader(b)}, nil
}

type nopCloser struct{ io.ReadSeeker }

func (nopCloser) Close() error { return nil }

// entries calls f with each entry of an export.
func entries(r io.Reader, f func(*exported) error) error {
	dec := json.NewDecoder(bufio.NewReaderSize(r, 64<<10))
	wrong := func(err error) error {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("import: not the JSON of an export, near byte %d: %w", dec.InputOffset(), err)
	}
	if t, err := dec.Token(); err != nil {
		return wrong(err)
	} else if t != json.Delim('[') {
		return wrong(errors.New("want a list"))
	}
	for n := 1; dec.More(); n++ {
		e := &exported{}
		if err := dec.Decode(e); err != nil {
			return wrong(err)
		}
		if e.Key == "" {
			return fmt.Errorf("import: entry %d has no key", n)
		}
		if err := f(e); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return wrong(err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return wrong(errors.New("more follows the list"))
	}
	return nil
}
