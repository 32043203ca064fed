package balance_test

import (
	"strings"
	"testing"
	"time"

	"github.com/curia-mesh/curia/connect/balance"
)

// TestL5D1_Budget: of a thousand requests a second that all fail at most 210 are retried; of one a second, some are.
func TestL5D1_Budget(t *testing.T) {
	b := balance.NewBudget(20, 10)
	now, retries := time.Duration(0), 0
	for range 60_000 {
		now += time.Millisecond
		b.Request(now)
		if b.Retry(now) && now > 20*time.Second {
			retries++
		}
	}
	if perSecond := retries / 40; perSecond < 195 || perSecond > 210 {
		t.Errorf("%d retries a second of a thousand requests", perSecond)
	}
	b = balance.NewBudget(20, 10)
	now, retries = time.Hour, 0
	for range 30 {
		now += time.Second
		b.Request(now)
		for range 3 {
			if b.Retry(now) {
				retries++
			}
		}
	}
	if retries != 90 {
		t.Errorf("%d of 90 retries of one request a second", retries)
	}
	for b.Retry(now) {
	}
	if now += 11 * time.Second; !b.Retry(now) {
		t.Error("what was spent is never given back")
	}
}

func TestENV4_Gates(t *testing.T) {
	l := balance.NewLimits(0, 0, 2, 0)
	for i := range 3 {
		if l.Requests.Enter() != (i < 2) {
			t.Errorf("two may be inside, and number %d", i)
		}
	}
	if l.Requests.Inside() != 2 {
		t.Errorf("%d are inside", l.Requests.Inside())
	}
	l.Requests.Leave()
	if !l.Requests.Enter() {
		t.Error("there is room")
	}
	for range 1024 {
		if !l.Connections.Enter() || !l.Pending.Enter() {
			t.Fatal("1024 may be inside")
		}
	}
	for range 3 {
		if !l.Retries.Enter() {
			t.Fatal("3 may be inside")
		}
	}
	if l.Connections.Enter() || l.Pending.Enter() || l.Retries.Enter() {
		t.Error("more than the defaults")
	}
}

// TestHYS1_Breaker: twenty requests in ten seconds, half of them bad, open it; after five seconds one tries.
func TestHYS1_Breaker(t *testing.T) {
	b := balance.NewBreaker(balance.BreakerPolicy{})
	now := time.Duration(0)
	ask := func(out balance.Outcome) error {
		pass, err := b.Allow(now)
		if err == nil {
			b.Report(now, pass, out)
		}
		return err
	}
	for i := range 19 {
		if err := ask(balance.ServerError); err != nil {
			t.Fatalf("request %d of too few: %v", i, err)
		}
	}
	slow, _ := b.Allow(now) // ends when the breaker is open
	if err := ask(balance.ServerError); err != nil || !b.Open() {
		t.Fatalf("open %v after twenty failures, %v", b.Open(), err)
	}
	now = 4999 * time.Millisecond
	if err := ask(balance.Success); err == nil || !strings.Contains(err.Error(), "open for 1ms more: 20 of 20 requests had failed") {
		t.Errorf("got %v", err)
	}
	now = 5 * time.Second
	pass, err := b.Allow(now)
	if err != nil {
		t.Fatal("nobody may try:", err)
	}
	if err := ask(balance.Success); err == nil || !strings.Contains(err.Error(), "one request tries") {
		t.Errorf("a second one beside the one that tries: %v", err)
	}
	b.Report(now, slow, balance.Success)
	if !b.Open() {
		t.Error("a request of before closed it")
	}
	b.Report(now, pass, balance.Canceled)
	if pass, err = b.Allow(now); err != nil {
		t.Fatal("who tried went away, and nobody may try:", err)
	}
	b.Report(now, pass, balance.LocalError)
	if err := ask(balance.Success); err == nil {
		t.Error("the trial failed, and it is closed")
	}
	now += 5 * time.Second
	if err := ask(balance.Success); err != nil || b.Open() {
		t.Errorf("the trial went well: open %v, %v", b.Open(), err)
	}
	for range 19 {
		if err := ask(balance.ServerError); err != nil {
			t.Fatal("it remembers what was before it opened:", err)
		}
	}
}

// TestL5D5_RateIndependent: a trickle of failures opens it as a burst does, and what is long ago does not count.
func TestL5D5_RateIndependent(t *testing.T) {
	for _, pause := range []time.Duration{0, time.Microsecond, 100 * time.Millisecond} {
		b := balance.NewBreaker(balance.BreakerPolicy{Volume: 40, Percent: 25})
		now, n := time.Duration(0), 0
		for ; !b.Open() && n < 1000; n++ {
			out := balance.Success
			if n%4 == 3 {
				out = balance.ServerError
			}
			pass, _ := b.Allow(now)
			b.Report(now, pass, out)
			now += pause
		}
		if n != 40 {
			t.Errorf("one of four failing every %v: open after %d requests", pause, n)
		}
	}
	b := balance.NewBreaker(balance.BreakerPolicy{Volume: 2})
	b.Report(0, false, balance.ServerError)
	b.Report(10*time.Second, false, balance.ServerError)
	if b.Open() {
		t.Error("failures that are ten seconds apart count together")
	}
}
