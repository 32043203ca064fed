package leaf_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/curia-mesh/curia/agent/leaf"
	"github.com/curia-mesh/curia/agent/watch"
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/connect/ca"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/rpc/durable"
	"github.com/curia-mesh/curia/server/api"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const domain = "11111111-2222-3333-4444-555555555555.consul"

// servers have a CA of the built-in provider and answer over a network, or not at all.
type servers struct {
	t *testing.T

	mu       sync.Mutex
	domain   string
	index    uint64
	provider ca.Provider
	roots    *catalog.Roots
	changed  chan struct{}
	away     error  // what everybody gets
	denied   string // a token that is not allowed anything
	signed   int
}

func newServers(t *testing.T) *servers {
	s := &servers{t: t, domain: domain, index: 10, changed: make(chan struct{}), roots: &catalog.Roots{}}
	s.rotate(false)
	return s
}

// rotate makes another root sign, and forgets the one before unless keep is true.
func (s *servers) rotate(keep bool) {
	open, secrets, err := ca.Split(ca.BuiltIn, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	cfg, err := ca.Parse(ca.BuiltIn, open)
	if err != nil {
		s.t.Fatal(err)
	}
	provider, err := ca.Open(s.t.Context(), ca.BuiltIn, ca.Params{Config: cfg, Secrets: secrets, TrustDomain: s.domain, Datacenter: "dc1", Serial: 7})
	if err != nil {
		s.t.Fatal(err)
	}
	cert, err := connect.ParseCertificate(provider.Root())
	if err != nil {
		s.t.Fatal(err)
	}
	next := &catalog.Roots{ActiveRootID: connect.Fingerprint(cert), TrustDomain: s.domain}
	s.mu.Lock()
	defer s.mu.Unlock()
	if keep {
		for _, r := range s.roots.Roots {
			old := *r
			old.Active = false
			next.Roots = append(next.Roots, &old)
		}
	}
	next.Roots = append(next.Roots, &catalog.Root{ID: next.ActiveRootID, RootCert: provider.Root(), Active: true})
	s.index++
	s.provider, s.roots = provider, next
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *servers) set(away error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = away
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *servers) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.signed
}

// Call implements rpc.Caller.
func (s *servers) Call(ctx context.Context, call *rpc.Call) (rpc.Answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if call.Method == api.CARoots.Name && call.Header.MinIndex >= s.index && s.away == nil {
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-time.After(call.Header.MaxWait):
		case <-ctx.Done():
		}
		s.mu.Lock()
	}
	if ctx.Err() != nil {
		return rpc.Answer{}, ctx.Err()
	}
	if s.away != nil {
		return rpc.Answer{}, s.away
	}
	var rep any = s.roots
	if call.Method == api.ConnectSign.Name {
		if s.denied != "" && call.Header.Token == s.denied {
			return rpc.Answer{}, catalog.Errorf(catalog.Denied, "permission denied")
		}
		csr, id, err := connect.ParseCSR(call.Body.(*api.SignRequest).CSR)
		if err != nil {
			return rpc.Answer{}, err
		}
		text, err := s.provider.SignLeaf(ctx, csr, id)
		if err != nil {
			return rpc.Answer{}, err
		}
		cert, err := connect.ParseCertificate(text)
		if err != nil {
			return rpc.Answer{}, err
		}
		s.signed++
		rep = &catalog.IssuedCert{
			SerialNumber: connect.Hex(cert.SerialNumber.Bytes()), CertPEM: text, Service: id.Name, ServiceURI: id.String(),
			ValidAfter: cert.NotBefore, ValidBefore: cert.NotAfter, CreateIndex: s.index, ModifyIndex: s.index,
		}
	}
	data, err := rpc.Encode(rep)
	if err != nil {
		return rpc.Answer{}, err
	}
	var body any = rpc.Raw(data)
	if call.NewReply != nil {
		body = call.NewReply()
		if err := rpc.Decode(data, body); err != nil {
			return rpc.Answer{}, err
		}
	}
	return rpc.Answer{Meta: rpc.Meta{Index: s.index}, Body: rpc.NewBody(body, nil)}, nil
}

// agent runs the caches of one agent until stop is called.
func agent(t *testing.T, s *servers, dir string) (c *leaf.Cache, stop func()) {
	t.Helper()
	views := watch.New(watch.Options{Caller: s, Datacenter: "dc1"})
	c, err := leaf.New(leaf.Options{Caller: s, Views: views, Datacenter: "dc1", Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { views.Run(ctx) })
	running.Go(func() {
		if err := c.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	stop = func() { cancel(); running.Wait() }
	t.Cleanup(stop)
	return c, stop
}

func get(t *testing.T, c *leaf.Cache, service string) *catalog.IssuedCert {
	t.Helper()
	cert, err := c.Get(t.Context(), service, "", 0, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServers(t)
		c, _ := agent(t, s, "")
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() { get(t, c, "web") })
		}
		all.Wait()
		cert := get(t, c, "web")
		if s.count() != 1 || cert.ServiceURI != "spiffe://"+domain+"/ns/default/dc/dc1/svc/web" {
			t.Errorf("%d certificates were signed, %+v", s.count(), cert)
		}
		if key, err := connect.ParseKey(cert.PrivateKeyPEM); err != nil || !strings.HasPrefix(cert.PrivateKeyPEM, "-----BEGIN EC PRIVATE KEY-----") {
			t.Errorf("key %v, %v", key, err)
		}
		if get(t, c, "db").SerialNumber == cert.SerialNumber || s.count() != 2 {
			t.Error("two services share a certificate")
		}
	})
}

// TestTokens: what one token was given is not handed out to another.
func TestTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServers(t)
		s.denied = "poor"
		c, _ := agent(t, s, t.TempDir())
		get(t, c, "web")
		if _, err := c.Get(t.Context(), "web", "poor", 0, time.Minute); catalog.CodeOf(err) != catalog.Denied {
			t.Errorf("got %v", err)
		}
		if _, err := c.Get(t.Context(), "web", "rich", 0, time.Minute); err != nil {
			t.Error(err)
		}
	})
}

func TestRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServers(t)
		c, _ := agent(t, s, "")
		first := get(t, c, "web")
		start := time.Now()
		next, err := c.Get(t.Context(), "web", "", first.ModifyIndex, 100*time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		life := 72*time.Hour + time.Minute
		if took := time.Since(start) + time.Minute; took > life*2/3 || took < life*2/3-life/10 {
			t.Errorf("renewed after %v of %v", took, life)
		}
		if next.ModifyIndex <= first.ModifyIndex || next.SerialNumber == first.SerialNumber || next.PrivateKeyPEM == first.PrivateKeyPEM {
			t.Errorf("got %+v after %+v", next, first)
		}
	})
}

func TestBlocking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServers(t)
		c, _ := agent(t, s, "")
		first := get(t, c, "web")
		start := time.Now()
		same, err := c.Get(t.Context(), "web", "", first.ModifyIndex, time.Minute)
		if err != nil || same != first || time.Since(start) != time.Minute {
			t.Errorf("got %v, %v after %v", same, err, time.Since(start))
		}
		other, err := c.Get(t.Context(), "web", "", first.ModifyIndex+1000, time.Minute) // of another life of the agent
		if err != nil || other != first || time.Since(start) != time.Minute {
			t.Errorf("got %v, %v after %v", other, err, time.Since(start))
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if _, err := c.Get(ctx, "web", "", first.ModifyIndex, time.Minute); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

// TestRootChange: another root means another certificate, soon, but not from everybody at once.
func TestRootChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServers(t)
		c, _ := agent(t, s, "")
		before := map[string]*catalog.IssuedCert{}
		for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
			before[name] = get(t, c, name)
		}
		s.rotate(true)
		start := time.Now()
		times := map[time.Duration]bool{}
		var mu sync.Mutex
		var all sync.WaitGroup
		for name, cert := range before {
			all.Go(func() {
				next, err := c.Get(t.Context(), name, "", cert.ModifyIndex, time.Hour)
				mu.Lock()
				defer mu.Unlock()
				times[time.Since(start)] = true
				if err != nil || next.SerialNumber == cert.SerialNumber || time.Since(start) > 31*time.Second {
					t.Errorf("%s: %v after %v", name, err, time.Since(start))
				}
			})
		}
		all.Wait()
		if len(times) < 4 {
			t.Errorf("all came back at once: %v", times)
		}
		if s.count() != 16 {
			t.Errorf("%d certificates were signed, want 16", s.count())
		}
		// What no root stands for any more is replaced at once.
		a := get(t, c, "a")
		s.rotate(false)
		start = time.Now()
		if next, err := c.Get(t.Context(), "a", "", a.ModifyIndex, time.Hour); err != nil || next.SerialNumber == a.SerialNumber || time.Since(start) > time.Second {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
	})
}

// TestServersAway: what was issued stands until its end, across a restart of the agent, and is renewed when
// the servers are back.
func TestServersAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "leaf")
		s := newServers(t)
		c, stop := agent(t, s, dir)
		first := get(t, c, "web")
		away := catalog.Errorf(catalog.NoLeader, "no cluster leader")
		s.set(away)
		time.Sleep(60 * time.Hour)
		if again := get(t, c, "web"); again.SerialNumber != first.SerialNumber {
			t.Error("another certificate, of nobody")
		}
		stop()
		c, stop = agent(t, s, dir)
		again := get(t, c, "web")
		if again.SerialNumber != first.SerialNumber || again.PrivateKeyPEM != first.PrivateKeyPEM {
			t.Errorf("the restart lost the certificate")
		}
		if _, err := c.Get(t.Context(), "other", "", 0, time.Minute); catalog.CodeOf(err) != catalog.NoLeader {
			t.Errorf("got %v", err)
		}
		time.Sleep(12*time.Hour + time.Second)
		if cert, err := c.Get(t.Context(), "web", "", 0, time.Minute); catalog.CodeOf(err) != catalog.NoLeader {
			t.Errorf("after its end: %v, %v", cert, err)
		}
		s.set(nil)
		time.Sleep(time.Minute)
		if cert := get(t, c, "web"); cert.SerialNumber == first.SerialNumber {
			t.Error("the certificate that ended is handed out")
		}
		stop()
	})
}

func TestRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServers(t)
		c, _ := agent(t, s, "")
		first := get(t, c, "web")
		time.Sleep(40 * time.Hour)
		s.set(catalog.Errorf(catalog.Limited, "too many"))
		time.Sleep(10 * time.Hour)
		s.set(nil)
		next, err := c.Get(t.Context(), "web", "", first.ModifyIndex, 3*time.Minute)
		if err != nil || next.SerialNumber == first.SerialNumber {
			t.Errorf("it was not tried again: %v", err)
		}
	})
}

// The nearer the end is, the more often a renewal is tried again.
func TestRetriesNearTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServers(t)
		c, _ := agent(t, s, "")
		first := get(t, c, "web")
		s.set(catalog.Errorf(catalog.NoLeader, "no cluster leader"))
		for range 2*72 - 1 {
			time.Sleep(30 * time.Minute)
			get(t, c, "web") // what nobody asks for is forgotten
		}
		time.Sleep(30*time.Minute - 40*time.Second)
		s.set(nil)
		next, err := c.Get(t.Context(), "web", "", first.ModifyIndex, 10*time.Second)
		if err != nil || next.SerialNumber == first.SerialNumber {
			t.Errorf("40 s before its end it was not tried again within 10 s: %v", err)
		}
	})
}

// TestIdle: what nobody asks for is not renewed for ever.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServers(t)
		c, _ := agent(t, s, "")
		get(t, c, "web")
		time.Sleep(300 * time.Hour)
		if s.count() != 1 {
			t.Errorf("%d certificates were signed", s.count())
		}
	})
}

func TestFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "leaf")
		s := newServers(t)
		c, stop := agent(t, s, dir)
		cert := get(t, c, "../../web")
		stop()
		var files []string
		filepath.WalkDir(filepath.Dir(dir), func(path string, d fs.DirEntry, err error) error {
			info, infoErr := d.Info()
			switch {
			case err != nil || infoErr != nil:
				t.Error(err, infoErr)
			case d.IsDir():
			case info.Mode().Perm() != 0o600:
				t.Errorf("%s has mode %v", path, info.Mode())
			default:
				files = append(files, path)
			}
			return nil
		})
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("the directory: %v, %v", info.Mode(), err)
		}
		if len(files) != 1 || filepath.Dir(files[0]) != dir {
			t.Fatalf("files are %v", files)
		}
		text, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		f := func(what string, text []byte) {
			t.Helper()
			if err := os.WriteFile(files[0], text, 0o600); err != nil {
				t.Fatal(err)
			}
			c, stop := agent(t, s, dir)
			defer stop()
			if again := get(t, c, "../../web"); again.SerialNumber == cert.SerialNumber {
				t.Errorf("%s: it was taken", what)
			}
		}
		f("torn", text[:len(text)/2])
		f("empty", nil)
		other, stop := agent(t, s, "")
		stranger, db := get(t, other, "../../web"), get(t, other, "db")
		stop()
		both := bytes.Replace(text, quoted(cert.CertPEM), quoted(db.CertPEM), 1)
		f("another service's", bytes.Replace(both, quoted(cert.PrivateKeyPEM), quoted(db.PrivateKeyPEM), 1))
		f("another key's", bytes.Replace(text, quoted(cert.PrivateKeyPEM), quoted(stranger.PrivateKeyPEM), 1))

		if err := os.WriteFile(filepath.Join(dir, ".web.1"+durable.Suffix), text, 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(73 * time.Hour)
		_, stop = agent(t, s, dir)
		stop()
		if left, _ := os.ReadDir(dir); len(left) != 0 {
			t.Errorf("%v are left of what has ended", left)
		}
	})
}

// quoted is a text as it stands in JSON.
func quoted(text string) []byte { return []byte(strings.ReplaceAll(text, "\n", `\n`)) }
