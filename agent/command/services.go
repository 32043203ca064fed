package command

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/curia-mesh/curia/agent/client"
	"github.com/curia-mesh/curia/agent/decode"
	"github.com/curia-mesh/curia/catalog"
)

// maxDefinition is how large a file of definitions or of a configuration entry may be.
const maxDefinition = 4 << 20

func servicesRegister(f *flag.FlagSet) action {
	d := &catalog.ServiceDefinition{}
	kind := f.String("kind", "", "The `kind` of a service that belongs to the mesh, such as connect-proxy.")
	f.StringVar(&d.ID, "id", "", "The `id` of the instance. The default is its name.")
	f.StringVar(&d.Name, "name", "", "The `name` of the service.")
	f.StringVar(&d.Address, "address", "", "The `address` of the instance. The default is its node's.")
	f.IntVar(&d.Port, "port", 0, "The `port` of the instance.")
	f.StringVar(&d.SocketPath, "socket", "", "The `path` of the instance's unix socket, in place of a port.")
	tags := listVar(f, "tag", "A `tag`. It can be given several times.")
	meta := pairsVar(f, "meta", "A `key=value` of the metadata. It can be given several times.")
	tagged := pairsVar(f, "tagged-address", "A `tag=address:port` that some clients use in place of the address. It can be given several times.")
	return func(ctx context.Context, c *call) error {
		var definitions []*catalog.ServiceDefinition
		options := ownOptions(f)
		switch {
		case len(c.args) > 0 && len(options) > 0:
			return usage("a service is registered by files or by options, not by both (-%s)", options[0])
		case len(c.args) > 0:
			var err error
			if definitions, err = readServices(c.args); err != nil {
				return err
			}
		case d.Name == "":
			return usage("which service? give files with definitions, or at least -name")
		default:
			d.Kind, d.Tags, d.Meta = catalog.Kind(*kind), *tags, meta
			var err error
			if d.TaggedAddresses, err = taggedAddresses(tagged); err != nil {
				return err
			}
			definitions = []*catalog.ServiceDefinition{d}
		}
		for _, d := range definitions {
			if err := c.api.Agent().RegisterService(ctx, d); err != nil {
				return fmt.Errorf("register service %q: %w", d.Name, err)
			}
			c.say("Registered service: %s", clean(d.Name))
		}
		return nil
	}
}

func servicesDeregister(f *flag.FlagSet) action {
	id := f.String("id", "", "The `id` of the instance.")
	return func(ctx context.Context, c *call) error {
		var ids []string
		switch {
		case *id != "" && len(c.args) > 0:
			return usage("a service is deregistered by files or by -id, not by both")
		case *id != "":
			ids = []string{*id}
		case len(c.args) == 0:
			return usage("which service? give -id, or files with definitions")
		}
		definitions, err := readServices(c.args)
		if err != nil {
			return err
		}
		for _, d := range definitions {
			if d.ID == "" {
				d.ID = d.Name
			}
			ids = append(ids, d.ID)
		}
		for _, id := range ids {
			if err := c.api.Agent().DeregisterService(ctx, id); err != nil {
				return fmt.Errorf("deregister service %q: %w", id, err)
			}
			c.say("Deregistered service: %s", clean(id))
		}
		return nil
	}
}

// readServices reads files of one or several service definitions.
func readServices(paths []string) ([]*catalog.ServiceDefinition, error) {
	var all []*catalog.ServiceDefinition
	for _, path := range paths {
		b, err := readFile(path, maxDefinition)
		if err != nil {
			return nil, err
		}
		var file struct {
			Service  *catalog.ServiceDefinition
			Services []*catalog.ServiceDefinition
		}
		read := decode.HCL
		if filepath.Ext(path) == ".json" {
			read = decode.JSON
		}
		if err := read(b, &file, decode.File(), decode.Strict()); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		found := file.Services
		if file.Service != nil {
			found = append([]*catalog.ServiceDefinition{file.Service}, found...)
		}
		for i, d := range found {
			if d == nil || d.Name == "" {
				return nil, fmt.Errorf("%s: service %d has no name", path, i+1)
			}
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("%s defines no service: want a block service { ... } or services { ... }", path)
		}
		all = append(all, found...)
	}
	return all, nil
}

// ownOptions are the given options but for those that only say how to reach the agent.
func ownOptions(f *flag.FlagSet) []string {
	var names []string
	f.Visit(func(fl *flag.Flag) {
		if !common(fl.Name) {
			names = append(names, fl.Name)
		}
	})
	return names
}

func taggedAddresses(tagged pairs) (map[string]catalog.ServiceAddress, error) {
	if len(tagged) == 0 {
		return nil, nil
	}
	addresses := map[string]catalog.ServiceAddress{}
	for tag, at := range tagged {
		host, text, err := net.SplitHostPort(at)
		if err != nil {
			return nil, usage("-tagged-address %s=%s: want tag=address:port", tag, at)
		}
		port, err := strconv.ParseUint(text, 10, 16)
		if err != nil {
			return nil, usage("-tagged-address %s=%s: port %q is not between 0 and 65535", tag, at, text)
		}
		addresses[tag] = catalog.ServiceAddress{Address: host, Port: int(port)}
	}
	return addresses, nil
}

// consumer is one of those that a service is exported to.
type consumer struct {
	Peer          string `json:",omitempty"`
	Partition     string `json:",omitempty"`
	SamenessGroup string `json:",omitempty"`
}

// exports is the configuration entry of exported services.
type exports struct {
	Kind     string
	Name     string
	Meta     map[string]string `json:",omitempty"`
	Services []*struct {
		Name      string
		Namespace string `json:",omitempty"`
		Consumers []consumer
	}
}

func servicesExport(f *flag.FlagSet) action {
	name := f.String("name", "", "The `name` of the service; it must be given.")
	peers := f.String("consumer-peers", "", "The `names` of the peered clusters to export it to, separated by commas.")
	partitions := f.String("consumer-partitions", "", "The `names` of the admin partitions to export it to, separated by commas.")
	return func(ctx context.Context, c *call) error {
		var to []consumer
		for _, p := range fields(*peers) {
			to = append(to, consumer{Peer: p})
		}
		for _, p := range fields(*partitions) {
			to = append(to, consumer{Partition: p})
		}
		if *name == "" || len(to) == 0 {
			return usage("set -name and -consumer-peers")
		}
		var entry exports
		var index struct{ ModifyIndex uint64 }
		raw, err := c.api.Entries().Read(ctx, "exported-services", "default", c.q)
		switch {
		case client.IsStatus(err, 404):
			entry.Kind, entry.Name = "exported-services", "default"
		case err != nil:
			return err
		default:
			if err := json.Unmarshal(raw, &entry); err != nil {
				return fmt.Errorf("read the exported services: %w", err)
			}
			if err := json.Unmarshal(raw, &index); err != nil {
				return fmt.Errorf("read the exported services: %w", err)
			}
		}
		entry.add(*name, to)
		raw, err = json.Marshal(entry)
		if err != nil {
			return err
		}
		done, err := c.api.Entries().Write(ctx, raw, &index.ModifyIndex, c.q)
		if err != nil {
			return err
		}
		if !done {
			return fmt.Errorf("the exported services were changed by another at the same time: try again")
		}
		c.say("Successfully exported service %q to %s", *name, strings.Join(append(fields(*peers), fields(*partitions)...), ", "))
		return nil
	}
}

// add exports a service to further consumers.
func (e *exports) add(name string, to []consumer) {
	for _, s := range e.Services {
		if s.Name != name {
			continue
		}
		for _, t := range to {
			if !slices.Contains(s.Consumers, t) {
				s.Consumers = append(s.Consumers, t)
			}
		}
		return
	}
	e.Services = append(e.Services, &struct {
		Name      string
		Namespace string `json:",omitempty"`
		Consumers []consumer
	}{Name: name, Consumers: to})
}

func fields(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

func servicesExported(f *flag.FlagSet) action {
	format := formatVar(f)
	filter := f.String("filter", "", "Show only services that this `expression` selects.")
	return func(ctx context.Context, c *call) error {
		if err := checkFormat(*format); err != nil {
			return err
		}
		q := c.q
		q.Filter = *filter
		services, err := c.api.Entries().Exported(ctx, q)
		if err != nil {
			return err
		}
		if *format == "json" {
			return c.json(services, "    ")
		}
		if len(services) == 0 {
			c.note("No exported services found.")
			return nil
		}
		rows := [][]string{{"Service", "Consumer Peers"}}
		partitions := slices.ContainsFunc(services, func(s client.ExportedService) bool { return len(s.Consumers.Partitions) > 0 })
		if partitions {
			rows[0] = append(rows[0], "Consumer Partitions")
		}
		for _, s := range services {
			cells := []string{s.Service, strings.Join(s.Consumers.Peers, ", ")}
			if partitions {
				cells = append(cells, strings.Join(s.Consumers.Partitions, ", "))
			}
			rows = append(rows, cells)
		}
		c.table(rows)
		return nil
	}
}
