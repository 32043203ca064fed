package demo

import (
	"bufio"
	"errors"
	"io"
	"strings"
)

// relay passes the lines of chaos on.
func relay(from io.Reader, say func(line string)) error {
	lines := bufio.NewScanner(from)
	for lines.Scan() {
		if text, failed := strings.CutPrefix(lines.Text(), chaosError); failed {
			return errors.New(text)
		}
		say(lines.Text())
	}
	return lines.Err()
}
