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
	"time"
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
	moves := func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }
	if strings.IndexFunc(text, moves) < 0 {
		return text
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case moves(r):
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

// meter shows how far long work is; without a bar it shows nothing.
type meter struct{ bar *progressbar.ProgressBar }

// progress returns a meter of work of that size, -1 when it is not known. It shows something only on a
// terminal that the command writes nothing else to.
func (c *call) progress(what string, size int64, ofBytes, quiet bool) meter {
	if !terminal(c.Err, c.Getenv) || !quiet && terminal(c.Out, c.Getenv) {
		return meter{}
	}
	return meter{progressbar.NewOptions64(size,
		progressbar.OptionSetDescription(what), progressbar.OptionSetWriter(c.Err), progressbar.OptionShowBytes(ofBytes),
		progressbar.OptionShowCount(), progressbar.OptionSetWidth(30), progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(size > 0),
	)}
}

func (m meter) add(n int) {
	if m.bar != nil {
		m.bar.Add(n)
	}
}

// Write counts bytes.
func (m meter) Write(p []byte) (int, error) {
	m.add(len(p))
	return len(p), nil
}

func (m meter) finish() {
	if m.bar != nil {
		m.bar.Finish()
	}
}
