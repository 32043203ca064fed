package frontdoor_test

import (
	"fmt"
	"net/http"
	"os"
	"runtime"
	"testing"

	"github.com/curia-mesh/curia/agent/testkit"
)

// A lone client is served on one core, two at once on all.
func TestCores(t *testing.T) {
	if runtime.NumCPU() == 1 || os.Getenv("GOMAXPROCS") != "" {
		t.Skip("there is one core, or GOMAXPROCS is set")
	}
	n := testkit.New(t, nil)
	a := n.Spawn(t)
	cores := func() string {
		var self struct {
			Stats struct{ Runtime map[string]string }
		}
		a.Client.Get(t, "/v1/agent/self").JSON(t, &self)
		return self.Stats.Runtime["max_procs"]
	}
	all := cores()
	for cores() != "1" { // each one makes it a lone client
	}
	slow := open(t, n.Addr())
	fmt.Fprint(slow, "PUT /v1/kv/slow HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
	if status, _, _, err := slow.reply("PUT"); err != nil || status != http.StatusContinue { // the body is being read
		t.Fatalf("status %d: %v", status, err)
	}
	for cores() != all { // each one meets it
	}
	fmt.Fprint(slow, "ok")
	if status, _, _, err := slow.reply("PUT"); err != nil || status != http.StatusOK {
		t.Fatalf("status %d: %v", status, err)
	}
}
