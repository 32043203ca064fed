// Command docs writes the reference pages of website/docs from the tables of the product. With -check it
// only says which pages are out of date, and exits with 1 when any is.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/curia-mesh/curia/agent/command"
	"github.com/curia-mesh/curia/agent/config"
	"github.com/curia-mesh/curia/agent/httpapi"
	"github.com/curia-mesh/curia/server"
)

var pages = map[string]func(io.Writer) error{
	"http.md":          httpapi.Reference,
	"configuration.md": config.Reference,
	"cli.md":           command.Reference,
	"rpc.md":           server.Reference,
}

func main() {
	check := flag.Bool("check", false, "only compare")
	dir := flag.String("dir", "website/docs/reference", "the `directory` of the pages")
	flag.Parse()
	if err := run(*dir, *check); err != nil {
		fmt.Fprintln(os.Stderr, "docs:", err)
		os.Exit(1)
	}
}

func run(dir string, check bool) error {
	var stale []string
	for name, write := range pages {
		var page bytes.Buffer
		if err := write(&page); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		path := filepath.Join(dir, name)
		old, err := os.ReadFile(path)
		if err == nil && bytes.Equal(old, page.Bytes()) {
			continue
		}
		if check {
			stale = append(stale, name)
			continue
		}
		if err := os.WriteFile(path, page.Bytes(), 0o644); err != nil {
			return err
		}
	}
	if len(stale) > 0 {
		return fmt.Errorf("out of date: %v; run go run ./scripts/docs", stale)
	}
	return nil
}
