package demo

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestKeep: who calls the keeper by hand loses nothing.
func TestKeep(t *testing.T) {
	dir := t.TempDir()
	if err := Keep(dir, true); err == nil {
		t.Error("the keeper takes a directory that is no demo's")
	}
	if err := empty(dir); err != nil {
		t.Error(err)
	}
}

// TestFlow: what fails counts from the first success on, and so does who answered.
func TestFlow(t *testing.T) {
	said := func(dc string) *answer { return &answer{Upstream: &answer{Datacenter: dc}} }
	f := newFlow("dc1", "dc1", "", nil)
	f.count(nil, context.DeadlineExceeded, 9)
	if now, _ := f.look(); now.Requests != 0 || now.Failed != 0 {
		t.Errorf("before the first success: %+v", now)
	}
	f.count(said("dc1"), nil, 1)
	<-f.first
	before, changed := f.look()
	f.count(said("dc2"), nil, 2)
	<-changed
	f.count(nil, context.DeadlineExceeded, 3)
	f.count(&answer{}, nil, 4)
	now, _ := f.look()
	if since := now.since(before); since.Requests != 3 || since.Failed != 2 || len(since.AnsweredBy) != 1 || since.AnsweredBy["dc2"] != 1 || now.LastBy != "dc2" {
		t.Errorf("since the first success: %+v", since)
	}
	if again := f.again(); again.Slowest != 0 || again.Requests != 4 {
		t.Errorf("measured anew: %+v", again)
	}
}

// TestApp: an instance that is down refuses connections and breaks those it has; up again it has the same port.
func TestApp(t *testing.T) {
	p := draw(Shape{1, 1, 1, false})
	if err := p.settle(t.TempDir(), false); err != nil {
		t.Fatal(err)
	}
	defer p.free()
	c := &http.Client{Transport: &http.Transport{}}
	defer c.CloseIdleConnections()
	at := p.Agents[0]
	api := newAPI("api-1", "dc1", at.port(apiPort))
	web := newWeb("dc1", at.port(webPort), at.port(apiPort), at.port(farPort), c)
	asked := httptest.NewServer(web.handler)
	defer asked.Close()
	for range 2 {
		if err := api.up(); err != nil {
			t.Fatal(err)
		}
		if said, err := call(t.Context(), c, asked.URL); err != nil || said.Upstream.Instance != "api-1" || said.Upstream.Datacenter != "dc1" {
			t.Errorf("%+v, %v", said, err)
		}
		if _, err := call(t.Context(), c, asked.URL+"/far"); err == nil {
			t.Error("nobody is there, and somebody answers")
		}
		api.down()
		if _, err := call(t.Context(), c, asked.URL); err == nil {
			t.Error("it is down and answers")
		}
	}
}
