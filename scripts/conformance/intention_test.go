package conformance

import (
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
)

func TestIntentions(t *testing.T) {
	t.Parallel()
	c := start(t, nil).Connect()
	show := func(i *api.Intention) string {
		return i.SourceName + " => " + i.DestinationName + " " + string(i.Action)
	}
	upsert := func(source, destination string, action api.IntentionAction) {
		t.Helper()
		_, err := c.IntentionUpsert(&api.Intention{SourceName: source, DestinationName: destination, Action: action, SourcePartition: "default", DestinationNS: "default"}, nil)
		must(t, err)
	}
	upsert("web", "db", api.IntentionActionAllow)
	upsert("*", "db", api.IntentionActionDeny)
	upsert("web", "*", api.IntentionActionDeny)
	upsert("*", "*", api.IntentionActionDeny)
	upsert("web", "db", api.IntentionActionDeny)
	upsert("web", "db", api.IntentionActionAllow) // again: the last one counts
	list, meta, err := c.Intentions(nil)
	must(t, err)
	equal(t, "the most specific first", inOrder(list, show), []string{"web => db allow", "* => db deny", "web => * deny", "* => * deny"})
	equal(t, "precedences", inOrder(list, func(i *api.Intention) string { return string(rune('0' + i.Precedence)) }), []string{"9", "8", "6", "5"})

	matched, _, err := c.IntentionMatch(&api.IntentionMatch{By: api.IntentionMatchSource, Names: []string{"web", "other"}}, nil)
	must(t, err)
	equal(t, "by source", inOrder(matched["web"], show), []string{"web => db allow", "* => db deny", "web => * deny", "* => * deny"})
	equal(t, "by another source", inOrder(matched["other"], show), []string{"* => db deny", "* => * deny"})
	check := func(source, destination string) bool {
		t.Helper()
		allowed, _, err := c.IntentionCheck(&api.IntentionCheck{Source: source, Destination: destination}, nil)
		must(t, err)
		return allowed
	}
	equal(t, "decisions", []bool{check("web", "db"), check("api", "db"), check("web", "cache"), check("default/web", "default/db")}, []bool{true, false, false, true})

	// Whoever waits wakes for a change.
	woken := make(chan []string, 1)
	go func() {
		list, _, err := c.Intentions(&api.QueryOptions{WaitIndex: meta.LastIndex, WaitTime: time.Minute})
		if err != nil {
			t.Error(err)
		}
		woken <- inOrder(list, show)
	}()
	for _, ends := range [][2]string{{"*", "*"}, {"web", "*"}, {"*", "db"}} {
		_, err = c.IntentionDeleteExact(ends[0], ends[1], nil)
		must(t, err)
	}
	if got := <-woken; len(got) > 3 || got[0] != "web => db allow" {
		t.Errorf("woken with %q", got)
	}
	_, err = c.IntentionDeleteExact("web", "db", nil)
	must(t, err)
	gone, _, err := c.IntentionGetExact("web", "db", nil)
	must(t, err)
	equal(t, "deleted", gone, (*api.Intention)(nil))
}

func TestIntentionsWithID(t *testing.T) {
	t.Parallel()
	a := start(t, nil)
	c := a.Connect()
	id, _, err := c.IntentionCreate(&api.Intention{SourceName: "web", DestinationName: "db", Action: api.IntentionActionAllow, Meta: map[string]string{"k": "v"}, Description: "d"}, nil)
	must(t, err)
	got, _, err := c.IntentionGet(id, nil)
	must(t, err)
	if got.ID != id || got.Meta["k"] != "v" || got.Description != "d" || got.CreatedAt.IsZero() || !got.CreatedAt.Equal(got.UpdatedAt) || len(got.Hash) == 0 || got.Precedence != 9 {
		t.Errorf("created %s", asJSON(got))
	}
	if _, _, err := c.IntentionCreate(&api.Intention{SourceName: "web", DestinationName: "db", Action: api.IntentionActionDeny}, nil); err == nil || !strings.Contains(err.Error(), "exists already") {
		t.Errorf("a second one of the same ends: %v", err)
	}
	// It changes where it is, and its entry stays the same one.
	got.SourceName = "api"
	_, err = c.IntentionUpdate(got, nil)
	must(t, err)
	changed, _, err := c.IntentionGet(id, nil)
	must(t, err)
	if changed.SourceName != "api" || changed.CreateIndex != got.CreateIndex || changed.ModifyIndex <= got.ModifyIndex {
		t.Errorf("changed: %s, before %s", asJSON(changed), asJSON(got))
	}
	// It moves to another destination, and stays the same intention.
	got.DestinationName, got.Action = "cache", api.IntentionActionDeny
	_, err = c.IntentionUpdate(got, nil)
	must(t, err)
	moved, _, err := c.IntentionGet(id, nil)
	must(t, err)
	if moved.DestinationName != "cache" || moved.Action != api.IntentionActionDeny || !moved.CreatedAt.Equal(got.CreatedAt) || !moved.UpdatedAt.After(got.UpdatedAt) {
		t.Errorf("moved: %s", asJSON(moved))
	}
	entries, _, err := a.ConfigEntries().List(api.ServiceIntentions, nil)
	must(t, err)
	equal(t, "entries", names(entries, api.ConfigEntry.GetName), []string{"cache"})
	_, err = c.IntentionDelete(id, nil)
	must(t, err)
	_, err = c.IntentionDelete(id, nil)
	must(t, err)
	gone, _, err := c.IntentionGet(id, nil)
	must(t, err)
	equal(t, "deleted", gone, (*api.Intention)(nil))
}

// TestIntentionsOfAnEntry: the entry is where intentions are, whichever way they are written.
func TestIntentionsOfAnEntry(t *testing.T) {
	t.Parallel()
	a := start(t, nil)
	for _, e := range []api.ConfigEntry{
		&api.ServiceConfigEntry{Kind: api.ServiceDefaults, Name: "api", Protocol: "http"},
		&api.ServiceIntentionsConfigEntry{Kind: api.ServiceIntentions, Name: "api", Sources: []*api.SourceIntention{
			{Name: "*", Action: api.IntentionActionDeny},
			{Name: "web", Permissions: []*api.IntentionPermission{{Action: api.IntentionActionAllow, HTTP: &api.IntentionHTTPPermission{PathPrefix: "/v1"}}}},
		}},
	} {
		ok, _, err := a.ConfigEntries().Set(e, nil)
		must(t, err)
		equal(t, e.GetKind(), ok, true)
	}
	i, _, err := a.Connect().IntentionGetExact("web", "api", nil)
	must(t, err)
	if len(i.Permissions) != 1 || i.Permissions[0].HTTP.PathPrefix != "/v1" || i.Action != "" || i.Precedence != 9 {
		t.Errorf("of the entry: %s", asJSON(i))
	}
	allowed, _, err := a.Connect().IntentionCheck(&api.IntentionCheck{Source: "web", Destination: "api"}, nil)
	must(t, err)
	equal(t, "a connection that is decided by request", allowed, false)
	_, err = a.Connect().IntentionUpsert(&api.Intention{SourceName: "batch", DestinationName: "api", Action: api.IntentionActionAllow}, nil)
	must(t, err)
	e, _, err := a.ConfigEntries().Get(api.ServiceIntentions, "api", nil)
	must(t, err)
	equal(t, "sources", inOrder(e.(*api.ServiceIntentionsConfigEntry).Sources, func(s *api.SourceIntention) string { return s.Name }), []string{"batch", "web", "*"})
}

// inOrder is names in the order of the list.
func inOrder[T any](list []T, name func(T) string) []string {
	out := make([]string, len(list))
	for i, element := range list {
		out[i] = name(element)
	}
	return out
}
