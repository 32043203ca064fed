//go:build !windows && !plan9

package logging

import (
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestSyslog is inside the package because a test cannot choose where this machine's syslog listens.
func TestSyslog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	o, err := New(Config{Name: "agent", Level: "trace"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if o.syslog, err = dialSyslog("unixgram", path, "local3"); err != nil {
		t.Fatal(err)
	}
	f := func(level slog.Level, want string) {
		t.Helper()
		o.Logger().Log(t.Context(), level, "joined", "node", "one")
		b := make([]byte, 1024)
		_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second))
		n, err := conn.Read(b)
		got := string(b[:n])
		if err != nil || !strings.HasPrefix(got, want) || !strings.HasSuffix(got, ": agent: joined: node=one\n") || !strings.Contains(got, " curia[") {
			t.Errorf("got %q %v, want %s", got, err, want)
		}
	}
	f(LevelTrace, "<159>") // local3 and debug, 19*8 + 7
	f(slog.LevelInfo, "<158>")
	f(slog.LevelWarn, "<156>")
	f(slog.LevelError, "<155>")
	if err := o.Close(); err != nil {
		t.Error(err)
	}
	if _, err := dialSyslog("unixgram", path+"-none", ""); err == nil || !strings.Contains(err.Error(), "enable_syslog: no syslog to connect to") {
		t.Errorf("nobody listens: %v", err)
	}
	if _, err := New(Config{Syslog: true, SyslogFacility: "LOCAL9"}, nil); err == nil || !strings.Contains(err.Error(), `syslog_facility "LOCAL9" is unknown`) {
		t.Errorf("wrong facility: %v", err)
	}
}
