package connect_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect"
)

// TestIntentions runs testdata/intentions/*.txt. A script holds entries of kind service-intentions, as "entry NAME"
// and indented JSON; "default allow" or "default deny"; "group NAME = PEERS" for sameness groups, "-" being this cluster; and
// questions, "DESTINATION <- [PEER/]SOURCE [METHOD PATH [Header:value]... [claim:PROVIDER:JSON]...]", each
// followed by its indented answer. A question without a request is about the connection.
func TestIntentions(t *testing.T) {
	files, err := filepath.Glob("testdata/intentions/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { script(t, file) })
	}
}

func script(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := scene{entries: map[string]*catalog.ServiceIntentions{}, groups: map[string][]string{}}
	asked := 0
	for block := range strings.SplitSeq(indent(string(text)), "\x00") {
		head, body, _ := strings.Cut(strings.TrimRight(block, "\n"), "\n")
		body = strings.ReplaceAll(body, "\t", " ")
		switch word, rest, _ := strings.Cut(head, " "); {
		case head == "" || word == "#":
		case word == "entry":
			e := &catalog.ServiceIntentions{EntryHead: catalog.EntryHead{Kind: catalog.EntryServiceIntentions, Name: rest}}
			if err := json.Unmarshal([]byte(body), e); err != nil {
				t.Fatalf("%s: %v", head, err)
			}
			if e.Normalize(); e.Validate() != nil {
				t.Fatalf("%s: %v", head, e.Validate())
			}
			s.entries[rest] = e
		case word == "default":
			s.open = rest == "allow"
		case word == "group":
			name, members, _ := strings.Cut(rest, " = ")
			for _, peer := range strings.Fields(members) {
				s.groups[name] = append(s.groups[name], strings.TrimPrefix(peer, "-"))
			}
		default:
			asked++
			if got := s.ask(t, head); got != strings.TrimSpace(body) {
				t.Errorf("%s\n got %s\nwant %s", head, got, strings.TrimSpace(body))
			}
		}
	}
	if asked == 0 {
		t.Error("the script asks nothing")
	}
}

// indent puts a NUL before each line that is not indented.
func indent(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if line[0] != '\t' && line[0] != ' ' {
			b.WriteByte(0)
		}
		b.WriteString(line)
	}
	return b.String()
}

type scene struct {
	entries map[string]*catalog.ServiceIntentions
	groups  map[string][]string
	open    bool
}

func (s *scene) ask(t *testing.T, question string) string {
	words := strings.Fields(question)
	who := connect.Caller{Service: words[2]}
	if peer, name, ok := strings.Cut(words[2], "/"); ok {
		who = connect.Caller{Service: name, Peer: peer}
	}
	p, err := connect.NewPolicy(s.entries[words[0]], s.entries[catalog.Wildcard], s.open, func(g string) []string { return s.groups[g] })
	if err != nil {
		t.Fatal(question, err)
	}
	if len(words) == 3 {
		return p.Connection(who).String()
	}
	req := &connect.Request{Method: words[3], Path: words[4], Header: http.Header{}}
	given := tokens{}
	req.Tokens = given
	for _, word := range words[5:] {
		name, value, _ := strings.Cut(word, ":")
		if name == "claim" {
			provider, claims, _ := strings.Cut(value, ":")
			var m map[string]any
			if err := json.Unmarshal([]byte(claims), &m); err != nil {
				t.Fatal(question, err)
			}
			given[provider] = m
			continue
		}
		req.Header.Add(name, strings.ReplaceAll(value, "_", " "))
	}
	return p.Request(who, req).String()
}

// tokens are the claims of good tokens by provider; a provider whose claims say "bad" has a bad one.
type tokens map[string]map[string]any

// Claims implements connect.Tokens.
func (t tokens) Claims(provider string) (map[string]any, error) {
	switch claims := t[provider]; {
	case claims == nil:
		return nil, connect.ErrNoToken
	case claims["bad"] != nil:
		return nil, fmt.Errorf("it is %v", claims["bad"])
	default:
		return claims, nil
	}
}

// TestA23_OneDenyIsNoAllow: where the default is to deny, an intention whose only permission denies some
// requests does not allow the others.
func TestA23_OneDenyIsNoAllow(t *testing.T) {
	entry := &catalog.ServiceIntentions{
		EntryHead: catalog.EntryHead{Kind: catalog.EntryServiceIntentions, Name: "db"},
		Sources: []*catalog.SourceIntention{{Name: "web", Permissions: []*catalog.IntentionPermission{
			{Action: catalog.IntentionDeny, HTTP: &catalog.IntentionHTTPPermission{PathPrefix: "/admin"}},
		}}},
	}
	entry.Normalize()
	p, err := connect.NewPolicy(entry, nil, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/admin", "/", "/public", ""} {
		if d := p.Request(connect.Caller{Service: "web"}, &connect.Request{Method: "GET", Path: path}); d.Verdict != connect.Deny {
			t.Errorf("%s: %s", path, d)
		}
	}
}

// TestDecisions compares with a plain reading of the rules: of all intentions that speak of a pair, the one
// with the highest precedence.
func TestDecisions(t *testing.T) {
	names := []string{"a", "b", catalog.Wildcard}
	rapid.Check(t, func(t *rapid.T) {
		entries, open := map[string]*catalog.ServiceIntentions{}, rapid.Bool().Draw(t, "open")
		for _, destination := range []string{"db", catalog.Wildcard} {
			e := &catalog.ServiceIntentions{EntryHead: catalog.EntryHead{Kind: catalog.EntryServiceIntentions, Name: destination}}
			for _, name := range rapid.SliceOfDistinct(rapid.SampledFrom(names), rapid.ID[string]).Draw(t, destination) {
				e.Sources = append(e.Sources, &catalog.SourceIntention{Name: name,
					Action: rapid.SampledFrom([]catalog.IntentionAction{catalog.IntentionAllow, catalog.IntentionDeny}).Draw(t, name)})
			}
			e.Normalize()
			entries[destination] = e
		}
		p, err := connect.NewPolicy(entries["db"], entries[catalog.Wildcard], open, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, who := range []string{"a", "b", "c"} {
			want, best := connect.Deny, 0
			if open {
				want = connect.Allow
			}
			for _, e := range entries {
				for _, s := range e.Sources {
					if (s.Name == who || s.Name == catalog.Wildcard) && s.Precedence > best {
						best, want = s.Precedence, connect.Deny
						if s.Action == catalog.IntentionAllow {
							want = connect.Allow
						}
					}
				}
			}
			if got := p.Connection(connect.Caller{Service: who}); got.Verdict != want {
				t.Fatalf("%s: %s, want %s", who, got, want)
			}
			if got := p.Request(connect.Caller{Service: who}, &connect.Request{}); got.Verdict != want {
				t.Fatalf("request of %s: %s, want %s", who, got, want)
			}
		}
	})
}

func TestDecidingDoesNotAllocate(t *testing.T) {
	e := &catalog.ServiceIntentions{EntryHead: catalog.EntryHead{Kind: catalog.EntryServiceIntentions, Name: "db"}}
	for i := range 1000 {
		e.Sources = append(e.Sources, &catalog.SourceIntention{Name: fmt.Sprint("s", i), Permissions: []*catalog.IntentionPermission{{
			Action: catalog.IntentionAllow, HTTP: &catalog.IntentionHTTPPermission{PathPrefix: "/v1", Methods: []string{"GET"},
				Header: []catalog.IntentionHeaderFilter{{Name: "x-a", Exact: "1"}}}}}})
	}
	e.Normalize()
	p, err := connect.NewPolicy(e, nil, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	req := &connect.Request{Method: "GET", Path: "/v1/x", Header: http.Header{"X-A": {"1"}}}
	if n := testing.AllocsPerRun(100, func() {
		if p.Request(connect.Caller{Service: "s999"}, req).Verdict != connect.Allow {
			t.Error("denied")
		}
	}); n > 0 {
		t.Errorf("a decision allocates %v times", n)
	}
}
