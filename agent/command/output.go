package command

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"unicode"

	"github.com/ryanuber/columnize"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// cell separates the cells of a table's line; no text from the cluster holds it, since clean removes it.
const cell = "\x1f"

// terminal reports whether w shows what is written to a person who can see colours.
func terminal(w io.Writer, getenv func(string) string) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"
}

func red(w io.Writer, getenv func(string) string, text string) string {
	if !terminal(w, getenv) {
		return text
	}
	return "\x1b[31m" + text + "\x1b[0m"
}

// say prints a line of output.
func (c *call) say(format string, args ...any) { fmt.Fprintf(c.Out, format+"\n", args...) }

// note prints a line for the person at the terminal that is no output.
func (c *call) note(format string, args ...any) { fmt.Fprintf(c.Err, format+"\n", args...) }

// table prints rows in aligned columns, the first as the heading: bold on a terminal.
func (c *call) table(rows [][]string) {
	lines := make([]string, len(rows))
	for i, cells := range rows {
		cleaned := make([]string, len(cells))
		for j, text := range cells {
			cleaned[j] = clean(text)
		}
		lines[i] = strings.Join(cleaned, cell)
	}
	text := columnize.Format(lines, &columnize.Config{Delim: cell})
	if heading, rest, _ := strings.Cut(text, "\n"); terminal(c.Out, c.Getenv) {
		text = "\x1b[1m" + heading + "\x1b[0m\n" + rest
	}
	fmt.Fprintln(c.Out, strings.TrimRight(text, "\n"))
}

// json prints a value as JSON, indented by indent.
func (c *call) json(v any, indent string) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", indent)
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := c.Out.Write(b.Bytes())
	return err
}

// clean removes what would move a terminal's cursor or colour its text: names in the cluster are chosen by
// others.
func clean(text string) string {
	if strings.IndexFunc(text, unicode.IsControl) < 0 {
		return text
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case unicode.IsControl(r):
			return -1
		}
		return r
	}, text)
}

// joinPairs writes a map as key=value in the order of its keys.
func joinPairs(m map[string]string, separator string) string {
	var parts []string
	for _, key := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, key+"="+m[key])
	}
	return strings.Join(parts, separator)
}

// progress shows on a terminal how far long work is: bytes when max is -1 or a size. Elsewhere it shows
// nothing.
func (c *call) progress(what string, max int64, isBytes bool) *progressbar.ProgressBar {
	if !terminal(c.Err, c.Getenv) {
		return progressbar.DefaultSilent(max)
	}
	return progressbar.NewOptions64(max,
		progressbar.OptionSetDescription(what), progressbar.OptionSetWriter(c.Err), progressbar.OptionShowBytes(isBytes),
		progressbar.OptionShowCount(), progressbar.OptionSetWidth(30), progressbar.OptionThrottle(100_000_000),
		progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(max > 0),
	)
}
