package logging_test

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/agent/logging"
	"github.com/hashicorp/go-hclog"
)

func TestHCLog(t *testing.T) {
	o, buf := open(t, logging.Config{Name: "agent", Level: "debug"})
	h := logging.HCLog(logging.Named(o.Logger(), "server")).Named("raft")
	f := func(want string, log func()) {
		t.Helper()
		buf.Reset()
		log()
		_, got, _ := strings.Cut(strings.TrimSuffix(buf.String(), "\n"), " ")
		if got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	f(`[INFO]  agent.server.raft: entering leader state: leader="Node at 127.0.0.1:8300 [Leader]" term=2`,
		func() {
			h.Info("entering leader state", "leader", hclog.Fmt("%v [%s]", "Node at 127.0.0.1:8300", "Leader"), "term", 2)
		})
	f(`[WARN]  agent.server.raft: x: err=boom EXTRA_VALUE_AT_END=left`, func() { h.Warn("x", "err", errors.New("boom"), "left") })
	f(`[ERROR] agent.server.raft: x: 7=0xff bits=0b101 mode=0640`, func() {
		h.Log(hclog.Error, "x", 7, hclog.Hex(255), "bits", hclog.Binary(5), "mode", hclog.Octal(0o640))
	})
	f(`[DEBUG] agent.server.raft.fsm: x: id=1 k=v`, func() { h.With("id", 1).Named("fsm").Debug("x", "k", "v") })
	f(`[DEBUG] agent.server.autopilot: x: id=1`, func() { h.With("id", 1).ResetNamed("autopilot").Debug("x") })
	f(`[WARN]  agent.server.raft: odd line`, func() { h.StandardLogger(nil).Print("[WARN] odd line") })
	f(``, func() { h.Trace("below the level"); h.Log(hclog.Off, "off"); h.Log(hclog.Trace, "x") })

	if h.IsTrace() || !h.IsDebug() || !h.IsInfo() || !h.IsWarn() || !h.IsError() || h.GetLevel() != hclog.Debug {
		t.Errorf("levels are wrong: %v", h.GetLevel())
	}
	h.SetLevel(hclog.Error) // the level is the Output's
	if h.GetLevel() != hclog.Debug || h.Name() != "raft" {
		t.Errorf("level %v, name %s", h.GetLevel(), h.Name())
	}
	if got := h.With("a", 1).ImpliedArgs(); len(got) != 2 || got[0] != "a" {
		t.Errorf("implied %v", got)
	}
}

func TestStandard(t *testing.T) {
	o, buf := open(t, logging.Config{Level: "trace"})
	std := logging.Standard(logging.Named(o.Logger(), "lan"), slog.LevelWarn)
	f := func(line, want string) {
		t.Helper()
		buf.Reset()
		std.Print(line)
		if _, got, _ := strings.Cut(buf.String(), " "); got != want+"\n" {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	f("[INFO] serf: EventMemberJoin: one 127.0.0.1", "[INFO]  lan: serf: EventMemberJoin: one 127.0.0.1")
	f("[ERR] memberlist: Failed", "[ERROR] lan: memberlist: Failed")
	f("[ERROR] x\n\n", "[ERROR] lan: x")
	f("[DEBUG]memberlist: x", "[DEBUG] lan: memberlist: x")
	f("[TRACE] x", "[TRACE] lan: x")
	f("[WARN] x", "[WARN]  lan: x")
	f("[::1]:80 refused", "[WARN]  lan: [::1]:80 refused")
	f("no level", "[WARN]  lan: no level")
	f("[", "[WARN]  lan: [")
	f("", "[WARN]  lan: ")
}
