package proxy_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/curia-mesh/curia/catalog"
)

func aborts(status int, percent float32) *catalog.ServiceRouteDestination {
	return &catalog.ServiceRouteDestination{FaultInjection: &catalog.FaultInjection{Abort: &catalog.FaultAbort{HTTPStatus: status, Percentage: percent}}}
}

func delays(d time.Duration, percent float32) *catalog.ServiceRouteDestination {
	return &catalog.ServiceRouteDestination{FaultInjection: &catalog.FaultInjection{Delay: &catalog.FaultDelay{Duration: catalog.Duration(d), Percentage: percent}}}
}

// A route that has requests fail answers them in place of the service, and says so; other routes do not.
func TestFaults(t *testing.T) {
	app := answering(t, echo)
	addr := destined(t, app.addr, nil, aborts(418, 100)).Addr("l").String()
	r := asked(t, addr, "what fails", "/on/x", 418)
	if r.Header.Get("X-Curia-Fault") != "injected" {
		t.Errorf("the caller cannot tell why: %v", r.Header)
	}
	if seen := app.seen(); seen != "" {
		t.Errorf("the application was sent %q", seen)
	}
	asked(t, addr, "what does not", "/off", 200)
}

// As many fail as the percentage says, within 3 points.
func TestFaultShare(t *testing.T) {
	app := answering(t, echo)
	c := dial(t, destined(t, app.addr, nil, aborts(503, 10)).Addr("l").String())
	const n = 4000
	failed := 0
	for range n {
		c.Write([]byte("HEAD /on HTTP/1.1\r\nHost: a\r\n\r\n"))
		text, err := readHead(c)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(text, " 503 ") {
			failed++
		}
	}
	if got := float64(failed) / n * 100; math.Abs(got-10) > 3 {
		t.Errorf("%.1f %% failed, want 10", got)
	}
}

// A route that holds requests up counts as an endpoint that takes so long: what the caller or the route waits for holds.
func TestDelays(t *testing.T) {
	app := answering(t, echo)
	begun := time.Now()
	asked(t, destined(t, app.addr, nil, delays(150*time.Millisecond, 100)).Addr("l").String(), "held up", "/on", 200)
	if took := time.Since(begun); took < 150*time.Millisecond {
		t.Errorf("took %v", took)
	}
	d := delays(4*time.Minute, 100)
	d.RequestTimeout = catalog.Duration(100 * time.Millisecond)
	asked(t, destined(t, app.addr, nil, d).Addr("l").String(), "held up beyond the route's timeout", "/on", 504)
	d = delays(4*time.Minute, 100)
	d.RequestTimeout = catalog.Duration(3 * time.Minute)
	p := destined(t, app.addr, nil, d)
	asked(t, p.Addr("l").String(), "held up beyond the caller's", "/on", 504, "X-Curia-Timeout: 100m")
	c := dial(t, p.Addr("l").String())
	c.Write([]byte("GET /on HTTP/1.1\r\nHost: a\r\n\r\n"))
	c.Close()
	settle(t, p) // nobody is held up who does not wait
}
