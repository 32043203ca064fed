package command

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/curia-mesh/curia/agent/client"
	"github.com/curia-mesh/curia/agent/sidecar"
)

// proxyView reads a view of the proxy that runs the agent's sidecars.
func proxyView(ctx context.Context, c *call, view string, out any) error {
	_, err := c.api.Do(ctx, http.MethodGet, client.Path("agent", "connect", "proxy", view), client.Query{}, nil, out)
	return err
}

// shownAs makes an action of a view: its JSON, or what rows makes of it as a table.
func shownAs[T any](view string, show func(c *call, v *T)) func(f *flag.FlagSet) action {
	return func(f *flag.FlagSet) action {
		format := formatVar(f)
		return func(ctx context.Context, c *call) error {
			if err := checkFormat(*format); err != nil {
				return err
			}
			var text json.RawMessage
			if err := proxyView(ctx, c, view, &text); err != nil {
				return err
			}
			if *format == "json" {
				return c.json(text, "  ")
			}
			v := new(T)
			if err := json.Unmarshal(text, v); err != nil {
				return err
			}
			show(c, v)
			return nil
		}
	}
}

func proxyStatus(c *call, s *sidecar.Status) {
	state := "synced"
	if !s.Synced {
		state = fmt.Sprintf("stale: the agent has version %d", s.Wanted)
	}
	where := "in the agent"
	if s.Process != nil {
		where = fmt.Sprintf("process %d, of build %s, since %s", s.Process.Pid, s.Process.Build, s.Process.Started.Format(time.RFC3339))
	}
	c.say("Proxy     %s", where)
	c.say("Snapshot  version %d, %s", s.Version, state)
	for _, id := range slices.Sorted(maps.Keys(s.Waiting)) {
		c.say("Waiting   %s for %s", clean(id), clean(strings.Join(s.Waiting[id], "; ")))
	}
	if len(s.Sidecars) > 0 {
		rows := [][]string{{"Sidecar", "Service", "Certificate until"}}
		for _, side := range s.Sidecars {
			until := side.ValidBefore.Format(time.RFC3339)
			if side.Expired {
				until += " (expired)"
			}
			rows = append(rows, []string{side.ID, side.Service, until})
		}
		c.say("")
		c.table(rows)
	}
	rows := [][]string{{"Listener", "Address", "Protocol", "State"}}
	for _, l := range s.Listeners {
		state := "open"
		if !l.Open {
			state = l.Error
		}
		rows = append(rows, []string{l.Name, l.Address, l.Protocol, state})
	}
	c.say("")
	c.table(rows)
}

func proxyClusters(c *call, all *[]sidecar.ClusterStatus) {
	rows := [][]string{{"Listener", "Target", "Endpoints", "Requests", "Failures", "Notes"}}
	for _, s := range *all {
		var notes []string
		for _, n := range []struct {
			is   bool
			text string
		}{
			{s.Error != "", s.Error}, {s.Panics, "so few are in service that all get traffic"}, {s.BreakerOpen, "breaker open: " + s.BreakerReason},
			{s.Ejections > 0, fmt.Sprintf("%d ejections", s.Ejections)}, {s.Overflows > 0, fmt.Sprintf("%d above a limit", s.Overflows)},
		} {
			if n.is {
				notes = append(notes, n.text)
			}
		}
		rows = append(rows, []string{
			s.Listener, s.Target, fmt.Sprintf("%d of %d", s.Usable, s.Endpoints), strconv.FormatUint(s.Total, 10),
			strconv.FormatUint(s.Failures, 10), strings.Join(notes, "; "),
		})
	}
	c.table(rows)
}

func proxyEndpoints(c *call, all *[]sidecar.EndpointStatus) {
	rows := [][]string{{"Listener", "Target", "Address", "Node", "Checks", "State", "Weight", "Latency"}}
	for _, e := range *all {
		state := e.State
		if e.Reason != "" {
			state += " for another " + time.Duration(e.Left).Round(time.Second).String() + ": " + e.Reason
		}
		rows = append(rows, []string{
			e.Listener, e.Target, e.Address, e.Node, string(e.Status), state, strconv.FormatUint(uint64(e.Weight), 10),
			time.Duration(e.Latency).Round(10 * time.Microsecond).String(),
		})
	}
	c.table(rows)
}

// proxyConfig shows the snapshot, which has no form but its JSON.
func proxyConfig(*flag.FlagSet) action {
	return func(ctx context.Context, c *call) error {
		var text json.RawMessage
		if err := proxyView(ctx, c, sidecar.ViewConfig, &text); err != nil {
			return err
		}
		return c.json(text, "  ")
	}
}
