//go:build !windows && !plan9

package logging

import (
	"fmt"
	"log/slog"
	"log/syslog"
	"strings"
)

// facilities are the names of RFC 5424, section 6.2.1, as syslog.conf writes them.
var facilities = map[string]syslog.Priority{
	"KERN": syslog.LOG_KERN, "USER": syslog.LOG_USER, "MAIL": syslog.LOG_MAIL, "DAEMON": syslog.LOG_DAEMON,
	"AUTH": syslog.LOG_AUTH, "SYSLOG": syslog.LOG_SYSLOG, "LPR": syslog.LOG_LPR, "NEWS": syslog.LOG_NEWS,
	"UUCP": syslog.LOG_UUCP, "CRON": syslog.LOG_CRON, "AUTHPRIV": syslog.LOG_AUTHPRIV, "FTP": syslog.LOG_FTP,
	"LOCAL0": syslog.LOG_LOCAL0, "LOCAL1": syslog.LOG_LOCAL1, "LOCAL2": syslog.LOG_LOCAL2, "LOCAL3": syslog.LOG_LOCAL3,
	"LOCAL4": syslog.LOG_LOCAL4, "LOCAL5": syslog.LOG_LOCAL5, "LOCAL6": syslog.LOG_LOCAL6, "LOCAL7": syslog.LOG_LOCAL7,
}

type syslogConn struct{ w *syslog.Writer }

// dialSyslog connects to the syslog of this machine, or to the one at address.
func dialSyslog(network, address, facility string) (syslogWriter, error) {
	if facility == "" {
		facility = "LOCAL0"
	}
	priority, ok := facilities[strings.ToUpper(facility)]
	if !ok {
		return nil, fmt.Errorf("syslog_facility %q is unknown: use LOCAL0 to LOCAL7, DAEMON, USER or another facility of RFC 5424", facility)
	}
	w, err := syslog.Dial(network, address, priority|syslog.LOG_INFO, "curia")
	if err != nil {
		return nil, fmt.Errorf("enable_syslog: no syslog to connect to: %w: start a syslog daemon, or turn enable_syslog off", err)
	}
	return syslogConn{w}, nil
}

func (s syslogConn) write(l slog.Level, line string) error {
	switch {
	case l < slog.LevelInfo:
		return s.w.Debug(line)
	case l < slog.LevelWarn:
		return s.w.Info(line)
	case l < slog.LevelError:
		return s.w.Warning(line)
	}
	return s.w.Err(line)
}

func (s syslogConn) Close() error { return s.w.Close() }
