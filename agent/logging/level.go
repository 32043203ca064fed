package logging

import (
	"fmt"
	"log/slog"
	"strings"
)

// LevelTrace is below slog.LevelDebug: every packet and every retry.
const LevelTrace = slog.Level(-8)

// ParseLevel reads a level as the log_level setting and the monitor's loglevel parameter spell it, in any case:
// TRACE, DEBUG, INFO, WARN, ERROR, and the older ERR.
// Source: https://developer.hashicorp.com/consul/docs/reference/agent/cli-flags#_log_level
func ParseLevel(s string) (slog.Level, error) {
	switch strings.ToUpper(s) {
	case "TRACE":
		return LevelTrace, nil
	case "DEBUG":
		return slog.LevelDebug, nil
	case "INFO":
		return slog.LevelInfo, nil
	case "WARN":
		return slog.LevelWarn, nil
	case "ERROR", "ERR":
		return slog.LevelError, nil
	}
	if len(s) > 32 {
		s = s[:32]
	}
	// A copy for the error, so that s itself stays off the heap.
	return 0, fmt.Errorf("unknown log level %q: use TRACE, DEBUG, INFO, WARN or ERROR", strings.Clone(s))
}

// LevelName is the name of the level that l belongs to: TRACE, DEBUG, INFO, WARN or ERROR.
func LevelName(l slog.Level) string {
	switch {
	case l < slog.LevelDebug:
		return "TRACE"
	case l < slog.LevelInfo:
		return "DEBUG"
	case l < slog.LevelWarn:
		return "INFO"
	case l < slog.LevelError:
		return "WARN"
	}
	return "ERROR"
}

// bracket is the level as it stands in a text line, padded so that names align.
func bracket(l slog.Level) string {
	switch {
	case l < slog.LevelDebug:
		return "[TRACE]"
	case l < slog.LevelInfo:
		return "[DEBUG]"
	case l < slog.LevelWarn:
		return "[INFO] "
	case l < slog.LevelError:
		return "[WARN] "
	}
	return "[ERROR]"
}

// colour is the terminal sequence that starts the level's colour.
func colour(l slog.Level) string {
	switch {
	case l < slog.LevelInfo:
		return "\x1b[90m"
	case l < slog.LevelWarn:
		return "\x1b[94m"
	case l < slog.LevelError:
		return "\x1b[93m"
	}
	return "\x1b[91m"
}
