package command

import (
	"context"
	"flag"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/curia-mesh/curia/agent/client"
	"github.com/curia-mesh/curia/catalog"
)

func peeringToken(f *flag.FlagSet) action {
	name := peerVar(f)
	meta := pairsVar(f, "meta", "A `key=value` of the metadata. It can be given several times.")
	addresses := f.String("server-external-addresses", "", "The `addresses` where the other cluster reaches this one's servers, each host:port, separated by commas. The default is the servers' own.")
	format := formatVar(f)
	return func(ctx context.Context, c *call) error {
		if err := checkPeer(*name, *format); err != nil {
			return err
		}
		r := &client.PeeringRequest{PeerName: *name, Meta: meta, ServerExternalAddresses: fields(*addresses)}
		token, err := c.api.Peerings().Generate(ctx, r, c.q)
		switch {
		case err != nil:
			return err
		case *format == "json":
			return c.json(struct{ PeeringToken string }{token}, "    ")
		}
		c.say("%s", clean(token))
		return nil
	}
}

func peeringEstablish(f *flag.FlagSet) action {
	name := peerVar(f)
	token := f.String("peering-token", "", "The `token` that the other cluster made; it must be given.")
	meta := pairsVar(f, "meta", "A `key=value` of the metadata. It can be given several times.")
	return func(ctx context.Context, c *call) error {
		if *name == "" || *token == "" {
			return usage("set -name and -peering-token")
		}
		if err := c.api.Peerings().Establish(ctx, &client.PeeringRequest{PeerName: *name, Meta: meta, PeeringToken: *token}, c.q); err != nil {
			return err
		}
		c.say("Successfully established peering connection with %s", clean(*name))
		return nil
	}
}

func peeringList(f *flag.FlagSet) action {
	format := formatVar(f)
	return func(ctx context.Context, c *call) error {
		if err := checkFormat(*format); err != nil {
			return err
		}
		list, err := c.api.Peerings().List(ctx, c.q)
		switch {
		case err != nil:
			return err
		case *format == "json":
			return c.json(list, "    ")
		case len(list) == 0:
			c.note("There are no peering connections.")
			return nil
		}
		rows := [][]string{{"Name", "State", "Imported Svcs", "Exported Svcs", "Meta"}}
		for _, p := range list {
			stream := p.StreamStatus
			rows = append(rows, []string{p.Name, string(p.State), strconv.Itoa(len(stream.ImportedServices)), strconv.Itoa(len(stream.ExportedServices)), joinPairs(p.Meta, ",")})
		}
		c.table(rows)
		return nil
	}
}

func peeringRead(f *flag.FlagSet) action {
	name, format := peerVar(f), formatVar(f)
	return func(ctx context.Context, c *call) error {
		if err := checkPeer(*name, *format); err != nil {
			return err
		}
		p, err := c.api.Peerings().Read(ctx, *name, c.q)
		switch {
		case err != nil:
			return err
		case *format == "json":
			return c.json(p, "    ")
		}
		c.showPeering(p)
		return nil
	}
}

// showPeering writes a peering for people.
func (c *call) showPeering(p *catalog.Peering) {
	line := func(label, value string) { c.say("%s", strings.TrimRight(label+": "+clean(value), " ")) }
	below := func(label string, values []string) {
		if len(values) == 0 {
			return
		}
		c.say("%s:", label)
		for _, v := range values {
			c.say("    %s", clean(v))
		}
	}
	stream := p.StreamStatus
	line("Name", p.Name)
	line("ID", p.ID)
	line("State", string(p.State))
	if len(p.Meta) > 0 {
		below("Meta", strings.Split(joinPairs(p.Meta, "\n"), "\n"))
	}
	c.say("")
	line("Peer ID", p.PeerID)
	line("Peer Server Name", p.PeerServerName)
	line("Peer CA Pems", strconv.Itoa(len(p.PeerCAPems)))
	below("Peer Server Addresses", p.PeerServerAddresses)
	c.say("")
	line("Imported Services", strconv.Itoa(len(stream.ImportedServices)))
	line("Exported Services", strconv.Itoa(len(stream.ExportedServices)))
	c.say("")
	if stream.Error != "" {
		line("Error", stream.Error)
	}
	line("Last Heartbeat", moment(stream.LastHeartbeat))
	line("Last Send", moment(stream.LastSend))
	line("Last Receive", moment(stream.LastReceive))
	c.say("")
	line("Create Index", strconv.FormatUint(p.CreateIndex, 10))
	line("Modify Index", strconv.FormatUint(p.ModifyIndex, 10))
}

// moment writes a time, nothing for one that has not been.
func moment(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.Format(time.RFC3339)
}

func peeringDelete(f *flag.FlagSet) action {
	name := peerVar(f)
	return func(ctx context.Context, c *call) error {
		if *name == "" {
			return noPeer()
		}
		if err := c.api.Peerings().Delete(ctx, *name, c.q); err != nil {
			return err
		}
		c.say("Successfully submitted peering connection, %s, for deletion", clean(*name))
		return nil
	}
}

func peeringExported(f *flag.FlagSet) action {
	name, format := peerVar(f), formatVar(f)
	return func(ctx context.Context, c *call) error {
		if err := checkPeer(*name, *format); err != nil {
			return err
		}
		if _, err := c.api.Peerings().Read(ctx, *name, c.q); err != nil {
			return err
		}
		all, err := c.api.Entries().Exported(ctx, c.q)
		if err != nil {
			return err
		}
		services := []string{}
		for _, s := range all {
			if slices.Contains(s.Consumers.Peers, *name) {
				services = append(services, s.Service)
			}
		}
		switch {
		case *format == "json":
			return c.json(services, "    ")
		case len(services) == 0:
			c.note("There are no exported services.")
		}
		for _, s := range services {
			c.say("%s", clean(s))
		}
		return nil
	}
}

func peerVar(f *flag.FlagSet) *string {
	return f.String("name", "", "The `name` that this cluster gives the other; it must be given.")
}

func noPeer() error { return usage("which peering? set -name") }

func checkPeer(name, format string) error {
	if name == "" {
		return noPeer()
	}
	return checkFormat(format)
}
