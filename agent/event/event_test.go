package event_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/agent/event"
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
)

// loop is gossip of one node: what is sent arrives there.
type loop struct{ ring *event.Ring }

func (l loop) UserEvent(name string, payload []byte, _ bool) error {
	_, err := l.ring.Receive(name, 7, payload)
	return err
}

// here is a node with instances of the service web.
type here struct{}

func (here) NodeName() string { return "node-1" }

func (here) ServiceTags(match func(string) bool) [][]string {
	if match("web") {
		return [][]string{{"v1"}, {"v2", "primary"}}
	}
	return nil
}

func TestFiltersSelectTheNode(t *testing.T) {
	f := func(want bool, node, service, tag string) {
		t.Helper()
		ring := event.NewRing(here{})
		e := &catalog.Event{Name: "deploy", Payload: []byte{0, 0xff}, NodeFilter: node, ServiceFilter: service, TagFilter: tag}
		if err := event.Fire(loop{ring}, e); err != nil {
			t.Fatal(err)
		}
		got, index, _ := ring.List("")
		if (len(got) == 1) != want {
			t.Errorf("filters %q %q %q: %d events, want any: %v", node, service, tag, len(got), want)
		}
		if want && (got[0].ID != e.ID || !bytes.Equal(got[0].Payload, e.Payload) || got[0].LTime != 7 || index == 0) {
			t.Errorf("got %+v at index %d, sent %+v", got[0], index, e)
		}
	}
	f(true, "", "", "")
	f(true, "node-[0-9]", "", "")
	f(false, "^node$", "", "")
	f(true, "", "web", "")
	f(true, "", "w.b", "^primary$")
	f(false, "", "web", "v3")
	f(false, "", "db", "")
	f(false, "node-2", "web", "")
}

func TestEventsThatCannotBeSentAreRefused(t *testing.T) {
	ring := event.NewRing(here{})
	for _, e := range []catalog.Event{
		{},
		{Name: "e", TagFilter: "v1"},
		{Name: "e", NodeFilter: "("},
		{Name: "e", ServiceFilter: "[", TagFilter: "x"},
		{Name: "e", ServiceFilter: "x", TagFilter: "*"},
	} {
		if err := event.Fire(loop{ring}, &e); catalog.CodeOf(err) != catalog.Invalid {
			t.Errorf("%+v: %v", e, err)
		}
	}
}

func TestRingKeepsTheNewest(t *testing.T) {
	ring := event.NewRing(here{})
	_, _, changed := ring.List("")
	seen := map[uint64]bool{}
	for i := range 300 {
		if err := event.Fire(loop{ring}, &catalog.Event{Name: fmt.Sprint("e", i%2), Payload: []byte(fmt.Sprint(i))}); err != nil {
			t.Fatal(err)
		}
		_, index, _ := ring.List("")
		seen[index] = true
	}
	select {
	case <-changed:
	default:
		t.Error("who waited was not woken")
	}
	all, _, _ := ring.List("")
	if len(all) != 256 || string(all[0].Payload) != "44" || string(all[255].Payload) != "299" {
		t.Errorf("%d events are kept, from %s to %s", len(all), all[0].Payload, all[len(all)-1].Payload)
	}
	odd, _, _ := ring.List("e1")
	if len(odd) != 128 || len(seen) != 300 {
		t.Errorf("%d of one name, %d different indexes of 300 events", len(odd), len(seen))
	}
}

// sent is what an agent sends for an event.
func sent(t testing.TB, e *catalog.Event) (name string, payload []byte) {
	t.Helper()
	var s sender
	if err := event.Fire(&s, e); err != nil {
		t.Fatal(err)
	}
	return s.name, s.payload
}

type sender struct {
	name    string
	payload []byte
}

func (s *sender) UserEvent(name string, payload []byte, _ bool) error {
	s.name, s.payload = name, payload
	return nil
}

func TestHostileEventsAreNotKept(t *testing.T) {
	ring := event.NewRing(here{})
	name, payload := sent(t, &catalog.Event{Name: "deploy"})
	bad, err := rpc.Encode(map[string]any{"ID": "x", "Name": "deploy", "NodeFilter": "("})
	if err != nil {
		t.Fatal(err)
	}
	huge := []byte{0x81, 0xa7, 'P', 'a', 'y', 'l', 'o', 'a', 'd', 0xc6, 0xff, 0xff, 0xff, 0xff, 'x'} // 4 GiB announced
	deep := bytes.Repeat([]byte{0x91}, 9<<10)
	for what, e := range map[string]struct {
		name    string
		payload []byte
	}{
		"no payload":            {name, nil},
		"cut":                   {name, payload[:len(payload)/2]},
		"another name":          {name + "er", payload},
		"no name":               {strings.TrimSuffix(name, "deploy"), payload},
		"filter does not parse": {name, bad},
		"huge":                  {name, huge},
		"deep":                  {name, deep},
	} {
		if got, err := ring.Receive(e.name, 1, e.payload); err == nil || got != nil {
			t.Errorf("%s: %+v, %v", what, got, err)
		}
	}
	if got, err := ring.Receive("deploy", 1, payload); got != nil || err != nil {
		t.Errorf("an event of another program: %v, %v", got, err)
	}
	if kept, _, _ := ring.List(""); len(kept) != 0 {
		t.Errorf("%d are kept", len(kept))
	}
}

func FuzzReceive(f *testing.F) {
	name, payload := sent(f, &catalog.Event{Name: "deploy", Payload: []byte("x"), ServiceFilter: "web", TagFilter: "v1"})
	f.Add(name, payload)
	f.Add(name, []byte{0xdf, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, name string, payload []byte) {
		ring := event.NewRing(here{})
		if got, err := ring.Receive(name, 1, payload); got != nil && (err != nil || event.Validate(got) != nil) {
			t.Errorf("kept %+v, %v", got, err)
		}
	})
}
