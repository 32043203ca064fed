package authz_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curia-mesh/curia/agent/authz"
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/server/api"
)

// servers answer from a map, when they are up.
type servers struct {
	known map[string]*api.Resolved
	up    bool
	asked int
	takes time.Duration
}

func (s *servers) resolve(ctx context.Context, secret string) (*api.Resolved, error) {
	s.asked++
	time.Sleep(s.takes)
	switch {
	case !s.up:
		return nil, errors.New("connection refused")
	case s.known[secret] == nil:
		return nil, catalog.Errorf(catalog.Denied, "ACL not found")
	}
	return s.known[secret], nil
}

var (
	readA  = acl.Need{Resource: acl.Key, Name: "a", Access: acl.Read}
	writeA = acl.Need{Resource: acl.Key, Name: "a", Access: acl.Write}
)

// world runs a test with servers that know the token "t", which reads keys.
func world(t *testing.T, down authz.DownPolicy, do func(s *servers, may func(secret string) string)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &servers{up: true, known: map[string]*api.Resolved{
			"t":     {AccessorID: "id-of-t", Rules: []string{`key_prefix "" { policy = "read" }`}, DefaultPolicy: "deny"},
			"boss":  {AccessorID: "id-of-boss", Management: true},
			"short": {Rules: []string{`key_prefix "" { policy = "read" }`}, ExpirationTime: new(time.Now().Add(10 * time.Second))},
		}}
		r := authz.New(authz.Options{Resolve: s.resolve, Down: down, Node: "n1", Recovery: func() string { return "rescue" }})
		do(s, func(secret string) string {
			az, err := r.Authorize(t.Context(), secret)
			switch {
			case catalog.CodeOf(err) == catalog.Denied && err != nil:
				return "none"
			case err != nil:
				return err.Error()
			case az.Allows(writeA):
				return "write"
			case az.Allows(readA):
				return "read"
			}
			return "nothing"
		})
	})
}

func TestRemembered(t *testing.T) {
	world(t, "", func(s *servers, may func(string) string) {
		f := func(secret, want string, asked int) {
			t.Helper()
			before := s.asked
			if got := may(secret); got != want || s.asked-before != asked {
				t.Errorf("%s may %s and the servers were asked %d times, want %s and %d", secret, got, s.asked-before, want, asked)
			}
		}
		f("t", "read", 1)
		f("t", "read", 0)
		f("boss", "write", 1)
		f("guess", "none", 1)
		f("guess", "none", 0)
		s.known["guess"] = s.known["t"]
		time.Sleep(3 * time.Second)
		f("guess", "read", 1)
		f("short", "read", 1)
		time.Sleep(10 * time.Second) // its time is over before it is forgotten
		delete(s.known, "short")
		f("short", "none", 1)
		delete(s.known, "t")
		f("t", "read", 0)
		time.Sleep(30 * time.Second)
		f("t", "none", 1)
	})
}

func TestDown(t *testing.T) {
	for policy, want := range map[authz.DownPolicy][3]string{
		authz.ExtendCache: {"read", "read", "nothing"},
		authz.AsyncCache:  {"read", "read", "nothing"},
		authz.DenyAll:     {"read", "nothing", "nothing"},
		authz.AllowAll:    {"read", "write", "write"},
	} {
		world(t, policy, func(s *servers, may func(string) string) {
			may("t")
			may("short")
			s.up = false
			fresh := may("t")
			time.Sleep(31 * time.Second)
			may("t") // which async-cache answers while it asks
			synctest.Wait()
			if got := [3]string{fresh, may("t"), may("new")}; got != want {
				t.Errorf("%s: %q, want %q", policy, got, want)
			}
			if got := may("short"); got != "none" {
				t.Errorf("%s: an expired token may %s", policy, got)
			}
			asked := s.asked
			for range 100 {
				may("t")
			}
			if s.asked != asked {
				t.Errorf("%s: servers that are down were asked %d times in no time", policy, s.asked-asked)
			}
			s.up = true
			time.Sleep(2 * time.Second)
			may("t")
			synctest.Wait()
			if got := may("t"); got != "read" {
				t.Errorf("%s: afterwards %s", policy, got)
			}
		})
	}
}

// TestAsync: with async-cache only those wait of whom nothing is known.
func TestAsync(t *testing.T) {
	world(t, authz.AsyncCache, func(s *servers, may func(string) string) {
		s.takes = time.Second
		start := time.Now()
		may("t")
		if took := time.Since(start); took != time.Second {
			t.Errorf("the first answer took %v", took)
		}
		time.Sleep(time.Minute)
		s.known["t"] = s.known["boss"]
		start = time.Now()
		if got := may("t"); got != "read" || time.Since(start) != 0 {
			t.Errorf("%s after %v", got, time.Since(start))
		}
		time.Sleep(2 * time.Second)
		if got := may("t"); got != "write" {
			t.Error(got)
		}
	})
}

// TestOneQuestion: many who come at once ask once.
func TestOneQuestion(t *testing.T) {
	world(t, "", func(s *servers, may func(string) string) {
		s.takes = time.Second
		done := make(chan string)
		for range 50 {
			go func() { done <- may("t") }()
		}
		for range 50 {
			if got := <-done; got != "read" {
				t.Error(got)
			}
		}
		if s.asked != 1 {
			t.Errorf("asked %d times", s.asked)
		}
	})
}

// TestRecovery: the recovery token is good for this agent, without a server and for nothing else.
func TestRecovery(t *testing.T) {
	r := authz.New(authz.Options{
		Resolve: func(context.Context, string) (*api.Resolved, error) { return nil, errors.New("down") },
		Node:    "n1", Recovery: func() string { return "rescue" },
	})
	az, err := r.Authorize(t.Context(), "rescue")
	if err != nil {
		t.Fatal(err)
	}
	f := func(resource acl.Resource, name string, access acl.Access, want bool) {
		t.Helper()
		if got := az.Allows(acl.Need{Resource: resource, Name: name, Access: access}); got != want {
			t.Errorf("%s:%s %s: %v", resource, access, name, got)
		}
	}
	f(acl.Agent, "n1", acl.Write, true)
	f(acl.Agent, "n2", acl.Read, false)
	f(acl.Node, "n2", acl.Read, true)
	f(acl.Node, "n1", acl.Write, false)
	f(acl.Key, "a", acl.Read, false)
	f(acl.ACL, "", acl.Read, false)
	if az := authz.Recovers("", "", "n1"); az != nil {
		t.Error("without a recovery token everybody recovers")
	}
}
