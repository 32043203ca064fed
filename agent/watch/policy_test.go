package watch_test

import (
	"math"
	"testing"
	"time"

	"github.com/curia-mesh/curia/agent/watch"
	"github.com/curia-mesh/curia/catalog"
)

func TestParsePolicy(t *testing.T) {
	f := func(want watch.Policy, lines ...string) {
		t.Helper()
		got, err := watch.ParsePolicy(lines...)
		if err != nil || got != want {
			t.Errorf("%q is %+v, %v, want %+v", lines, got, err, want)
		}
	}
	f(watch.Policy{})
	f(watch.Policy{}, "")
	f(watch.Policy{}, "private, x=y, no-transform")
	f(watch.Policy{MaxAge: 30 * time.Second}, "max-age=30")
	f(watch.Policy{MaxAge: 30 * time.Second, StaleIfError: 72 * time.Hour}, "max-age=30 stale-if-error=259200")
	f(watch.Policy{MaxAge: 30 * time.Second, StaleIfError: time.Hour}, `Max-Age="30"`, "stale-if-error=3600")
	f(watch.Policy{Revalidate: true}, "max-age=0")
	f(watch.Policy{Revalidate: true, StaleIfError: time.Second}, "must-revalidate,stale-if-error=1")
	f(watch.Policy{Revalidate: true}, "no-cache")
	f(watch.Policy{MaxAge: math.MaxInt64}, "max-age=18446744073")
	f(watch.Policy{MaxAge: math.MaxInt64}, "max-age=99999999999999999999999")
	for _, bad := range []string{"max-age", "max-age=", "max-age=-1", "max-age=1.5", "stale-if-error=x", "max-age=0x10"} {
		if _, err := watch.ParsePolicy(bad); catalog.CodeOf(err) != catalog.Invalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzParsePolicy(f *testing.F) {
	f.Add("max-age=30 stale-if-error=259200, must-revalidate")
	f.Add(`max-age="`)
	f.Add("stale-if-error==1,,=")
	f.Fuzz(func(t *testing.T, line string) {
		p, err := watch.ParsePolicy(line)
		if err != nil && (catalog.CodeOf(err) != catalog.Invalid || len(err.Error()) > 400) {
			t.Fatal(err)
		}
		if p.MaxAge < 0 || p.StaleIfError < 0 || err != nil && p != (watch.Policy{}) {
			t.Fatalf("%+v, %v", p, err)
		}
	})
}
