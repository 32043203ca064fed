package gossip

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestReplay: somebody on the way keeps the encrypted packets of a user event, of a failure and of a return, and sends them
// again, many times. They are genuine, and no news: no event is told twice, nobody who is there is taken for failed, and
// nobody who has failed for alive.
func TestReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		encrypted := func(c *Config) { c.Keys = []Key{testKey('1')} }
		f, a, b := pair(t, encrypted)
		cc := f.config(t, "c", atC)
		encrypted(&cc)
		c := mustOpen(t, cc)
		mustJoin(t, c, a)
		await(t, b, Joined, "c")
		f.record()
		if err := a.UserEvent("deploy", []byte("v1"), false); err != nil {
			t.Fatal(err)
		}
		for _, p := range []*Pool{a, b, c} {
			await(t, p, User, "deploy")
		}
		time.Sleep(10 * time.Second)
		f.unplug(atC)
		await(t, a, Failed, "c")
		await(t, b, Failed, "c")
		time.Sleep(10 * time.Second)
		if sent := f.replay(20); sent < 1000 {
			t.Errorf("only %d packets were sent again", sent)
		}
		time.Sleep(time.Minute)
		for _, p := range []*Pool{a, b} {
			if err := p.UserEvent("last", nil, false); err != nil {
				t.Fatal(err)
			}
			for _, e := range await(t, p, User, "last") {
				if e.Kind != User || e.User.Name != "last" {
					t.Errorf("%s was told by a replay of %s %s", p.cfg.Name, e.Kind, e.Member.Name)
				}
			}
			for _, m := range p.Members() {
				want := StatusAlive
				if m.Name == "c" {
					want = StatusFailed
				}
				if m.Status != want {
					t.Errorf("%s takes %s for %v", p.cfg.Name, m.Name, m.Status)
				}
			}
		}
		closeAll(t, a, b, c)
	})
}
