package limit_test

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/server/limit"
)

var a, b = netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("::ffff:10.0.0.2")

// count asks n times and returns how many were let in.
func count(t *testing.T, l *limit.Limiter, n int, from netip.Addr, method string, write bool) (in int) {
	t.Helper()
	for range n {
		switch err := l.Admit(from, method, write); {
		case err == nil:
			in++
		case catalog.CodeOf(err) != catalog.Limited:
			t.Fatalf("code of %v", err)
		}
	}
	return in
}

func TestGlobal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		l := limit.New(slog.New(slog.NewTextHandler(&log, nil)))
		want := func(what string, got, want int) {
			t.Helper()
			if got != want {
				t.Errorf("%s: %d were let in, want %d", what, got, want)
			}
		}
		want("without a bound", count(t, l, 1000, a, "KV.Get", false), 1000)
		l.Global(limit.Enforcing, limit.Rates{Read: 100, Write: 10})
		want("a second's reads at once", count(t, l, 1000, a, "KV.Get", false), 100)
		want("another address", count(t, l, 10, b, "KV.Get", false), 0)
		want("a second's writes at once", count(t, l, 1000, a, "KV.Apply", true), 10)
		want("what keeps a cluster going", count(t, l, 500, a, "Status.Leader", false), 500)
		time.Sleep(250 * time.Millisecond)
		want("a quarter of a second later", count(t, l, 1000, a, "KV.Get", false), 25)
		time.Sleep(time.Hour)
		want("no more than a second's is saved up", count(t, l, 1000, a, "KV.Get", false), 100)
		if n := strings.Count(log.String(), "\n"); n > 4 || !strings.Contains(log.String(), "limit=global/read") {
			t.Errorf("%d lines of log:\n%s", n, log.String())
		}
		err := l.Admit(a, "KV.Get", false)
		if err == nil || !strings.Contains(err.Error(), "rate limit exceeded") {
			t.Errorf("got %v", err)
		}
		l.Global(limit.Permissive, limit.Rates{Read: 1, Write: 1})
		want("permissive", count(t, l, 100, a, "KV.Get", false), 100)
		l.Global(limit.Enforcing, limit.Rates{Read: -1, Write: 0})
		want("no writes at all", count(t, l, 100, a, "KV.Apply", true), 0)
		want("reads without a bound", count(t, l, 100, a, "KV.Get", false), 100)
		l.Global(limit.Disabled, limit.Rates{Read: 1, Write: 1})
		want("disabled", count(t, l, 100, a, "KV.Apply", true), 100)
	})
}

func TestSources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limit.New(slog.New(slog.DiscardHandler))
		want := func(what string, got, want int) {
			t.Helper()
			if got != want {
				t.Errorf("%s: %d were let in, want %d", what, got, want)
			}
		}
		l.Entry(&catalog.RequestLimit{Mode: limit.Enforcing, ReadRate: 100, KV: &catalog.ReadWriteRate{ReadRate: 20, WriteRate: 5}})
		want("reads of keys", count(t, l, 200, a, "KV.Get", false), 20)
		want("the rest of the reads", count(t, l, 200, a, "Catalog.Nodes", false), 80)
		want("writes of keys", count(t, l, 200, a, "KV.Apply", true), 5)
		want("other writes have no bound", count(t, l, 200, a, "Catalog.Register", true), 200)
		want("another address has its own", count(t, l, 200, b, "KV.Get", false), 20)
		want("the same address, as IPv4", count(t, l, 200, b.Unmap(), "KV.Get", false), 0)
		want("who has no address", count(t, l, 200, netip.Addr{}, "KV.Get", false), 200)
		time.Sleep(time.Second)
		want("a second later", count(t, l, 200, a, "KV.Get", false), 20)
		l.Entry(&catalog.RequestLimit{Mode: limit.Disabled, ReadRate: 1})
		want("disabled", count(t, l, 200, a, "KV.Get", false), 200)
		l.Entry(&catalog.RequestLimit{Mode: limit.Enforcing, ReadRate: 1})
		l.Entry(nil)
		want("without an entry", count(t, l, 200, a, "KV.Get", false), 200)
	})
}

// TestManySources: a flood of addresses does not fill the memory, and does not free those who are over their rate of it
// as long as others can be forgotten.
func TestManySources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limit.New(slog.New(slog.DiscardHandler))
		l.Entry(&catalog.RequestLimit{Mode: limit.Enforcing, ReadRate: 10})
		addr := netip.MustParseAddr("fd00::1")
		for range 300_000 {
			addr = addr.Next()
			if err := l.Admit(addr, "KV.Get", false); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
	})
}

func BenchmarkAdmit(b *testing.B) {
	for name, set := range map[string]func(l *limit.Limiter){
		"none":   func(*limit.Limiter) {},
		"global": func(l *limit.Limiter) { l.Global(limit.Enforcing, limit.Rates{Read: 1e9, Write: 1e9}) },
		"source": func(l *limit.Limiter) { l.Entry(&catalog.RequestLimit{Mode: limit.Enforcing, ReadRate: 1e9}) },
	} {
		b.Run(name, func(b *testing.B) {
			l := limit.New(slog.New(slog.DiscardHandler))
			set(l)
			b.ReportAllocs()
			for b.Loop() {
				if err := l.Admit(a, "KV.Get", false); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
