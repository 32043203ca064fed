package logging_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/slogtest"
	"time"

	"github.com/curia-mesh/curia/agent/logging"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open returns an output that writes to the buffer and ends with the test.
func open(t *testing.T, cfg logging.Config) (*logging.Output, *bytes.Buffer) {
	t.Helper()
	var buf bytes.Buffer
	o, err := logging.New(cfg, &buf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.Close() })
	return o, &buf
}

// at logs one record with a fixed time.
func at(l *slog.Logger, level slog.Level, msg string, args ...any) {
	r := slog.NewRecord(time.Date(2026, 11, 21, 3, 35, 30, 123456000, time.UTC), level, msg, 0)
	r.Add(args...)
	_ = l.Handler().Handle(context.Background(), r)
}

type broken struct{ name string }

func (b *broken) String() string { return b.name } // panics on a nil pointer

func TestLines(t *testing.T) {
	texts, text := open(t, logging.Config{Name: "agent", Level: "trace"})
	jsons, js := open(t, logging.Config{Name: "agent", Level: "trace", JSON: true})
	f := func(wantText, wantJSON string, level slog.Level, msg string, args ...any) {
		t.Helper()
		text.Reset()
		js.Reset()
		at(logging.Named(texts.Logger(), "server"), level, msg, args...)
		at(logging.Named(jsons.Logger(), "server"), level, msg, args...)
		if want := "2026-11-21T03:35:30.123Z " + wantText + "\n"; text.String() != want {
			t.Errorf("text\n got %s\nwant %s", text, want)
		}
		head := fmt.Sprintf(`{"@level":"%s",`, strings.ToLower(logging.LevelName(level)))
		if want := head + wantJSON + "}\n"; js.String() != want {
			t.Errorf("json\n got %s\nwant %s", js, want)
		}
	}
	const tail = `,"@module":"agent.server","@timestamp":"2026-11-21T03:35:30.123456Z"`
	f("[INFO]  agent.server: started", `"@message":"started"`+tail, slog.LevelInfo, "started")
	f("[TRACE] agent.server: x", `"@message":"x"`+tail, logging.LevelTrace, "x")
	f("[DEBUG] agent.server: x", `"@message":"x"`+tail, slog.LevelDebug, "x")
	f("[WARN]  agent.server: x", `"@message":"x"`+tail, slog.LevelWarn, "x")
	f(`[ERROR] agent.server: no leader: dc=dc1 index=7 took=1.5s ok=true ratio=0.5`,
		`"@message":"no leader"`+tail+`,"dc":"dc1","index":7,"took":1500000000,"ok":true,"ratio":0.5`,
		slog.LevelError, "no leader", "dc", "dc1", "index", 7, "took", 1500*time.Millisecond, "ok", true, "ratio", 0.5)
	f(`[INFO]  agent.server: x: empty="" space="a b" err="dial: refused" peers=["a", "b c"]`,
		`"@message":"x"`+tail+`,"empty":"","space":"a b","err":"dial: refused","peers":["a","b c"]`,
		slog.LevelInfo, "x", "empty", "", "space", "a b", "err", errors.New("dial: refused"), "peers", []string{"a", "b c"})
	f(`[INFO]  agent.server: x: addr=127.0.0.1:8300 rpc.from=web nothing=<nil> bad=<nil>`,
		`"@message":"x"`+tail+`,"addr":"127.0.0.1:8300","rpc.from":"web","nothing":null,"bad":"<nil>"`,
		slog.LevelInfo, "x", "addr", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8300},
		slog.Group("rpc", "from", "web"), "nothing", nil, "bad", (*broken)(nil))
	// What comes from outside forges neither a line nor a terminal sequence.
	f(`[INFO]  agent.server: a\n2026 [INFO]  b: user="x\x1b[31m\ny" raw="\xff"`,
		`"@message":"a\n2026 [INFO]  b"`+tail+`,"user":"x\u001b[31m\ny","raw":"`+"\ufffd"+`"`,
		slog.LevelInfo, "a\n2026 [INFO]  b", "user", "x\x1b[31m\ny", "raw", "\xff")
}

func TestLongLinesAreCut(t *testing.T) {
	o, buf := open(t, logging.Config{})
	long := strings.Repeat("é", 1<<20)
	args := []any{}
	for i := range 100 {
		args = append(args, fmt.Sprint("k", i), long)
	}
	o.Logger().Info(long, args...)
	if n := buf.Len(); n > 32<<10 {
		t.Errorf("the line has %d bytes", n)
	}
	if !strings.Contains(buf.String(), "é...(2093056 more bytes)") {
		t.Errorf("no word of what is missing: %.100s", buf)
	}
}

// TestConformance runs slog's own suite over the JSON lines, with our key names put back to slog's and the dotted
// keys of groups nested again.
func TestConformance(t *testing.T) {
	o, buf := open(t, logging.Config{JSON: true})
	err := slogtest.TestHandler(o.Logger().Handler(), func() []map[string]any {
		var out []map[string]any
		for dec := json.NewDecoder(buf); dec.More(); {
			var flat map[string]any
			if err := dec.Decode(&flat); err != nil {
				t.Fatal(err)
			}
			line := map[string]any{}
			for k, v := range flat {
				k = strings.NewReplacer("@timestamp", "time", "@level", "level", "@message", "msg").Replace(k)
				into := line
				for parts := strings.Split(k, "."); ; parts = parts[1:] {
					if len(parts) == 1 {
						into[parts[0]] = v
						break
					}
					if into[parts[0]] == nil {
						into[parts[0]] = map[string]any{}
					}
					into = into[parts[0]].(map[string]any)
				}
			}
			out = append(out, line)
		}
		return out
	})
	if err != nil {
		t.Error(err)
	}
}

func TestLevelIsReloaded(t *testing.T) {
	o, buf := open(t, logging.Config{})
	l := o.Logger()
	l.Debug("one")
	if err := o.SetLevel("debug"); err != nil {
		t.Fatal(err)
	}
	l.Debug("two")
	if err := o.SetLevel("ERR"); err != nil {
		t.Fatal(err)
	}
	l.Warn("three")
	if got := buf.String(); strings.Contains(got, "one") || !strings.Contains(got, "two") || strings.Contains(got, "three") {
		t.Errorf("got %s", got)
	}
	if o.Level() != slog.LevelError {
		t.Errorf("level is %v", o.Level())
	}
	want := `log_level: unknown log level "loud": use TRACE, DEBUG, INFO, WARN or ERROR`
	if err := o.SetLevel("loud"); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if _, err := logging.New(logging.Config{Level: "loud"}, nil); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestRecent(t *testing.T) {
	o, _ := open(t, logging.Config{Name: "agent"})
	for i := range 600 {
		o.Logger().Info("line", "i", i)
	}
	o.Logger().Debug("unwanted")
	got := o.Recent(2)
	if len(got) != 2 || got[0].Message != "line: i=598" || got[1].Message != "line: i=599" || got[1].Module != "agent" {
		t.Errorf("got %+v", got)
	}
	if all := o.Recent(1000); len(all) != 512 || all[0].Message != "line: i=88" {
		t.Errorf("%d lines, the oldest %+v", len(all), all[0])
	}
	if none := o.Recent(-1); len(none) != 0 {
		t.Errorf("got %+v", none)
	}
}

// TestUnwantedLineCostsNothing: a line below the level allocates nothing.
func TestUnwantedLineCostsNothing(t *testing.T) {
	o, buf := open(t, logging.Config{})
	l := logging.Named(o.Logger(), "dns")
	h, std := logging.HCLog(l), logging.Standard(l, slog.LevelDebug)
	ctx := t.Context()
	name, n, line := strings.Repeat("x", 10), 1<<40, []byte("[DEBUG] memberlist: nothing")
	allocs := testing.AllocsPerRun(100, func() {
		l.LogAttrs(ctx, slog.LevelDebug, "query", slog.String("name", name), slog.Int("n", n))
		l.Debug("query")
		h.Trace("message")
		_, _ = std.Writer().Write(line)
	})
	if allocs != 0 || buf.Len() != 0 {
		t.Errorf("%v allocations, wrote %s", allocs, buf)
	}
}

func TestNilLoggersDiscard(t *testing.T) {
	logging.Named(nil, "x").Error("nothing")
	logging.HCLog(nil).Named("raft").Error("nothing", "k")
	logging.Standard(nil, slog.LevelInfo).Print("nothing")
}

func TestSecret(t *testing.T) {
	s := logging.NewSecret("tok-123")
	type config struct {
		Token  logging.Secret
		hidden logging.Secret
	}
	o, buf := open(t, logging.Config{JSON: true})
	o.Logger().Info("x", "token", s, "config", config{s, s})
	for _, v := range []any{s, &s, config{s, s}, &config{s, s}, []logging.Secret{s}, map[string]config{"a": {s, s}}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(buf, verb+"\n", v)
		}
		b, err := json.Marshal(v)
		if err != nil {
			t.Error(err)
		}
		buf.Write(b)
	}
	if got := buf.String(); strings.Contains(got, "tok-123") || strings.Contains(got, fmt.Sprintf("%x", "tok-123")) {
		t.Errorf("the secret shows in %s", got)
	}
	if !strings.Contains(buf.String(), `"token":"<hidden>"`) {
		t.Errorf("no <hidden> in %s", buf)
	}
	if s.Reveal() != "tok-123" || s.Empty() || !s.Equal(logging.NewSecret("tok-123")) || s.Equal(logging.NewSecret("no")) {
		t.Error("the secret itself is damaged")
	}
	if zero := logging.NewSecret(""); zero.Reveal() != "" || !zero.Empty() || !zero.Equal(logging.Secret{}) {
		t.Error("the empty secret is not empty")
	}
}

// FuzzLine: whatever is logged, text is one printable line and JSON is one valid object that keeps the message.
func FuzzLine(f *testing.F) {
	f.Add("message", "key", "value")
	f.Add("two\nlines", "k\x00", "\x1b]0;title\a\u2028\U000e0001")
	f.Add("\xff\xfe", "=", `"quoted\"`)
	var text, js bytes.Buffer
	texts, err := logging.New(logging.Config{}, &text)
	jsons, err2 := logging.New(logging.Config{JSON: true}, &js)
	if err := errors.Join(err, err2); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, msg, key, value string) {
		text.Reset()
		js.Reset()
		texts.Logger().Info(msg, key, value)
		jsons.Logger().Info(msg, slog.String(key, value))
		line, ok := strings.CutSuffix(text.String(), "\n")
		if !ok || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0xfffd }) {
			t.Errorf("text %q", text.String())
		}
		var got map[string]any
		if err := json.Unmarshal(js.Bytes(), &got); err != nil || bytes.Count(js.Bytes(), []byte("\n")) != 1 {
			t.Fatalf("json %q: %v", js.String(), err)
		}
		if want := strings.ToValidUTF8(msg, "\ufffd"); want == msg && len(msg) < 4096 && got["@message"] != want && key != "@message" {
			t.Errorf("message %q became %q", want, got["@message"])
		}
	})
}

func TestMonitor(t *testing.T) {
	o, buf := open(t, logging.Config{Name: "agent"})
	l := o.Logger()
	l.Info("before")
	monitor := func(c logging.MonitorConfig) *logging.Monitor {
		m, err := o.Monitor(c)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	debug := monitor(logging.MonitorConfig{Level: slog.LevelDebug, Recent: 5})
	warn := monitor(logging.MonitorConfig{Level: slog.LevelWarn, JSON: true})
	l.Debug("seen by the monitor alone", "k", 1)
	l.Warn("seen by all", "k", "v")
	want := func(m *logging.Monitor, part string) {
		t.Helper()
		line, err := m.Next(t.Context())
		if err != nil || !strings.Contains(string(line), part) || !bytes.HasSuffix(line, []byte("\n")) {
			t.Errorf("got %q %v, want %s", line, err, part)
		}
	}
	want(debug, "[INFO]  agent: before")
	want(debug, "[DEBUG] agent: seen by the monitor alone: k=1")
	want(debug, "[WARN]  agent: seen by all: k=v")
	want(warn, `"@level":"warn","@message":"seen by all","@module":"agent"`)
	if strings.Contains(buf.String(), "alone") {
		t.Errorf("the log has what only the monitor asked for: %s", buf)
	}
	debug.Close()
	debug.Close()
	if _, err := debug.Next(t.Context()); err != io.EOF {
		t.Errorf("after Close: %v", err)
	}
	if o.Logger().Enabled(t.Context(), slog.LevelDebug) {
		t.Error("debug lines still cost after the monitor went")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := warn.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("with its context cancelled: %v", err)
	}
	for range 63 {
		monitor(logging.MonitorConfig{})
	}
	if _, err := o.Monitor(logging.MonitorConfig{}); !errors.Is(err, logging.ErrTooManyMonitors) {
		t.Errorf("the 65th monitor: %v", err)
	}
	_ = o.Close()
	if _, err := warn.Next(t.Context()); err != io.EOF {
		t.Errorf("after the output closed: %v", err)
	}
	if _, err := o.Monitor(logging.MonitorConfig{}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a monitor of a closed output: %v", err)
	}
}

// TestSlowMonitorIsToldOfItsDrops: nobody waits for a reader that does not read, and it learns where the gap is.
func TestSlowMonitorIsToldOfItsDrops(t *testing.T) {
	o, _ := open(t, logging.Config{})
	m, err := o.Monitor(logging.MonitorConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 600 { // 512 fit
		o.Logger().Info("line", "i", i)
	}
	next := func(want string) {
		t.Helper()
		if line, err := m.Next(t.Context()); err != nil || !strings.Contains(string(line), want) {
			t.Errorf("got %s %v, want %s", line, err, want)
		}
	}
	for i := range 512 {
		next(fmt.Sprintf("line: i=%d\n", i))
	}
	next("[WARN]  monitor: lines dropped, the reader is too slow: count=88")
	o.Logger().Info("live again")
	next("live again")
	for i := range 515 {
		o.Logger().Info("line", "i", i)
	}
	next("i=0\n")
	next("i=1\n")
	o.Logger().Info("after the gap")
	for i := 2; i < 512; i++ {
		next(fmt.Sprintf("line: i=%d\n", i))
	}
	next("count=3")
	next("after the gap")
}
