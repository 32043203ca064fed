package mesh

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/summerwind/h2spec/config"
	"github.com/summerwind/h2spec/generic"
	"github.com/summerwind/h2spec/hpack"
	"github.com/summerwind/h2spec/http2"
	"github.com/summerwind/h2spec/spec"
)

// wanted is how many cases h2spec has.
const wanted = 146

// Every case of h2spec passes, on listeners of either side, and through both.
func TestH2Spec(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, strings.Repeat("curia ", 100))
	}))
	t.Cleanup(app.Close)
	m := start(t, app.Listener.Addr().String(), false)
	for name, at := range map[string]string{"outbound": m.outbound, "inbound": m.inbound, "both": m.both} {
		t.Run(name, func(t *testing.T) {
			host, port, err := net.SplitHostPort(at)
			if err != nil {
				t.Fatal(err)
			}
			n, err := strconv.Atoi(port)
			if err != nil {
				t.Fatal(err)
			}
			c := &config.Config{Host: host, Port: n, Path: "/", Timeout: 2 * time.Second, MaxHeaderLen: 4000, Strict: true}
			if name == "inbound" {
				c.TLS, c.Insecure, c.CertFile, c.CertKeyFile = true, true, m.certFile, m.keyFile
			}
			passed := 0
			for _, group := range []*spec.TestGroup{generic.Spec(), http2.Spec(), hpack.Spec()} {
				group.Test(c)
				passed += group.PassedCount
				report(t, group)
			}
			if passed != wanted {
				t.Errorf("%d of %d cases passed", passed, wanted)
			}
		})
	}
}

// report says which cases failed, and what came in place of what was wanted.
func report(t *testing.T, g *spec.TestGroup) {
	for _, c := range g.Tests {
		if c.Result != nil && c.Result.Failed {
			t.Errorf("%s: %s: %v", g.ID(), c.Desc, c.Result.Error)
		} else if c.Result != nil && c.Result.Skipped {
			t.Errorf("%s: %s was skipped", g.ID(), c.Desc)
		}
	}
	for _, below := range g.Groups {
		report(t, below)
	}
}
