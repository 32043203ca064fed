package frontdoor_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/curia-mesh/curia/agent/testkit"
)

// waiter is a blocking query that has been sent, and the answer to it.
type waiter struct {
	path, marker string
	answer       testkit.Reply
	err          error
}

// wait sends a blocking query for a change after what is there now.
func (w *waiter) wait(ctx context.Context, t testing.TB, c testkit.Client, done *sync.WaitGroup) {
	t.Helper()
	now := c.Do(t, http.MethodGet, w.path, "")
	join := "?"
	if strings.Contains(w.path, "?") {
		join = "&"
	}
	after := fmt.Sprintf("index=%d", now.Index())
	if hash := now.Header.Get("X-Consul-ContentHash"); hash != "" {
		after = "hash=" + hash
	}
	done.Go(func() { w.answer, w.err = c.Ask(ctx, http.MethodGet, w.path+join+after+"&wait=10m", "") })
}

func TestManyWatchersOneChange(t *testing.T) {
	n := testkit.New(t, nil)
	p := n.Spawn(t)
	instances(t, n.Client, "web", 10)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	crowd := n.From(t, attacker(0))
	var done sync.WaitGroup
	watchers := make([]waiter, maxConns-1)
	for i := range watchers {
		watchers[i].path = "/v1/health/service/web"
		watchers[i].wait(ctx, t, crowd, &done)
	}
	p.Put(t, "/v1/catalog/register", `{"Node": "one-more", "Address": "10.0.0.1", "Service": {"Service": "web", "Tags": ["changed"]}}`)
	done.Wait()
	want := p.Get(t, "/v1/health/service/web")
	if !strings.Contains(want.Body, "changed") {
		t.Fatal(want.Body)
	}
	for i, w := range watchers {
		if w.err != nil || w.answer.Body != want.Body || w.answer.Index() != want.Index() {
			t.Fatalf("watcher %d: index %d, want %d; %d bytes, want %d: %v", i, w.answer.Index(), want.Index(), len(w.answer.Body), len(want.Body), w.err)
		}
	}
}

// quiet registers what unrelated writes must not disturb, and busy what they are about.
func quiet(t testing.TB, c testkit.Client) (session string) {
	t.Helper()
	c.Put(t, "/v1/kv/quiet/key", "before")
	for _, name := range []string{"quiet", "busy"} {
		c.Put(t, "/v1/catalog/register", fmt.Sprintf(`{"Node": "%s-node", "Address": "10.0.0.1", "Service": {"Service": %q},
			"Checks": [{"Node": "%s-node", "CheckID": "c", "Name": "c", "Status": "passing", "ServiceID": %q}, {"Node": "%s-node", "CheckID": "n", "Name": "n", "Status": "passing"}]}`,
			name, name, name, name, name))
		c.Put(t, "/v1/catalog/register", fmt.Sprintf(`{"Node": "%s-node", "Address": "10.0.0.1", "SkipNodeUpdate": true,
			"Service": {"Kind": "connect-proxy", "ID": "%s-proxy", "Service": "%s-proxy", "Port": 1, "Proxy": {"DestinationServiceName": %q}}}`, name, name, name, name))
		c.Put(t, "/v1/agent/service/register", fmt.Sprintf(`{"Name": "%s-agent"}`, name))
	}
	var made struct{ ID string }
	c.Put(t, "/v1/session/create", `{"Node": "quiet-node", "NodeChecks": []}`).JSON(t, &made)
	return made.ID
}

// unrelated makes the i-th write that concerns nobody who is quiet.
func unrelated(ctx context.Context, c testkit.Client, i int) error {
	status := []string{"passing", "warning"}[i/8%2]
	requests := []struct{ path, body string }{
		{fmt.Sprintf("/v1/kv/busy/%d", i), "x"},
		{fmt.Sprintf("/v1/kv/quietly/%d", i), "x"},
		{"/v1/catalog/register", fmt.Sprintf(`{"Node": "busy-node", "Address": "10.0.0.1", "SkipNodeUpdate": true, "Service": {"Service": "busy", "Port": %d}}`, i%60000+1)},
		{"/v1/catalog/register", fmt.Sprintf(`{"Node": "busy-node", "Address": "10.0.0.1", "SkipNodeUpdate": true, "Check": {"Node": "busy-node", "CheckID": "c", "Name": "c", "Status": %q, "ServiceID": "busy", "Output": "%d"}}`, status, i)},
		{"/v1/catalog/register", fmt.Sprintf(`{"Node": "busy-node", "Address": "10.0.0.1", "SkipNodeUpdate": true, "Check": {"Node": "busy-node", "CheckID": "n", "Name": "n", "Status": %q, "Output": "%d"}}`, status, i)},
		{"/v1/agent/service/register", fmt.Sprintf(`{"Name": "busy-agent", "Port": %d}`, i%60000+1)},
		{"/v1/session/create", `{"Node": "busy-node", "NodeChecks": []}`},
		{"/v1/catalog/register", fmt.Sprintf(`{"Node": "busy-node", "Address": "10.0.0.1", "SkipNodeUpdate": true,
			"Service": {"Kind": "connect-proxy", "ID": "busy-proxy", "Service": "busy-proxy", "Port": %d, "Proxy": {"DestinationServiceName": "busy"}}}`, i%60000+1)},
	}
	r := requests[i%len(requests)]
	answer, err := c.Ask(ctx, http.MethodPut, r.path, r.body)
	if err == nil && answer.Status != http.StatusOK {
		err = fmt.Errorf("PUT %s: status %d %s", r.path, answer.Status, answer.Body)
	}
	return err
}

// A blocking query returns for a change of its answer and for nothing else: what it returns first has
// the change in it, however many others came before.
func TestWatchersSleepThroughOtherChanges(t *testing.T) {
	n := testkit.New(t, testkit.Settings{"log_level": "info"})
	p := n.Spawn(t)
	session := quiet(t, n.Client)
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	defer cancel()
	const encoded = "dG91Y2hlZA==" // touched
	watchers := []*waiter{
		{path: "/v1/kv/quiet/key", marker: encoded}, {path: "/v1/kv/quiet/key?raw", marker: "touched"}, {path: "/v1/kv/quiet/?recurse", marker: encoded},
		{path: "/v1/kv/quiet/?keys", marker: "quiet/touched"}, {path: "/v1/kv/absent", marker: encoded}, {path: "/v1/kv/absent/?recurse", marker: encoded},
		{path: "/v1/catalog/nodes", marker: "touched"}, {path: "/v1/catalog/services", marker: "touched"},
		{path: "/v1/catalog/service/quiet", marker: "touched"}, {path: "/v1/catalog/service/absent", marker: "touched"}, {path: "/v1/catalog/connect/quiet", marker: "touched"},
		{path: "/v1/catalog/node/quiet-node", marker: "touched"}, {path: "/v1/catalog/node-services/quiet-node", marker: "touched"}, {path: "/v1/catalog/node/absent-node", marker: "touched"},
		{path: "/v1/health/node/quiet-node", marker: "touched"}, {path: "/v1/health/node/absent-node", marker: "touched"},
		{path: "/v1/health/checks/quiet", marker: "touched"}, {path: "/v1/health/checks/absent", marker: "touched"},
		{path: "/v1/health/service/quiet", marker: "touched"}, {path: "/v1/health/service/quiet?passing", marker: "touched"}, {path: "/v1/health/service/absent", marker: "touched"},
		{path: "/v1/health/connect/quiet", marker: "touched"}, {path: "/v1/health/state/critical", marker: "touched"},
		{path: "/v1/session/node/quiet-node", marker: "touched"}, {path: "/v1/session/info/" + session, marker: "[]"},
		{path: "/v1/agent/service/quiet-agent", marker: "touched"}, {path: "/v1/event/list?name=quiet", marker: "quiet"},
	}
	var done sync.WaitGroup
	for _, w := range watchers {
		w.wait(ctx, t, n.Client, &done)
	}
	writes := figure(2000, 10000)
	var writers sync.WaitGroup
	for w := range 8 {
		writers.Go(func() {
			for i := w; i < writes; i += 8 {
				if err := unrelated(ctx, n.Client, i); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	writers.Wait()
	p.Put(t, "/v1/event/fire/busy", "x")
	for _, touch := range []struct{ path, body string }{
		{"/v1/catalog/register", `{"Node": "touched", "Address": "10.0.0.3"}`},
		{"/v1/kv/quiet/touched", "touched"}, {"/v1/kv/quiet/key", "touched"}, {"/v1/kv/absent", "touched"}, {"/v1/kv/absent/key", "touched"},
		{"/v1/catalog/register", `{"Node": "absent-node", "Address": "10.0.0.2", "Service": {"Service": "absent", "Tags": ["touched"]},
			"Checks": [{"Node": "absent-node", "CheckID": "touched", "Name": "touched", "Status": "critical", "ServiceID": "absent"}]}`},
		{"/v1/catalog/register", `{"Node": "quiet-node", "Address": "10.0.0.1", "SkipNodeUpdate": true, "Service": {"Service": "quiet", "Tags": ["touched"]},
			"Checks": [{"Node": "quiet-node", "CheckID": "c", "Name": "c", "Status": "passing", "ServiceID": "quiet", "Output": "touched"}]}`},
		{"/v1/catalog/register", `{"Node": "quiet-node", "Address": "10.0.0.1", "SkipNodeUpdate": true,
			"Service": {"Kind": "connect-proxy", "ID": "quiet-proxy", "Service": "quiet-proxy", "Port": 1, "Tags": ["touched"], "Proxy": {"DestinationServiceName": "quiet"}}}`},
		{"/v1/session/create", `{"Node": "quiet-node", "Name": "touched", "NodeChecks": []}`},
		{"/v1/session/destroy/" + session, ""},
		{"/v1/agent/service/register", `{"Name": "quiet-agent", "Tags": ["touched"]}`},
		{"/v1/event/fire/quiet", "touched"},
	} {
		p.Put(t, touch.path, touch.body)
	}
	done.Wait()
	for _, w := range watchers {
		// Changes that concern it may follow one another; the first of them is in the answer.
		if w.err != nil || w.answer.Status != http.StatusOK || !strings.Contains(w.answer.Body, w.marker) {
			t.Errorf("%s returned without a change of its answer: status %d %.300s, %v", w.path, w.answer.Status, w.answer.Body, w.err)
		}
	}
}
