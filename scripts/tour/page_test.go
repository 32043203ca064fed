package tour_test

import (
	"fmt"
	"regexp"
	"strings"
)

// block is a fenced block of a page.
type block struct {
	language, title string
	line            int // of its first line of text, from 1
	text            []string
}

var fence = regexp.MustCompile("^ *```([a-z]*)(?: title=\"([^\"]*)\")?$")

// blocks are the fenced blocks of a page, in order.
func blocks(page string) ([]block, error) {
	var all []block
	var open *block
	for i, line := range strings.Split(page, "\n") {
		mark := fence.FindStringSubmatch(line)
		switch {
		case open != nil && mark != nil && mark[1] == "" && mark[2] == "":
			all = append(all, *open)
			open = nil
		case open != nil:
			open.text = append(open.text, line)
		case mark != nil:
			open = &block{language: mark[1], title: mark[2], line: i + 2}
		case strings.Contains(line, "```"):
			return nil, fmt.Errorf("line %d: not a fence that is understood: %s", i+1, line)
		}
	}
	if open != nil {
		return nil, fmt.Errorf("line %d: the block has no end", open.line)
	}
	return all, nil
}

// step is a command and what it prints, according to the page.
type step struct {
	command string
	line    int
	prints  []string
}

// steps are the commands of a console block. A command that ends in a backslash goes on in the next line.
func (b block) steps() ([]step, error) {
	var all []step
	for i, line := range b.text {
		command, is := strings.CutPrefix(line, "$ ")
		switch last := len(all) - 1; {
		case is:
			all = append(all, step{command: command, line: b.line + i})
		case last < 0:
			return nil, fmt.Errorf("line %d: a console block begins with a command behind $", b.line)
		case len(all[last].prints) == 0 && strings.HasSuffix(all[last].command, "\\"):
			all[last].command += "\n" + line
		default:
			all[last].prints = append(all[last].prints, line)
		}
	}
	return all, nil
}

// varies are the parts of an output that are others each time, each with what stands in for it in a
// comparison. All else has to be as printed on the page.
var varies = []struct {
	part *regexp.Regexp
	as   string
}{
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`), "<id>"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[.\d]*(Z|[+-]\d\d:\d\d)`), "<time>"},
	{regexp.MustCompile(`\b\d+-\d+-\d{13}\b`), "<snapshot>"},
	{regexp.MustCompile(`\b((?:Create|Modify|)Index"?:?|index) +\d+`), "$1 <index>"},
	{regexp.MustCompile(`\b(Size +)\d+`), "$1<size>"},
	{regexp.MustCompile(`\b\d+(\.\d+)?[KM]?B\b`), "<size>"},
	{regexp.MustCompile(`\b(leader|follower)( +true +\d+) +\d+`), "$1$2 <index>"}, // a row of list-peers
	{regexp.MustCompile(`_raft_apply \d+`), "_raft_apply <count>"},
	{regexp.MustCompile(`\bgo\d+\.\d+(\.\d+)?\b`), "<go>"},
	{regexp.MustCompile(` {2,}`), "  "}, // columns are as wide as what varies in them
}

var trailing = regexp.MustCompile(`(?m)[ \t]+$`)

// comparable are the lines of an output without what varies, and without what nobody sees: spaces at the
// end of lines and empty lines at the end of all.
func comparable(lines []string, host string) []string {
	text := strings.TrimRight(trailing.ReplaceAllString(strings.Join(lines, "\n"), ""), "\n")
	if text == "" {
		return nil
	}
	if host != hostname {
		text = regexp.MustCompile(`\b`+regexp.QuoteMeta(host)+`\b`).ReplaceAllString(text, hostname)
	}
	for _, v := range varies {
		text = v.part.ReplaceAllString(text, v.as)
	}
	return strings.Split(text, "\n")
}
