package command

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/go-msgpack/v2/codec"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/server/fsm"
	"github.com/curia-mesh/curia/server/snapshot"
)

// rawState is the name of a snapshot's state in a server's data directory, where meta.json is beside it.
const rawState = "state.bin"

// snapMeta says what a snapshot is of.
type snapMeta struct {
	ID      string
	Size    int64
	Index   uint64
	Term    uint64
	Version int
}

// stat counts rows of one kind and their bytes.
type stat struct {
	Name  string
	Sum   int
	Count int
}

// inspection is what there is to say of a snapshot.
type inspection struct {
	Meta        snapMeta
	Stats       []*stat
	StatsKV     []*stat
	TotalSize   int
	TotalSizeKV int
}

// openSnapshot calls f with a verified snapshot's state, from an archive or a server's data directory.
func openSnapshot(path string, f func(meta json.RawMessage, state io.Reader) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if filepath.Base(path) == rawState {
		meta, err := readFile(filepath.Join(filepath.Dir(path), "meta.json"), maxDefinition)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		return named(path, f(meta, bufio.NewReader(file)))
	}
	archive, err := snapshot.Read(file)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer archive.Close()
	meta, err := json.Marshal(archive.Meta)
	if err != nil {
		return err
	}
	state, err := archive.State()
	if err != nil {
		return err
	}
	return named(path, f(meta, state))
}

func snapshotInspect(f *flag.FlagSet) action {
	details := f.Bool("kvdetails", false, "Show how much space keys take.")
	depth := f.Int("kvdepth", 2, "With -kvdetails, count keys together that are the same up to this `many` slashes.")
	filter := f.String("kvfilter", "", "With -kvdetails, count only keys with this `prefix`.")
	format := formatVar(f)
	return func(_ context.Context, c *call) error {
		if err := checkFormat(*format); err != nil {
			return err
		}
		switch {
		case *depth < 1:
			return usage("-kvdepth %d: want at least 1", *depth)
		case !*details && (given(f, "kvdepth") || given(f, "kvfilter")):
			return usage("-kvdepth and -kvfilter need -kvdetails")
		}
		var in inspection
		err := openSnapshot(c.args[0], func(meta json.RawMessage, state io.Reader) error {
			if err := json.Unmarshal(meta, &in.Meta); err != nil {
				return fmt.Errorf("meta.json: %w", err)
			}
			return in.count(state, *details, *depth, *filter)
		})
		if err != nil {
			return err
		}
		if *format == "json" {
			return c.json(in, "    ")
		}
		in.print(c.Out)
		return nil
	}
}

func (in *inspection) count(state io.Reader, details bool, depth int, filter string) error {
	tables, keys := map[string]*stat{}, map[string]*stat{}
	add := func(to map[string]*stat, name string, size int) {
		if to[name] == nil {
			to[name] = &stat{Name: name}
		}
		to[name].Count++
		to[name].Sum += size
	}
	var encoded []byte
	encoder := codec.NewEncoderBytes(&encoded, fsm.RowHandle())
	_, err := fsm.Scan(state, func(table string, row any) error {
		encoder.ResetBytes(&encoded)
		if err := encoder.Encode(row); err != nil {
			return err
		}
		size := len(encoded)
		in.TotalSize += size
		add(tables, title(table), size)
		if p, ok := row.(*catalog.KVPair); ok && details && strings.HasPrefix(p.Key, filter) {
			in.TotalSizeKV += size
			add(keys, group(p.Key, depth), size)
		}
		encoded = encoded[:0]
		return nil
	})
	in.Stats = bySize(tables)
	if details {
		in.StatsKV = bySize(keys)
	}
	return err
}

// title is what a table is called in reports.
func title(table string) string {
	if table == "kv" {
		return "KVS"
	}
	if table == "" {
		return table
	}
	return strings.ToUpper(table[:1]) + table[1:]
}

func group(key string, depth int) string {
	parts := strings.SplitN(key, "/", depth+1)
	return strings.Join(parts[:min(depth, len(parts))], "/")
}

func bySize(stats map[string]*stat) []*stat {
	return slices.SortedFunc(maps.Values(stats), func(a, b *stat) int {
		return cmp.Or(cmp.Compare(b.Sum, a.Sum), cmp.Compare(a.Name, b.Name))
	})
}

func (in *inspection) print(w io.Writer) {
	m := in.Meta
	fmt.Fprintf(w, " ID           %s\n Size         %d\n Index        %d\n Term         %d\n Version      %d\n", clean(m.ID), m.Size, m.Index, m.Term, m.Version)
	printStats(w, "Type", in.Stats, in.TotalSize)
	if in.StatsKV != nil {
		printStats(w, "Key Name", in.StatsKV, in.TotalSizeKV)
	}
}

func printStats(w io.Writer, heading string, stats []*stat, total int) {
	width := 20
	for _, s := range stats {
		width = max(width, len(s.Name)+4)
	}
	rule := fmt.Sprintf(" %-*s %-10s %s\n", width, "----", "----", "----")
	fmt.Fprintf(w, "\n %-*s %-10s %s\n%s", width, heading, "Count", "Size", rule)
	for _, s := range stats {
		fmt.Fprintf(w, " %-*s %-10d %s\n", width, clean(s.Name), s.Count, bytesText(s.Sum))
	}
	fmt.Fprintf(w, "%s %-*s %-10s %s\n", rule, width, "Total", "", bytesText(total))
}

// bytesText writes a number of bytes with a unit, 1024 of each to the next.
func bytesText(n int) string {
	if n < 1024 {
		return fmt.Sprintf("%dB", n)
	}
	value, units := float64(n), "BKMGTP"
	i := 0
	for ; value >= 1024 && i < len(units)-1; i++ {
		value /= 1024
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", value), ".0") + units[i:i+1] + "B"
}

func snapshotDecode(*flag.FlagSet) action {
	return func(_ context.Context, c *call) error {
		out := bufio.NewWriterSize(c.Out, 64<<10)
		enc := json.NewEncoder(out)
		enc.SetEscapeHTML(false)
		type record struct {
			Type string
			Data any
		}
		err := openSnapshot(c.args[0], func(meta json.RawMessage, state io.Reader) error {
			if err := enc.Encode(record{"SnapshotHeader", meta}); err != nil {
				return err
			}
			_, err := fsm.Scan(state, func(table string, row any) error { return enc.Encode(record{title(table), withoutSecrets(row)}) })
			return err
		})
		if err != nil {
			return err
		}
		return out.Flush()
	}
}

// withoutSecrets is a row as it is shown: what whoever has it may do stays out.
func withoutSecrets(row any) any {
	switch r := row.(type) {
	case *catalog.Token:
		shown := *r
		shown.SecretID = "(hidden)"
		return &shown
	case *catalog.AuthMethod:
		return r.Hidden()
	}
	return row
}
