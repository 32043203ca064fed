package balance_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/curia-mesh/curia/connect/balance"
)

// members are n of weight 1, called e0, e1 and so on.
func members(n int) []balance.Member {
	var all []balance.Member
	for i := range n {
		all = append(all, balance.Member{Key: fmt.Sprintf("e%d", i)})
	}
	return all
}

func pool(p balance.Policy, members []balance.Member) *balance.Pool {
	b := balance.New("web", p, 0, nil)
	b.Update(members, 0)
	return b
}

// must picks where there is something to pick.
func must(t testing.TB, p *balance.Pool, now time.Duration, hash uint64, avoid ...*balance.Endpoint) *balance.Endpoint {
	t.Helper()
	e, err := p.Pick(now, hash, avoid...)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// answer makes one request and returns who answered.
func answer(t testing.TB, p *balance.Pool, now, latency time.Duration, out balance.Outcome) *balance.Endpoint {
	t.Helper()
	e := must(t, p, now, 0)
	e.Begin()
	p.Done(e, now, latency, out)
	return e
}

// fail lets one endpoint fail n times.
func fail(p *balance.Pool, e *balance.Endpoint, now time.Duration, n int, out balance.Outcome) {
	for range n {
		e.Begin()
		p.Done(e, now, time.Millisecond, out)
	}
}

// shares picks n times and returns each key's share.
func shares(t testing.TB, p *balance.Pool, n int, now time.Duration) map[string]float64 {
	t.Helper()
	got := map[string]float64{}
	for range n {
		got[must(t, p, now, 0).Key()] += 1 / float64(n)
	}
	return got
}

// endpoint finds one by its key.
func endpoint(t testing.TB, p *balance.Pool, now time.Duration, key string) *balance.Endpoint {
	t.Helper()
	for range 100_000 {
		if e := must(t, p, now, 0); e.Key() == key {
			return e
		}
	}
	t.Fatalf("%s is never picked", key)
	return nil
}

// TestShares: without load every method shares out by weight.
func TestShares(t *testing.T) {
	all := []balance.Member{{Key: "a", Weight: 1}, {Key: "b", Weight: 2}, {Key: "c", Weight: 5}}
	for _, m := range []balance.Method{balance.PeakEWMA, balance.LeastRequest, balance.RoundRobin, balance.Random, balance.RingHash, balance.Maglev} {
		for n, equal := range map[int][]balance.Member{8: all, 4: members(4)} {
			got := shares(t, pool(balance.Policy{Method: m, MinRing: 1 << 14}, equal), 40_000, 0)
			for _, e := range equal {
				want := float64(max(e.Weight, 1)) / float64(n)
				if math.Abs(got[e.Key]-want) > 0.03 {
					t.Errorf("method %d: %s got %.3f of the requests, want %.3f", m, e.Key, got[e.Key], want)
				}
			}
		}
	}
}

func TestRoundRobinIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var all []balance.Member
		sum := 0
		for i, w := range rapid.SliceOfN(rapid.Uint32Range(1, 40), 1, 12).Draw(t, "weights") {
			all = append(all, balance.Member{Key: fmt.Sprint(i), Weight: w})
			sum += int(w)
		}
		p := balance.New("web", balance.Policy{Method: balance.RoundRobin}, 0, nil)
		p.Update(all, 0)
		got := map[string]int{}
		for range 3 * sum {
			e, err := p.Pick(0, 0)
			if err != nil {
				t.Fatal(err)
			}
			got[e.Key()]++
		}
		for _, m := range all {
			if got[m.Key] != 3*int(m.Weight) {
				t.Fatalf("weight %d was picked %d times in three rounds of %d", m.Weight, got[m.Key], sum)
			}
		}
	})
}

// loop is a closed loop of clients on endpoints of known latencies, in simulated time, and returns each one's share.
func loop(t testing.TB, p *balance.Pool, clients int, span time.Duration, serve func(key string, now time.Duration) (time.Duration, balance.Outcome)) map[string]float64 {
	type request struct {
		e          *balance.Endpoint
		begun, end time.Duration
		out        balance.Outcome
	}
	var now time.Duration
	under := make([]request, clients)
	got, n := map[string]float64{}, 0.0
	begin := func(i int) {
		e := must(t, p, now, 0)
		e.Begin()
		took, out := serve(e.Key(), now)
		under[i] = request{e: e, begun: now, end: now + took, out: out}
		got[e.Key()]++
		n++
	}
	for i := range under {
		begin(i)
	}
	for now < span {
		first := 0
		for i := range under {
			if under[i].end < under[first].end {
				first = i
			}
		}
		r := under[first]
		now = r.end
		p.Done(r.e, now, r.end-r.begun, r.out)
		begin(first)
	}
	for key := range got {
		got[key] /= n
	}
	return got
}

// TestPeakEWMA: a slow replica of ten gets well below 5 % of the traffic, and comes back when it is well again.
func TestPeakEWMA(t *testing.T) {
	p := pool(balance.Policy{}, members(10))
	slow := true
	serve := func(key string, _ time.Duration) (time.Duration, balance.Outcome) {
		if key == "e3" && slow {
			return 500 * time.Millisecond, balance.Success
		}
		return 5 * time.Millisecond, balance.Success
	}
	if got := loop(t, p, 20, 60*time.Second, serve); got["e3"] > 0.02 {
		t.Errorf("the slow one got %.3f of the requests", got["e3"])
	}
	slow = false
	p = pool(balance.Policy{}, members(10))
	if got := loop(t, p, 20, 60*time.Second, serve); got["e3"] < 0.07 {
		t.Errorf("one that is as quick as the others got %.3f of the requests", got["e3"])
	}
}

// TestLimitedDoesNotAttract: who answers 429 at once is quick, and must lose its share for it.
func TestLimitedDoesNotAttract(t *testing.T) {
	for _, out := range []balance.Outcome{balance.Limited, balance.ServerError} {
		p := pool(balance.Policy{Outliers: balance.Outliers{Disabled: true}}, members(4))
		got := loop(t, p, 8, 30*time.Second, func(key string, _ time.Duration) (time.Duration, balance.Outcome) {
			if key == "e0" {
				return 100 * time.Microsecond, out
			}
			return 10 * time.Millisecond, balance.Success
		})
		if got["e0"] > 0.05 {
			t.Errorf("outcome %d: the one that refuses got %.3f of the requests", out, got["e0"])
		}
	}
}

// TestRefusedIsLeftAlone: who is gone is not asked again while others have so much to do that a failure would look cheap.
func TestRefusedIsLeftAlone(t *testing.T) {
	p := pool(balance.Policy{Outliers: balance.Outliers{Consecutive: 1000, ConsecutiveLocal: 1000}}, members(3))
	asked := 0
	loop(t, p, 60, 3*time.Second, func(key string, now time.Duration) (time.Duration, balance.Outcome) {
		if key != "e0" {
			return 200 * time.Millisecond, balance.Success
		}
		if now > time.Second {
			asked++
		}
		return 100 * time.Microsecond, balance.Refused
	})
	if asked > 0 {
		t.Errorf("after a second it was asked %d times more", asked)
	}
}

func TestLeastRequest(t *testing.T) {
	p := pool(balance.Policy{Method: balance.LeastRequest, Choices: 10}, members(3))
	busy := endpoint(t, p, 0, "e1")
	for range 10 {
		busy.Begin()
	}
	if got := shares(t, p, 2000, 0); got["e1"] > 0.1 {
		t.Errorf("the busiest got %.3f", got["e1"])
	}
}

func TestSlowStart(t *testing.T) {
	for _, m := range []balance.Method{balance.PeakEWMA, balance.LeastRequest, balance.RoundRobin, balance.Random} {
		p := pool(balance.Policy{Method: m, SlowStart: 10 * time.Second}, members(4))
		if got := shares(t, p, 20_000, 0); math.Abs(got["e0"]-0.25) > 0.03 {
			t.Errorf("method %d: those that the pool begins with are not new, got %v", m, got)
		}
		now := time.Minute
		p.Update(members(5), now)
		for _, c := range []struct{ age, least, most time.Duration }{{0, 5, 80}, {5 * time.Second, 70, 160}, {10 * time.Second, 170, 230}} {
			if got := shares(t, p, 20_000, now+c.age)["e4"]; got < float64(c.least)/1000 || got > float64(c.most)/1000 {
				t.Errorf("method %d: one that is %v old got %.3f of the requests", m, c.age, got)
			}
		}
	}
}

// TestHashStays: a hash goes to one endpoint whatever the order of the members, and only those move that were with one
// that is gone.
func TestHashStays(t *testing.T) {
	for _, m := range []balance.Method{balance.RingHash, balance.Maglev} {
		all := members(10)
		p := pool(balance.Policy{Method: m}, all)
		turned := slices.Clone(all)
		slices.Reverse(turned)
		same := pool(balance.Policy{Method: m}, turned)
		fewer := pool(balance.Policy{Method: m}, all[:9])
		moved, total := 0, 20_000
		for i := range total {
			h := balance.Hash(fmt.Sprint("user-", i))
			e := must(t, p, 0, h)
			if again := must(t, same, 0, h); again.Key() != e.Key() {
				t.Fatalf("method %d: %s and %s for one hash", m, e.Key(), again.Key())
			}
			if now := must(t, fewer, 0, h); e.Key() != "e9" && now.Key() != e.Key() {
				moved++
			}
		}
		// The ring moves none, Maglev a few.
		if most := map[balance.Method]int{balance.RingHash: 0, balance.Maglev: total / 20}[m]; moved > most {
			t.Errorf("method %d: %d of %d hashes moved without need", m, moved, total)
		}
	}
}

// TestAvoid: a retry does not go where the request has failed, as long as there is another one.
func TestAvoid(t *testing.T) {
	for m := balance.PeakEWMA; m <= balance.Maglev; m++ {
		p := pool(balance.Policy{Method: m}, members(3))
		for i := range 200 {
			h := balance.Hash(fmt.Sprint(i))
			a := must(t, p, 0, h)
			b := must(t, p, 0, h, a)
			c := must(t, p, 0, h, a, b)
			if a == b || a == c || b == c {
				t.Fatalf("method %d: %s, %s, %s", m, a.Key(), b.Key(), c.Key())
			}
			must(t, p, 0, h, a, b, c) // better one of these than none
		}
	}
}

// TestResting: who is out of service is there for those who have failed everywhere else, but not who is unhealthy.
func TestResting(t *testing.T) {
	p := pool(balance.Policy{}, append(members(3), balance.Member{Key: "ill", Unhealthy: true}))
	a := endpoint(t, p, 0, "e0")
	if e := p.Resting(); e != nil {
		t.Errorf("%s rests", e.Key())
	}
	fail(p, a, 0, 5, balance.LocalError)
	if e := p.Resting(); e != a {
		t.Errorf("got %v", e)
	}
	if e := p.Resting(a); e != nil {
		t.Errorf("%s is to be avoided", e.Key())
	}
}

// TestSilent: who does not answer gets traffic only when nobody else is left, whatever it is judged by, and is as before when it
// answers again.
func TestSilent(t *testing.T) {
	all := members(2)
	p := pool(balance.Policy{Outliers: balance.Outliers{Disabled: true}}, all)
	tell := func(silent ...bool) {
		all = slices.Clone(all)
		for i := range all {
			all[i].Silent = silent[i]
		}
		p.Update(all, 0)
	}
	first := endpoint(t, p, 0, "e0")
	tell(true, false)
	if got := shares(t, p, 1000, 0); len(got) != 1 || got["e1"] == 0 {
		t.Errorf("%v", got)
	}
	if s := p.Status(0).Endpoints[0]; s.State != "silent" {
		t.Errorf("%+v", s)
	}
	tell(true, true)
	if ready, some := p.Ready(0); ready || !some {
		t.Errorf("with nobody left: %t, %t", ready, some)
	}
	tell(false, false)
	if got := endpoint(t, p, 0, "e0"); got != first {
		t.Error("it begins anew")
	}
}

// TestLevels: traffic stays near as long as what is near can bear it, and what cannot be borne goes further.
func TestLevels(t *testing.T) {
	near := func(unhealthy int) []balance.Member {
		all := members(20)
		for i := range all {
			all[i].Level = uint8(i / 10)
			all[i].Unhealthy = i < unhealthy
		}
		return all
	}
	f := func(unhealthy int, want float64) {
		t.Helper()
		got := 0.0
		for key, share := range shares(t, pool(balance.Policy{}, near(unhealthy)), 20_000, 0) {
			if len(key) == 2 {
				got += share
			}
		}
		if math.Abs(got-want) > 0.02 {
			t.Errorf("with %d of 10 near ones unhealthy, %.3f stays near, want %.3f", unhealthy, got, want)
		}
	}
	f(0, 1)
	f(2, 1) // 1.4 times 80 % is more than all
	f(5, 0.7)
	f(9, 0.14)
	f(10, 0)
	for _, c := range []struct {
		want                                   uint8
		region, zone, memberRegion, memberZone string
	}{{0, "", "", "eu", "a"}, {0, "eu", "a", "eu", "a"}, {1, "eu", "a", "eu", "b"}, {2, "eu", "a", "us", "a"}, {0, "eu", "", "eu", "b"}, {2, "eu", "a", "", ""}} {
		if got := balance.Level(c.region, c.zone, c.memberRegion, c.memberZone); got != c.want {
			t.Errorf("%+v: level %d", c, got)
		}
	}
}

// TestENV1_Ejection: the fifth failure in a row takes an endpoint out for 30 s, the next time for 60 s; what is not in a
// row counts anew; at most a tenth of the endpoints are out, and one always may.
func TestENV1_Ejection(t *testing.T) {
	var events []balance.Event
	p := balance.New("web", balance.Policy{}, 0, func(e balance.Event) { events = append(events, e) })
	p.Update(members(5), 0)
	bad := endpoint(t, p, 0, "e2")
	fail(p, bad, 0, 4, balance.ServerError)
	fail(p, bad, 0, 1, balance.Success)
	fail(p, bad, 0, 4, balance.ServerError)
	fail(p, bad, 0, 3, balance.Canceled)
	if len(events) != 0 {
		t.Fatalf("four failures in a row: %v", events)
	}
	fail(p, bad, 0, 1, balance.GatewayError)
	want := balance.Event{Kind: balance.Ejected, Key: "e2", Reason: "5 failures in a row", For: 30 * time.Second}
	if !slices.Equal(events, []balance.Event{want}) {
		t.Fatalf("got %+v", events)
	}
	if got := shares(t, p, 1000, 29*time.Second); got["e2"] != 0 {
		t.Error("it is picked while it is out")
	}
	fail(p, endpoint(t, p, 0, "e0"), 0, 50, balance.LocalError)
	if len(events) != 1 {
		t.Errorf("a second of five was taken out: %+v", events)
	}
	now := 30 * time.Second
	if got := shares(t, p, 2000, now); got["e2"] == 0 {
		t.Error("it does not come back")
	}
	fail(p, bad, now, 4, balance.ServerError) // the count began anew
	fail(p, bad, now, 1, balance.ServerError)
	if last := events[len(events)-1]; len(events) != 3 || events[1].Kind != balance.Returned || last.For != 60*time.Second {
		t.Errorf("the second time: %+v", events)
	}
	// After intervals in which it did well it is out for a shorter time again.
	now += 60 * time.Second
	for range 5 {
		answer(t, p, now, time.Millisecond, balance.Success)
		now += 10 * time.Second
	}
	bad = endpoint(t, p, now, "e2")
	fail(p, bad, now, 5, balance.ServerError)
	if last := events[len(events)-1]; last.Kind != balance.Ejected || last.For != 30*time.Second {
		t.Errorf("after a good while: %+v", last)
	}
}

// TestEjectionsAreBounded: whatever happens, no more are out than may be, each comes back in time, and nothing is
// picked that is out while the pool does not panic.
func TestEjectionsAreBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 30).Draw(t, "endpoints")
		percent := rapid.IntRange(1, 100).Draw(t, "percent")
		p := balance.New("web", balance.Policy{Outliers: balance.Outliers{MaxPercent: percent}}, 0, nil)
		p.Update(members(n), 0)
		now := time.Duration(0)
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			now += time.Duration(rapid.IntRange(0, 5000).Draw(t, "ms")) * time.Millisecond
			e, err := p.Pick(now, 0)
			if err != nil {
				t.Fatal(err)
			}
			st := p.Status(now)
			out := 0
			for _, s := range st.Endpoints {
				if s.State == "ejected" {
					out++
					if s.Key == e.Key() && !st.Panics {
						t.Fatalf("%s is out and was picked", s.Key)
					}
					if s.Left > 300*time.Second {
						t.Fatalf("%s is out for %v", s.Key, s.Left)
					}
				}
			}
			if most := max(1, n*percent/100); out > most || n == 1 && out > 0 {
				t.Fatalf("%d of %d are out, with %d %% at most", out, n, percent)
			}
			outcome := rapid.SampledFrom([]balance.Outcome{balance.Success, balance.ServerError, balance.LocalError}).Draw(t, "outcome")
			for range rapid.IntRange(1, 8).Draw(t, "times") {
				e.Begin()
				p.Done(e, now, time.Millisecond, outcome)
			}
			if e.Active() != 0 {
				t.Fatalf("%d requests are under way", e.Active())
			}
		}
	})
}

// TestENV2_Detectors: gateway errors, failed connections and rates each have their own count.
func TestENV2_Detectors(t *testing.T) {
	f := func(o balance.Outliers, why string, act func(p *balance.Pool, e *balance.Endpoint)) {
		t.Helper()
		var events []balance.Event
		p := balance.New("web", balance.Policy{Outliers: o}, 0, func(e balance.Event) { events = append(events, e) })
		p.Update(members(10), 0)
		act(p, endpoint(t, p, 0, "e4"))
		_, _ = p.Pick(10*time.Second, 0) // rates are compared
		if why == "" && len(events) > 0 || why != "" && (len(events) != 1 || events[0].Key != "e4" || events[0].Reason != why) {
			t.Errorf("want %q, got %+v", why, events)
		}
	}
	times := func(n int, outs ...balance.Outcome) func(*balance.Pool, *balance.Endpoint) {
		return func(p *balance.Pool, e *balance.Endpoint) {
			for range n {
				for _, out := range outs {
					fail(p, e, 0, 1, out)
				}
			}
		}
	}
	only := balance.Outliers{Enforce: -1}
	f(only, "", times(20, balance.ServerError))
	gateway := only
	gateway.EnforceGateway, gateway.ConsecutiveGateway = 100, 3
	f(gateway, "3 gateway errors in a row", times(3, balance.GatewayError))
	f(gateway, "", times(10, balance.GatewayError, balance.ServerError))
	local := only
	local.EnforceLocal, local.ConsecutiveLocal = 100, 3
	f(local, "3 failed connections in a row", times(3, balance.LocalError))
	f(local, "", times(10, balance.LocalError, balance.GatewayError))

	rates := func(bad int) func(*balance.Pool, *balance.Endpoint) {
		return func(p *balance.Pool, e *balance.Endpoint) {
			for i := range 10 {
				other := endpoint(t, p, 0, fmt.Sprintf("e%d", i))
				failures := 1
				if other == e {
					failures = bad
				}
				for n := range 200 {
					if out := balance.Success; n%5 == 0 && n/5 < failures {
						out = balance.ServerError
						fail(p, other, 0, 1, out)
					} else {
						fail(p, other, 0, 1, out)
					}
				}
			}
		}
	}
	f(balance.Outliers{}, "80.0 % of its requests succeeded, of all 97.6 %", rates(40))
	f(balance.Outliers{Deviations: -1}, "", rates(40))
	f(balance.Outliers{Deviations: -1, FailurePercent: 20}, "20.0 % of its requests failed", rates(40))
	f(balance.Outliers{}, "", rates(1))
}

// TestENV3_Panic: when more than half are out, all get traffic, and the pool says so.
func TestENV3_Panic(t *testing.T) {
	var events []balance.Event
	p := balance.New("web", balance.Policy{Outliers: balance.Outliers{MaxPercent: 100}}, 0, func(e balance.Event) { events = append(events, e) })
	p.Update(members(10), 0)
	var all []*balance.Endpoint
	for i := range 10 {
		all = append(all, endpoint(t, p, 0, fmt.Sprintf("e%d", i)))
	}
	out := func(n int) {
		for i := range n {
			fail(p, all[i], 0, 5, balance.ServerError)
		}
	}
	out(5)
	if got := shares(t, p, 5000, time.Second); got["e0"] > 0 || p.Status(time.Second).Panics {
		t.Errorf("with half of them out: %v", got)
	}
	out(6)
	if got := shares(t, p, 20_000, time.Second); got["e0"] < 0.01 || !p.Status(time.Second).Panics {
		t.Errorf("with 6 of 10 out: %v", got)
	}
	if last := events[len(events)-1]; last.Kind != balance.PanicBegins {
		t.Errorf("the last event is %+v", last)
	}
	shares(t, p, 1, 31*time.Second)
	if last := events[len(events)-1]; last.Kind != balance.PanicEnds {
		t.Errorf("when they are back the last event is %+v", last)
	}
	never := balance.New("web", balance.Policy{Panic: -1, Outliers: balance.Outliers{MaxPercent: 100}}, 0, nil)
	never.Update(members(2), 0)
	for range 2 {
		e := must(t, never, 0, 0)
		fail(never, e, 0, 5, balance.LocalError)
	}
	_, err := never.Pick(time.Second, 0)
	if err == nil || !strings.Contains(err.Error(), "web has no endpoint in service: e0 ejected for 1s (5 failures in a row), e1 ejected") {
		t.Errorf("got %v", err)
	}
	if _, err := never.Pick(30*time.Second, 0); err != nil {
		t.Error(err)
	}
}

// TestL5D4_Accrual: seven failures, then one single request tries, and the pauses double.
func TestL5D4_Accrual(t *testing.T) {
	var events []balance.Event
	p := balance.New("web", balance.Policy{Method: balance.RoundRobin, Outliers: balance.Outliers{Accrual: 7}}, 0, func(e balance.Event) { events = append(events, e) })
	p.Update(members(2), 0)
	bad := endpoint(t, p, 0, "e0")
	fail(p, bad, 0, 6, balance.LocalError)
	if len(events) > 0 {
		t.Fatalf("after six failures: %+v", events)
	}
	fail(p, bad, 0, 1, balance.ServerError)
	now := time.Duration(0)
	for i := range 8 {
		last := events[len(events)-1]
		base := min(time.Second<<i, 60*time.Second)
		if last.Kind != balance.Ejected || last.For < base || last.For > base+base/5 {
			t.Fatalf("pause %d: %+v", i, last)
		}
		now += last.For
		var tried *balance.Endpoint
		for range 20 {
			if e := must(t, p, now, 0); e.Key() == "e0" {
				if tried != nil {
					t.Fatal("a second request goes to who is on trial")
				}
				tried = e
			}
		}
		if tried == nil {
			t.Fatal("nobody tries")
		}
		fail(p, tried, now, 1, balance.ServerError)
	}
	now += events[len(events)-1].For
	tried := endpoint(t, p, now, "e0")
	fail(p, tried, now, 1, balance.Success)
	if got := shares(t, p, 100, now); got["e0"] < 0.4 {
		t.Errorf("after the trial went well: %v", got)
	}
}

// TestUpdate: what is known of an endpoint stays while it does.
func TestUpdate(t *testing.T) {
	p := pool(balance.Policy{}, []balance.Member{{Key: "a", Value: 1}, {Key: "b", Value: 1}})
	a := endpoint(t, p, 0, "a")
	a.Begin()
	fail(p, a, 0, 5, balance.ServerError)
	p.Update([]balance.Member{{Key: "b"}, {Key: "a", Value: 2}, {Key: "a", Value: 3}, {Key: "c"}}, time.Second)
	st := p.Status(time.Second)
	if len(st.Endpoints) != 3 || st.Endpoints[1].State != "ejected" || st.Endpoints[1].Active != 1 || a.Value() != 3 {
		t.Errorf("got %+v, value %v", st, a.Value())
	}
	p.Update([]balance.Member{{Key: "b"}}, 2*time.Second)
	p.Done(a, 3*time.Second, time.Second, balance.LocalError) // its last request, after it has gone
	p.Update([]balance.Member{{Key: "a"}, {Key: "b"}}, 4*time.Second)
	if st := p.Status(4 * time.Second); st.Endpoints[0].State != "in service" || st.Endpoints[0].Active != 0 {
		t.Errorf("one that comes again is a new one: %+v", st.Endpoints[0])
	}
	fail(p, endpoint(t, p, 4*time.Second, "a"), 4*time.Second, 5, balance.LocalError)
	for registered, want := range []string{"ejected", "in service"} { // it went and came back, and nobody saw it gone
		p.Update([]balance.Member{{Key: "a", Registered: uint64(registered)}, {Key: "b"}}, 5*time.Second)
		if st := p.Status(5 * time.Second); st.Endpoints[0].State != want {
			t.Errorf("registered at index %d: %+v", registered, st.Endpoints[0])
		}
	}
	p.Update(nil, 5*time.Second)
	if _, err := p.Pick(5*time.Second, 0); err == nil || err.Error() != "web has no endpoints" {
		t.Errorf("got %v", err)
	}
	p.SetPolicy(balance.Policy{Empty: "it is gone"}, 5*time.Second)
	if _, err := p.Pick(5*time.Second, 0); err == nil || err.Error() != "web has no endpoints: it is gone" {
		t.Errorf("got %v", err)
	}
}

// TestL5D7_FailFast: who comes first waits for an endpoint, who comes when there has been none for long does not.
func TestL5D7_FailFast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		now := func() time.Duration { return time.Since(start) }
		p := balance.New("web", balance.Policy{}, 0, nil)
		took := func() (time.Duration, error) {
			at := now()
			err := p.Wait(t.Context(), now, 3*time.Second)
			return now() - at, err
		}
		if d, err := took(); d != 3*time.Second || err == nil {
			t.Errorf("the first waited %v: %v", d, err)
		}
		if d, err := took(); d != 0 || err == nil {
			t.Errorf("the next waited %v: %v", d, err)
		}
		p.Update(members(1), now())
		if d, err := took(); d != 0 || err != nil {
			t.Errorf("with an endpoint: %v, %v", d, err)
		}
		p.Update(nil, now())
		time.AfterFunc(2*time.Second, func() { p.Update(members(1), now()) })
		if d, err := took(); d != 2*time.Second || err != nil {
			t.Errorf("an endpoint came after 2 s: %v, %v", d, err)
		}
	})
}

// TestManyAtOnce is for the race detector.
func TestManyAtOnce(t *testing.T) {
	p := pool(balance.Policy{SlowStart: time.Second}, members(8))
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			for i := range 2000 {
				now := time.Duration(i) * time.Millisecond
				if e, err := p.Pick(now, 0); err == nil {
					e.Begin()
					p.Done(e, now, time.Duration(i%7)*time.Millisecond, balance.Outcome(i*(g+1)%5))
				}
				if i%200 == 0 {
					p.Update(members(4+i/200%6), now)
					p.Status(now)
				}
			}
		})
	}
	all.Wait()
	for _, s := range p.Status(0).Endpoints {
		if s.Active != 0 {
			t.Errorf("%s has %d requests", s.Key, s.Active)
		}
	}
}

func BenchmarkPick(b *testing.B) {
	for name, m := range map[string]balance.Method{"ewma": balance.PeakEWMA, "least": balance.LeastRequest, "robin": balance.RoundRobin, "ring": balance.RingHash, "maglev": balance.Maglev} {
		b.Run(name, func(b *testing.B) {
			p := pool(balance.Policy{Method: m}, members(16))
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for now := time.Duration(1); pb.Next(); now += time.Microsecond {
					e, _ := p.Pick(now, uint64(now)*0x9e3779b97f4a7c15)
					e.Begin()
					p.Done(e, now, time.Millisecond, balance.Success)
				}
			})
		})
	}
}
