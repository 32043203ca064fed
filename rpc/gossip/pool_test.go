package gossip

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/serf/serf"
)

const (
	atA = "10.0.0.1:8301"
	atB = "10.0.0.2:8301"
	atC = "10.0.0.3:8301"
)

// pair are two pools that know each other. Leaving the bubble also checks that everything they started ends.
func pair(t *testing.T, change ...func(*Config)) (f *fabric, a, b *Pool) {
	t.Helper()
	f = &fabric{}
	ca, cb := f.config(t, "a", atA), f.config(t, "b", atB)
	for _, c := range change {
		c(&ca)
		c(&cb)
	}
	a, b = mustOpen(t, ca), mustOpen(t, cb)
	mustJoin(t, b, a)
	await(t, a, Joined, "b")
	await(t, b, Joined, "a")
	return f, a, b
}

func TestMemberIsAsRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fabric{}
		c := f.config(t, "a", atA)
		c.Tags = map[string]string{"role": "consul"}
		a := mustOpen(t, c)
		if e := last(await(t, a, Joined, "a")); !reflect.DeepEqual(e.Member, a.LocalMember()) {
			t.Errorf("joined as %+v, is %+v", e.Member, a.LocalMember())
		}
		got, err := json.Marshal(a.Members())
		want := `[{"Name":"a","Addr":"10.0.0.1","Port":8301,"Tags":{"role":"consul"},"Status":1,` +
			`"ProtocolMin":1,"ProtocolMax":5,"ProtocolCur":2,"DelegateMin":2,"DelegateMax":5,"DelegateCur":4}]`
		if string(got) != want || err != nil {
			t.Errorf("members %s %v, want %s", got, err, want)
		}
		closeAll(t, a)
		if _, open := <-a.Events(); open {
			t.Error("events go on after Close")
		}
	})
}

// The pools differ in patience only: a WAN pool takes longer to call a node failed.
func TestPatience(t *testing.T) {
	took := map[Kind]time.Duration{}
	for _, kind := range []Kind{LAN, WAN} {
		synctest.Test(t, func(t *testing.T) {
			f, a, b := pair(t, func(c *Config) { c.Kind = kind })
			f.unplug(atB)
			start := time.Now()
			await(t, a, Failed, "b")
			took[kind] = time.Since(start)
			closeAll(t, a, b)
		})
	}
	if took[LAN] > 10*time.Second || took[WAN] < 30*time.Second || took[WAN] > time.Minute {
		t.Errorf("failure found after %v", took)
	}
}

func TestFailedLeftPruned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, a, b := pair(t)
		f.unplug(atB)
		if m := last(await(t, a, Failed, "b")).Member; m.Status != StatusFailed {
			t.Errorf("failed with status %s", m.Status)
		}
		if err := a.ForceLeave("b", false); err != nil {
			t.Fatal(err)
		}
		if m := last(await(t, a, Left, "b")).Member; m.Status != StatusLeft {
			t.Errorf("left with status %s", m.Status)
		}
		if err := a.ForceLeave("b", true); err != nil {
			t.Fatal(err)
		}
		await(t, a, Reaped, "b")
		if n := len(a.Members()); n != 1 {
			t.Errorf("%d members after prune", n)
		}
		for _, prune := range []bool{false, true} {
			if err := a.ForceLeave("b", prune); err == nil || !strings.Contains(err.Error(), `"b"`) {
				t.Errorf("force-leave of an unknown node, prune %t: %v", prune, err)
			}
		}
		closeAll(t, a, b)
	})
}

func TestLeaveIsNotFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(t, func(c *Config) { c.Timings.LeavePropagateDelay = 10 * time.Second })
		start := time.Now()
		if err := b.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d < 10*time.Second || d > 13*time.Second {
			t.Errorf("leave took %s, the news were to have 10s to spread", d)
		}
		closeAll(t, b)
		for _, e := range await(t, a, Left, "b") {
			if e.Kind == Failed {
				t.Errorf("failed first: %+v", e)
			}
		}
		start = time.Now()
		if err := a.Leave(t.Context()); err != nil || time.Since(start) > 0 {
			t.Errorf("leaving nobody behind took %s, %v", time.Since(start), err)
		}
		if _, err := a.Join(t.Context(), []string{atB}); err == nil {
			t.Error("joined after leaving")
		}
		closeAll(t, a)
		_, join := a.Join(t.Context(), []string{atB})
		for i, err := range []error{
			a.Leave(t.Context()), a.UserEvent("x", nil, false), a.SetTags(nil), a.ForceLeave("a", true), join,
		} {
			if err == nil || !strings.Contains(err.Error(), "gossip lan") {
				t.Errorf("%d: a closed pool does it: %v", i, err)
			}
		}
	})
}

func TestCloseDuringLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(t, func(c *Config) { c.Timings.LeavePropagateDelay = time.Hour })
		go b.Leave(t.Context())
		synctest.Wait()
		start := time.Now()
		if err := b.Close(); err != nil || time.Since(start) > 10*time.Second {
			t.Errorf("close took %s, %v", time.Since(start), err)
		}
		await(t, a, Left, "b")
		closeAll(t, a, b)
	})
}

func TestRunEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := a.Run(ctx); err != nil {
			t.Error(err)
		}
		await(t, b, Failed, "a")
		closeAll(t, b)
		if err := b.Run(t.Context()); err != nil {
			t.Error("Run of a closed pool", err)
		}
	})
}

func TestUserEventArrivesOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, a, b := pair(t)
		for _, name := range []string{"deploy", "last"} {
			if err := a.UserEvent(name, []byte("v1"), false); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute) // with two exchanges of state, which repeat it
		}
		for _, p := range []*Pool{a, b} {
			n := 0
			for _, e := range await(t, p, User, "last") {
				if e.User != nil && e.User.Name == "deploy" {
					n++
					if string(e.User.Payload) != "v1" || e.User.LTime == 0 {
						t.Errorf("got %+v", e.User)
					}
				}
			}
			if n != 1 {
				t.Errorf("%s: arrived %d times", p.cfg.Name, n)
			}
		}
		late := mustOpen(t, f.config(t, "late", atC))
		mustJoin(t, late, a)
		if err := a.UserEvent("new", nil, false); err != nil {
			t.Fatal(err)
		}
		for _, e := range await(t, late, User, "new") {
			if e.User != nil && e.User.Name != "new" {
				t.Errorf("told of %s, which was before it joined", e.User.Name)
			}
		}
		if err := a.UserEvent("big", make([]byte, DefaultUserEventSize), false); err == nil {
			t.Error("an event over the limit is sent")
		}
		if err := a.UserEvent("big", make([]byte, DefaultUserEventSize-3), false); err != nil {
			t.Error("an event at the limit:", err)
		}
		if err := a.UserEvent("", nil, false); err == nil {
			t.Error("an event without name is sent")
		}
		closeAll(t, a, b, late)
	})
}

func TestTags(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(t)
		tags := map[string]string{"dc": "dc1"}
		if err := b.SetTags(tags); err != nil {
			t.Fatal(err)
		}
		tags["dc"] = "changed by the caller"
		if m := last(await(t, a, Updated, "b")).Member; !maps.Equal(m.Tags, map[string]string{"dc": "dc1"}) {
			t.Errorf("tags %v", m.Tags)
		}
		if err := b.SetTags(map[string]string{"dc": strings.Repeat("x", MaxTagBytes)}); err == nil {
			t.Error("tags over the limit are set")
		}
		closeAll(t, a, b)
	})
}

func TestNameConflictNamesBoth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, a, b := pair(t)
		second := mustOpen(t, f.config(t, "b", atC))
		mustJoin(t, second, a)
		e := last(await(t, a, Conflict, "b"))
		if e.Member.AddrPort().String() != atB || e.Rival.String() != atC {
			t.Errorf("conflict of %s and %s", e.Member.AddrPort(), e.Rival)
		}
		// The second one learns it too: he himself has the name, somebody else uses it.
		e = last(await(t, second, Conflict, "b"))
		if e.Member.AddrPort().String() != atC || e.Rival.String() != atB {
			t.Errorf("conflict of %s and %s", e.Member.AddrPort(), e.Rival)
		}
		time.Sleep(time.Minute) // nobody votes anybody out
		mustJoin(t, second, a)
		mustJoin(t, b, a)
		closeAll(t, a, b, second)
	})
}

func TestAddressOfFailedNameIsReclaimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, a, b := pair(t, func(c *Config) { c.Timings.ReclaimAfter = time.Second })
		closeAll(t, b)
		await(t, a, Failed, "b")
		time.Sleep(2 * time.Second)
		again := mustOpen(t, f.config(t, "b", atC))
		start := time.Now()
		mustJoin(t, again, a)
		for _, e := range await(t, a, Joined, "b") {
			if e.Kind == Conflict {
				t.Errorf("conflict with a failed node: %+v", e)
			}
		}
		if d := time.Since(start); d > time.Second {
			t.Errorf("joined after %s", d)
		}
		if m := a.Members()[1]; m.AddrPort().String() != atC || m.Status != StatusAlive {
			t.Errorf("%+v", m)
		}
		closeAll(t, a, again)
	})
}

func TestReapAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(t, func(c *Config) {
			c.ReapAfter = func(m Member, d time.Duration) time.Duration {
				if m.Name != "b" || d != 72*time.Hour {
					t.Errorf("asked about %s, %s", m.Name, d)
				}
				return 5 * time.Minute
			}
		})
		closeAll(t, b)
		await(t, a, Failed, "b")
		failed := time.Now()
		time.Sleep(5 * time.Minute)
		await(t, a, Reaped, "b")
		if d := time.Since(failed); d > 5*time.Minute+20*time.Second {
			t.Errorf("reaped after %s", d)
		}
		closeAll(t, a)
	})
}

func TestAdmit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fabric{}
		ca, cb := f.config(t, "a", atA), f.config(t, "b", atB)
		cb.Tags = map[string]string{"dc": "dc2"}
		ca.Admit = func(m Member) error {
			if m.Name == "a" {
				t.Error("asked about itself")
			}
			if m.Tags["dc"] == "dc2" {
				return errors.New("is of dc2")
			}
			return nil
		}
		a, b := mustOpen(t, ca), mustOpen(t, cb)
		if _, err := a.Join(t.Context(), []string{atB}); err == nil || !strings.Contains(err.Error(), "member b at "+atB+": is of dc2") {
			t.Errorf("joined: %v", err)
		}
		time.Sleep(2 * time.Minute) // b has heard of a and talks to him
		if n := len(a.Members()); n != 1 {
			t.Errorf("%d members", n)
		}
		closeAll(t, a, b)
	})
}

// Whoever carries the news, a member with an address outside the allowed networks is none.
func TestAllowedMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fabric{}
		ca := f.config(t, "a", atA)
		ca.Allowed = []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")}
		a, b := mustOpen(t, ca), mustOpen(t, f.config(t, "b", atB))
		mustJoin(t, b, a)
		time.Sleep(time.Minute)
		if n := len(a.Members()); n != 1 {
			t.Errorf("%d members", n)
		}
		closeAll(t, a, b)
	})
}

// After a burst, in which serf may lose events, the pump finds the truth by itself.
func TestTruthAfterBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(t)
		for i := range burst {
			a.raw <- serf.MemberEvent{Type: serf.EventMemberJoin, Members: []serf.Member{{Name: fmt.Sprint("ghost", i)}}}
		}
		a.raw <- serf.MemberEvent{Type: serf.EventMemberFailed, Members: []serf.Member{{Name: "b"}}}
		time.Sleep(time.Second)
		if e := last(await(t, a, Reaped, "ghost0")); e.Kind != Reaped {
			t.Error(e)
		}
		await(t, a, Joined, "b")
		closeAll(t, a, b)
	})
}

// TestEventsWhileSerfIsBusy holds the lock of serf's members, as serf does while it sends an event to a pump that is behind:
// were the pump to wait for that lock, none of the two would ever go on.
func TestEventsWhileSerfIsBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		held, release := make(chan struct{}), make(chan struct{})
		var once sync.Once
		_, a, b := pair(t, func(c *Config) {
			c.ReapAfter = func(Member, time.Duration) time.Duration {
				once.Do(func() {
					close(held)
					<-release
				})
				return time.Hour
			}
		})
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		<-held
		join := func(name string) {
			a.raw <- serf.MemberEvent{Type: serf.EventMemberJoin, Members: []serf.Member{{Name: name}}}
		}
		for i := range burst {
			join(fmt.Sprint("ghost", i))
		}
		await(t, a, Joined, fmt.Sprint("ghost", burst-1))
		<-time.After(burstQuiet) // the comparison has begun, and waits
		join("late")
		await(t, a, Joined, "late")
		close(release)
		await(t, a, Reaped, "late")
		closeAll(t, a)
	})
}

func TestCoordinates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(t)
		time.Sleep(time.Minute)
		theirs, ok := a.CoordinateOf("b")
		rtt, usable := RoundTrip(a.Coordinate(), theirs)
		if own, _ := a.CoordinateOf("a"); !ok || !usable || own == nil || rtt < 0 || len(own.Vec) != Dimensions {
			t.Errorf("%v %v %v %v", theirs, own, rtt, usable)
		}
		if _, ok := a.CoordinateOf("nobody"); ok {
			t.Error("nobody has a coordinate")
		}
		if _, ok := RoundTrip(theirs, &Coordinate{Vec: []float64{0}}); ok {
			t.Error("a distance between different spaces")
		}
		closeAll(t, a, b)
	})
}

func TestNoCoordinates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(t, func(c *Config) { c.NoCoordinates = true })
		time.Sleep(time.Minute)
		_, ok := a.CoordinateOf("b")
		if a.Coordinate() != nil || ok {
			t.Error("coordinates though turned off")
		}
		closeAll(t, a, b)
	})
}

func TestSnapshotRejoin(t *testing.T) {
	for _, left := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			dir := t.TempDir()
			f, a, b := pair(t, func(c *Config) { c.SnapshotFile = filepath.Join(dir, c.Name, "local.snapshot") })
			if left {
				if err := b.Leave(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			closeAll(t, b)
			c := f.config(t, "b", atB)
			c.SnapshotFile = b.cfg.SnapshotFile
			again := mustOpen(t, c)
			time.Sleep(10 * time.Second)
			if n := len(again.Members()); n != map[bool]int{false: 2, true: 1}[left] {
				t.Errorf("left %t: %d members after the restart", left, n)
			}
			closeAll(t, a, again)
		})
	}
}

// A node that was alone has nobody to look for after a restart and does not complain about it; a line that a crash cut
// off and a compaction that it interrupted do no harm.
func TestSnapshotAfterCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "local.snapshot")
		f := &fabric{}
		open := func() (*Pool, *strings.Builder) {
			log := &strings.Builder{}
			c := f.config(t, "b", atB)
			c.SnapshotFile, c.LibraryLog = path, log
			return mustOpen(t, c), log
		}
		b, _ := open()
		closeAll(t, b)
		b, log := open()
		closeAll(t, b)
		if strings.Contains(log.String(), "join any") {
			t.Error(log)
		}

		a := mustOpen(t, f.config(t, "a", atA))
		if err := os.WriteFile(path+".compact", []byte("alive: a "+atA+"\nalive: x 10.9.9.9:83"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		b, _ = open()
		await(t, b, Joined, "a")
		closeAll(t, a, b)

		if err := os.Truncate(path, maxSnapshotBytes+1); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(b.cfg); err == nil || !strings.Contains(err.Error(), path) {
			t.Error(err)
		}
	})
}

func TestSlowReaderGetsTheLastWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, a, b := pair(t)
		for range 3 { // unread by a: failed, joined, failed, joined ...
			closeAll(t, b)
			time.Sleep(2 * time.Minute)
			b = mustOpen(t, f.config(t, "b", atB))
			mustJoin(t, b, a)
		}
		for i := range 2 * maxUserEvents {
			if err := b.UserEvent("tick", []byte{byte(i), byte(i >> 8)}, false); err != nil {
				t.Fatal(err)
			}
			if err := b.UserEvent("state", []byte{byte(i)}, true); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		closeAll(t, b)
		time.Sleep(2 * time.Minute)
		events := await(t, a, Failed, "b")
		if len(events) != 1 {
			t.Errorf("%d events before the last word on b: %v", len(events), events)
		}
		if a.Stats()["user_events_lost"] == "0" {
			t.Error("no user event was lost")
		}
		closeAll(t, a)
	})
}
