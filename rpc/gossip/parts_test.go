package gossip

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestQueueCoalesces(t *testing.T) {
	member := func(kind EventKind, name string, s Status) Event {
		return Event{Kind: kind, Member: Member{Name: name, Status: s}}
	}
	user := func(name string, ltime uint64, coalesce bool) Event {
		return Event{Kind: User, User: &UserEvent{Name: name, LTime: ltime, Coalesce: coalesce}}
	}
	var q queue
	check := func(push []Event, want ...string) {
		t.Helper()
		for _, e := range push {
			q.push(e)
		}
		var got []string
		for e, ok := q.first(); ok; e, ok = q.first() {
			q.pop()
			if e.User != nil {
				got = append(got, e.User.Name+" "+string(rune('0'+e.User.LTime)))
				continue
			}
			got = append(got, string(e.Kind)+" "+e.Member.Name+" "+e.Member.Status.String())
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	check(nil)
	check([]Event{member(Joined, "a", 1), member(Joined, "b", 1), member(Failed, "a", 4)}, "failed a failed", "joined b alive")
	check([]Event{member(Joined, "a", 1), member(Updated, "a", 1)}, "joined a alive")
	check([]Event{member(Updated, "a", 1), member(Left, "a", 3), member(Reaped, "a", 3)}, "reaped a left")
	check([]Event{member(Conflict, "a", 1), member(Updated, "a", 1), member(Conflict, "a", 1)},
		"conflict a alive", "updated a alive", "conflict a alive")
	check([]Event{user("x", 1, true), user("y", 2, false), user("x", 3, true), user("y", 4, false), user("x", 2, true)},
		"x 3", "y 2", "y 4")
	for range 2 * maxConflicts {
		q.push(member(Conflict, "a", 1))
	}
	for i := range maxConflicts {
		if _, ok := q.first(); !ok {
			t.Fatalf("%d conflicts are kept", i)
		}
		q.pop()
	}
	if q.users != 0 || q.conflicts != 0 || len(q.members) != 0 || q.order != nil {
		t.Errorf("an empty queue keeps %+v", q)
	}
	for range 1000 { // one in, one out: it must not grow
		q.push(user("x", 1, false))
		q.push(user("x", 2, false))
		q.pop()
		if q.users > 1 {
			q.pop()
		}
	}
	if cap(q.order) > 512 {
		t.Errorf("queue of %d has room for %d", q.users, cap(q.order))
	}
}

func TestRosterFindsWhatWasLost(t *testing.T) {
	m := func(name string, s Status, tag string) Member {
		return Member{Name: name, Addr: netip.MustParseAddr("10.0.0.1"), Status: s, Tags: map[string]string{"t": tag}}
	}
	var r roster
	for _, name := range []string{"same", "leaving", "tagged", "failed", "left", "gone", "back"} {
		r.told(Joined, m(name, StatusAlive, "1"))
	}
	r.told(Failed, m("back", StatusFailed, "1"))
	truth := []Member{
		m("same", StatusAlive, "1"), m("leaving", StatusLeaving, "1"), m("tagged", StatusAlive, "2"),
		m("failed", StatusFailed, "1"), m("left", StatusLeft, "1"), m("back", StatusAlive, "1"), m("new", StatusAlive, "1"),
	}
	var got []string
	events := r.missing(truth)
	for _, e := range events {
		got = append(got, string(e.Kind)+" "+e.Member.Name)
		r.told(e.Kind, e.Member)
	}
	want := []string{"updated tagged", "failed failed", "left left", "joined back", "joined new", "reaped gone"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if again := r.missing(truth); len(again) != 0 {
		t.Errorf("told twice: %v", again)
	}
}

func TestConflictIsToldOncePerMinute(t *testing.T) {
	var r roster
	addr := netip.MustParseAddr("10.0.0.1")
	r.told(Joined, Member{Name: "a", Addr: addr, Port: 1, Status: StatusAlive})
	rival := Member{Name: "a", Addr: addr, Port: 2, Status: StatusAlive}
	now := time.Now()
	for i, want := range []bool{true, false, false, true} {
		if _, tell := r.conflict(rival, now.Add(time.Duration(i)*20*time.Second)); tell != want {
			t.Errorf("after %ds: %t", i*20, tell)
		}
	}
	for i := range 3 * maxRivals {
		rival.Port = uint16(i)
		r.conflict(rival, now)
	}
	if len(r.rivals) > maxRivals {
		t.Errorf("%d rivals are remembered", len(r.rivals))
	}
	if _, tell := r.conflict(Member{Name: "b"}, now); tell {
		t.Error("conflict about an unknown name")
	}
}

func TestValidateName(t *testing.T) {
	for _, name := range []string{"web-1", "web_1.dc1", "Ä", strings.Repeat("x", MaxNameBytes)} {
		if err := ValidateName(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"", "a b", "a\nalive: x", "a/b", `a"b`, "a'b", "a\x00", "a\u00a0b", "\xff", strings.Repeat("x", MaxNameBytes+1)} {
		if err := ValidateName(name); err == nil {
			t.Errorf("%q is taken", name)
		}
	}
}

func TestValidateConfig(t *testing.T) {
	good := Config{Kind: LAN, Name: "a", Bind: netip.MustParseAddrPort("127.0.0.1:8301")}
	f := func(want string, change func(*Config)) {
		t.Helper()
		c := good
		change(&c)
		err := c.Validate()
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	f("", func(*Config) {})
	f("kind", func(c *Config) { c.Kind = "" })
	f("node_name", func(c *Config) { c.Name = "a b" })
	f("bind_addr", func(c *Config) { c.Bind = netip.AddrPort{} })
	f("advertise_addr", func(c *Config) { c.Bind = netip.MustParseAddrPort("0.0.0.0:8301") })
	f("advertise_addr", func(c *Config) { c.Bind = netip.MustParseAddrPort("[::]:8301") })
	f("", func(c *Config) {
		c.Bind, c.Advertise = netip.MustParseAddrPort("[::]:8301"), netip.MustParseAddrPort("10.0.0.1:0")
	})
	f("zone", func(c *Config) { c.Bind = netip.MustParseAddrPort("[fe80::1%eth0]:8301") })
	f("serf_lan_allowed_cidrs", func(c *Config) { c.Allowed = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} })
	f("", func(c *Config) { c.Allowed = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	f("user event", func(c *Config) { c.UserEventSize = MaxUserEventSize + 1 })
	f("empty encryption key", func(c *Config) { c.Keys = []Key{{}} })
	f("negative", func(c *Config) { c.Timings.PushPullInterval = -1 })
	f("gossip_nodes", func(c *Config) { c.Timings.GossipNodes = -1 })
	f("probe_timeout", func(c *Config) { c.Timings.ProbeTimeout = time.Second })
	f("", func(c *Config) { c.Kind, c.Timings.ProbeTimeout = WAN, time.Second })
}

func TestLibraryLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := newLibraryLog(&out)
		write := func(n int, line string) (lines int) {
			out.Reset()
			for range n {
				if m, err := l.Write([]byte(line)); m != len(line) || err != nil {
					t.Fatal(m, err)
				}
			}
			return strings.Count(out.String(), "\n")
		}
		flood := "[ERR] memberlist: Decrypt packet failed: no installed keys could decrypt the message from=10.0.0.1:1\n"
		if n := write(1000, flood); n != linesPerPeriod || l.undecryptable.Load() != 1000 {
			t.Errorf("%d of 1000 lines, counted %d", n, l.undecryptable.Load())
		}
		if n := write(1, "[WARN] serf: something else\n"); n != 1 {
			t.Error("another line is held back")
		}
		time.Sleep(linePeriod)
		if write(1, flood); !strings.HasSuffix(out.String(), "10.0.0.1:1 (980 more like this were held back)\n") {
			t.Error(out.String())
		}
		write(1, "[WARN] serf: name 'x\n[ERR] forged\x1b[2J'\n")
		if out.String() != "[WARN] serf: name 'x?[ERR] forged?[2J'\n" {
			t.Errorf("%q", out.String())
		}
		for i := range 1000 {
			write(1, "[WARN] serf: "+strings.Repeat("x", i)+"\n")
		}
		if len(l.kinds) > maxLineKinds || out.Len() > maxLineBytes+1 {
			t.Errorf("%d kinds, line of %d", len(l.kinds), out.Len())
		}
		write(1, "\n")
	})
}

func TestResolve(t *testing.T) {
	p := &Pool{self: netip.MustParseAddrPort("10.0.0.1:8301")}
	f := func(addr, want string) {
		t.Helper()
		got, err := p.resolve(t.Context(), addr)
		if strings.Join(got, " ") != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q %v, want %q", addr, got, err, want)
		}
	}
	f("10.0.0.2", "10.0.0.2:8301")
	f("10.0.0.2:1", "10.0.0.2:1")
	f("node.dc2/10.0.0.2:1", "node.dc2/10.0.0.2:1")
	f("::1", "[::1]:8301")
	f("[::1]", "[::1]:8301")
	f("[::1]:1", "[::1]:1")
	f("::ffff:10.0.0.2", "10.0.0.2:8301")
	for _, bad := range []string{"", ":8301", "10.0.0.2:0", "10.0.0.2:70000", "10.0.0.2:x", "/10.0.0.2", "a b/10.0.0.2",
		"http://10.0.0.2", "fe80::1%eth0", "[fe80::1%eth0]:1", "1:2:3"} {
		f(bad, "")
	}
}
