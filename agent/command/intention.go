package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/curia-mesh/curia/agent/client"
	"github.com/curia-mesh/curia/agent/decode"
	"github.com/curia-mesh/curia/catalog"
)

// maxIntentionFile is how large a file with an intention may be.
const maxIntentionFile = 1 << 20

func intentionCreate(f *flag.FlagSet) action {
	allow := f.Bool("allow", false, "Allow the source. This is the default.")
	deny := f.Bool("deny", false, "Deny the source.")
	audit := f.Bool("audit", false, "Allow the source, and have sidecars take down that it would be denied.")
	file := f.Bool("file", false, "The arguments are files, each with an intention in JSON.")
	replace := f.Bool("replace", false, "Change an intention that exists already.")
	meta := pairsVar(f, "meta", "A `key=value` of the metadata. It can be given several times.")
	return func(ctx context.Context, c *call) error {
		if *allow && *deny || *audit && (*allow || *deny) {
			return usage("-allow, -deny and -audit exclude each other")
		}
		var list []*catalog.Intention
		if *file {
			for _, name := range c.args {
				i, err := readIntention(name)
				if err != nil {
					return err
				}
				list = append(list, i)
			}
		} else {
			if len(c.args) != 2 {
				return usage("want SRC and DST")
			}
			i := &catalog.Intention{SourceName: c.args[0], DestinationName: c.args[1], Action: catalog.IntentionAllow, Meta: meta}
			switch {
			case *deny:
				i.Action = catalog.IntentionDeny
			case *audit:
				i.Action = catalog.IntentionAudit
			}
			list = append(list, i)
		}
		for _, i := range list {
			done, err := c.putIntention(ctx, i, *replace)
			if err != nil {
				return fmt.Errorf("create intention %s => %s: %w", i.SourceName, i.DestinationName, err)
			}
			c.say("%s: %s", done, intentionLine(i))
		}
		return nil
	}
}

func readIntention(name string) (*catalog.Intention, error) {
	b, err := readFile(name, maxIntentionFile)
	if err != nil {
		return nil, err
	}
	i := &catalog.Intention{}
	if err := decode.JSON(b, i, decode.Strict()); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return i, nil
}

// putIntention creates an intention or, with replace, changes the one with the same ends.
func (c *call) putIntention(ctx context.Context, i *catalog.Intention, replace bool) (done string, err error) {
	if replace {
		old, err := c.api.Intentions().Get(ctx, i.SourceName, i.DestinationName, c.q)
		switch {
		case err == nil && old.ID == "":
			return "Updated", c.api.Intentions().Upsert(ctx, i, c.q)
		case err == nil:
			i.ID = old.ID
			return "Updated", c.api.Intentions().Update(ctx, i, c.q)
		case !client.IsStatus(err, http.StatusNotFound):
			return "", err
		}
	}
	_, err = c.api.Intentions().Create(ctx, i, c.q)
	return "Created", err
}

// intentionLine shows an intention on one line.
func intentionLine(i *catalog.Intention) string {
	return fmt.Sprintf("%s => %s (%s)", clean(intentionSource(i)), clean(i.DestinationName), intentionAction(i))
}

func intentionSource(i *catalog.Intention) string {
	if i.SourcePeer != "" {
		return "peer:" + i.SourcePeer + "/" + i.SourceName
	}
	return i.SourceName
}

// intentionAction is what an intention does, in a word or two.
func intentionAction(i *catalog.Intention) string {
	switch n := len(i.Permissions); n {
	case 0:
		return clean(string(i.Action))
	case 1:
		return "1 permission"
	default:
		return fmt.Sprintf("%d permissions", n)
	}
}

func intentionCheck(*flag.FlagSet) action {
	return func(ctx context.Context, c *call) error {
		if len(c.args) != 2 {
			return &exit{code: 2, err: errors.New("want SRC and DST"), usage: true}
		}
		allowed, err := c.api.Intentions().Check(ctx, c.args[0], c.args[1], c.q)
		switch {
		case err != nil:
			return &exit{code: 2, err: err}
		case !allowed:
			c.say("Denied")
			return &exit{code: 1}
		}
		c.say("Allowed")
		return nil
	}
}

func intentionMatch(f *flag.FlagSet) action {
	source := f.Bool("source", false, "The service is the source.")
	destination := f.Bool("destination", false, "The service is the destination. This is the default.")
	return func(ctx context.Context, c *call) error {
		by := "destination"
		if *source {
			by = "source"
		}
		if *source && *destination {
			return usage("-source and -destination exclude each other")
		}
		list, _, err := c.api.Intentions().Match(ctx, by, c.args[0], c.q)
		for _, i := range list {
			c.say("%s", intentionLine(i))
		}
		return err
	}
}

func intentionList(*flag.FlagSet) action {
	return func(ctx context.Context, c *call) error {
		list, _, err := c.api.Intentions().List(ctx, c.q)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			c.note("There are no intentions.")
			return nil
		}
		rows := [][]string{{"ID", "Source", "Action", "Destination", "Precedence"}}
		for _, i := range list {
			rows = append(rows, []string{i.ID, intentionSource(i), intentionAction(i), i.DestinationName, strconv.Itoa(i.Precedence)})
		}
		c.table(rows)
		return nil
	}
}

// intention is the one that the arguments name: an id, or source and destination.
func (c *call) intention(ctx context.Context) (*catalog.Intention, error) {
	if len(c.args) == 1 {
		return c.api.Intentions().GetID(ctx, c.args[0], c.q)
	}
	return c.api.Intentions().Get(ctx, c.args[0], c.args[1], c.q)
}

func intentionGet(*flag.FlagSet) action {
	return func(ctx context.Context, c *call) error {
		i, err := c.intention(ctx)
		if err != nil {
			return err
		}
		w := tabwriter.NewWriter(c.Out, 0, 2, 6, ' ', 0)
		row := func(name, value string) { fmt.Fprintf(w, "%s:\t%s\n", name, clean(value)) }
		row("Source", intentionSource(i))
		row("Destination", i.DestinationName)
		row("Action", intentionAction(i))
		if i.ID != "" {
			row("ID", i.ID)
		}
		if i.Description != "" {
			row("Description", i.Description)
		}
		for _, key := range slices.Sorted(maps.Keys(i.Meta)) {
			row("Meta["+key+"]", i.Meta[key])
		}
		if i.CreatedAt != nil {
			row("Created At", i.CreatedAt.Local().Format(time.RFC850))
		}
		return w.Flush()
	}
}

func intentionDelete(*flag.FlagSet) action {
	return func(ctx context.Context, c *call) (err error) {
		if len(c.args) == 1 {
			err = c.api.Intentions().DeleteID(ctx, c.args[0], c.q)
		} else {
			err = c.api.Intentions().Delete(ctx, c.args[0], c.args[1], c.q)
		}
		if err == nil {
			c.say("Intention deleted.")
		}
		return err
	}
}
