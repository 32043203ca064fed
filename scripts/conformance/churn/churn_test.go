//go:build linux

package main

import (
	"crypto/x509"
	"math"
	"net/url"
	"testing"
	"time"
)

func TestSlope(t *testing.T) {
	var all []sample
	for i := range 100 {
		at := time.Duration(i) * time.Minute
		all = append(all, sample{at: at, rss: 50 + 3*at.Hours() + float64(i%2)})
	}
	rss := func(s sample) float64 { return s.rss }
	if got := slope(all, rss); math.Abs(got-3) > 0.05 {
		t.Errorf("what grows by 3 an hour grows by %v", got)
	}
	if got := slope(all[:1], rss); got != 0 {
		t.Errorf("one sample grows by %v", got)
	}
	if first, last := quarters(all, rss); math.Abs(last-first-3.75) > 0.1 {
		t.Errorf("the medians of quarters that are 75 minutes apart are %v and %v", first, last)
	}
}

// What is wrong with certificates is found, and nothing else.
func TestProofs(t *testing.T) {
	now := time.Now()
	one := []*url.URL{{Scheme: "spiffe"}}
	f := func(want bool, until time.Duration, uris []*url.URL, last time.Duration) {
		t.Helper()
		p := newProofs(time.Hour)
		cert := &x509.Certificate{Raw: []byte("it"), NotAfter: now.Add(until), URIs: uris}
		p.learn(cert, now)
		p.used(hashOf(cert), now.Add(last))
		var r results
		p.report(&r)
		if r.failed == want {
			t.Errorf("until %s with %d URIs, last used after %s: %v", until, len(uris), last, r.rows)
		}
	}
	f(true, time.Hour, one, time.Minute)
	f(false, time.Hour, one, time.Hour+time.Second)
	f(false, 2*time.Hour, one, time.Minute)
	f(false, time.Hour, nil, time.Minute)
	f(false, time.Hour, append(one, one...), time.Minute)
	p := newProofs(time.Hour)
	p.learn(&x509.Certificate{Raw: []byte("it"), NotAfter: now.Add(time.Hour), URIs: one}, now)
	p.used("of another", now)
	var r results
	if p.report(&r); !r.failed {
		t.Error("a certificate that nobody knows is fine")
	}
}

// A client loses no more than it may.
func TestBearable(t *testing.T) {
	k := &kind{mayLose: 1}
	if d := (&deaths{failed: map[*kind]int64{k: 1}}); !d.bearable() {
		t.Error("one request is too many")
	}
	if d := (&deaths{failed: map[*kind]int64{k: 2}}); d.bearable() {
		t.Error("two requests are not too many")
	}
}
