package dns

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/curia-mesh/curia/catalog"
)

// TestScripts plays testdata/*.txt. A script is made of lines:
//
//	set SETTING VALUE                      before the first question
//	node NAME ADDRESS [dc=DC] [meta.K=V] [wan=ADDRESS] [lan_ipv6=ADDRESS]
//	service NAME NODE PORT [address=A] [tags=a,b] [ports=a:1,b:2] [status=S] [weights=P/W] [...]
//	query NAME SERVICE [tag=TAG] [ttl=TTL]
//	group NAME|default PEER|here...
//	virtual [PORT.]SERVICE ADDRESS
//	ask TYPE NAME [tcp] [edns=SIZE]        then what is to come, up to an empty line:
//	  CODE FLAGS...
//	  answer|authority|additional RECORD
//
// Each question is asked twice, so that the short way has to say what the long one said.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { play(t, file) })
	}
}

func play(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	source, config := newFake(), Defaults()
	var server *running
	lines := strings.Split(string(text), "\n")
	for n := 0; n < len(lines); n++ {
		fields := strings.Fields(lines[n])
		if len(fields) == 0 || fields[0] == "#" {
			continue
		}
		if fields[0] != "ask" {
			source.change(func() { err = load(source, &config, fields) })
			if err != nil {
				t.Fatalf("%s:%d: %v", file, n+1, err)
			}
			continue
		}
		if server == nil {
			server = start(t, config, source)
		}
		at := n + 1
		var want []string
		for n++; n < len(lines) && strings.TrimSpace(lines[n]) != ""; n++ {
			want = append(want, strings.Join(strings.Fields(lines[n]), " "))
		}
		slices.Sort(want[1:])
		for _, way := range []string{"long", "short"} {
			got := render(ask(t, server.addr, fields[1:]))
			if !slices.Equal(want, got) {
				t.Errorf("%s:%d: %s (%s way)\n got:\n\t%s\nwant:\n\t%s", file, at, strings.Join(fields, " "), way, strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
			}
		}
	}
}

// ask asks as an ask line says.
func ask(t testing.TB, addr string, fields []string) *dns.Msg {
	t.Helper()
	qtype, ok := dns.StringToType[fields[0]]
	if !ok {
		number, err := strconv.Atoi(strings.TrimPrefix(fields[0], "TYPE"))
		if err != nil {
			t.Fatalf("unknown type %s", fields[0])
		}
		qtype = uint16(number)
	}
	msg := new(dns.Msg).SetQuestion(fields[1], qtype)
	network := "udp"
	for _, option := range fields[2:] {
		switch key, value, _ := strings.Cut(option, "="); key {
		case "tcp":
			network = "tcp"
		case "edns":
			size, _ := strconv.Atoi(value)
			msg.SetEdns0(uint16(size), false)
		}
	}
	return exchange(t, network, addr, msg)
}

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

func exchange(t testing.TB, network, addr string, msg *dns.Msg) *dns.Msg {
	t.Helper()
	client := &dns.Client{Net: network, Timeout: patience, UDPSize: dns.MaxMsgSize}
	reply, _, err := client.Exchange(msg, addr)
	if err != nil {
		t.Fatalf("%s: %v", msg.Question[0].String(), err)
	}
	return reply
}

func render(m *dns.Msg) []string {
	first := dns.RcodeToString[m.Rcode]
	for _, f := range []struct {
		name string
		set  bool
	}{{"aa", m.Authoritative}, {"tc", m.Truncated}, {"rd", m.RecursionDesired}, {"ra", m.RecursionAvailable}} {
		if f.set {
			first += " " + f.name
		}
	}
	if opt := m.IsEdns0(); opt != nil {
		first += fmt.Sprintf(" edns=%d", opt.UDPSize())
	}
	lines := []string{first}
	for _, section := range []struct {
		name string
		rrs  []dns.RR
	}{{"answer", m.Answer}, {"authority", m.Ns}, {"additional", m.Extra}} {
		for _, rr := range section.rrs {
			if rr.Header().Rrtype == dns.TypeOPT {
				continue
			}
			if soa, ok := rr.(*dns.SOA); ok {
				soa.Serial = 0
			}
			lines = append(lines, section.name+" "+strings.Join(strings.Fields(rr.String()), " "))
		}
	}
	slices.Sort(lines[1:])
	return lines
}

// load takes in a line that is no question.
func load(f *fakeSource, c *Config, fields []string) error {
	name, rest := fields[1], fields[2:]
	switch fields[0] {
	case "set":
		return set(c, name, rest[0])
	case "node":
		n := &catalog.Node{Node: name, Address: rest[0], Datacenter: "dc1", Meta: map[string]string{}, TaggedAddresses: map[string]string{}}
		for _, option := range rest[1:] {
			key, value, _ := strings.Cut(option, "=")
			switch meta, isMeta := strings.CutPrefix(key, "meta."); {
			case isMeta:
				n.Meta[meta] = strings.ReplaceAll(value, "+", " ")
			case key == "dc":
				n.Datacenter = value
			default:
				n.TaggedAddresses[key] = value
			}
		}
		f.nodes[strings.ToLower(name)] = n
	case "service":
		return loadService(f, name, rest)
	case "query":
		q := fakeQuery{service: rest[0]}
		for _, option := range rest[1:] {
			switch key, value, _ := strings.Cut(option, "="); key {
			case "tag":
				q.tag = value
			case "ttl":
				q.ttl, _ = time.ParseDuration(value)
			}
		}
		f.queries[name] = q
	case "group":
		for _, cluster := range rest {
			f.groups[strings.TrimSuffix(name, "default")] = append(f.groups[strings.TrimSuffix(name, "default")], strings.TrimSuffix(cluster, "here"))
		}
	case "virtual":
		f.virtuals[name] = netip.MustParseAddr(rest[0])
	default:
		return fmt.Errorf("unknown line %q", fields[0])
	}
	return nil
}

func loadService(f *fakeSource, name string, rest []string) error {
	n := f.nodes[strings.ToLower(rest[0])]
	if n == nil {
		return fmt.Errorf("no node %s", rest[0])
	}
	port, err := strconv.Atoi(rest[1])
	if err != nil {
		return err
	}
	s := &catalog.Service{Service: name, Port: port, TaggedAddresses: map[string]catalog.ServiceAddress{}}
	check := &catalog.Check{Status: catalog.Passing}
	for _, option := range rest[2:] {
		switch key, value, _ := strings.Cut(option, "="); key {
		case "address":
			s.Address = value
		case "tags":
			s.Tags = strings.Split(value, ",")
		case "ports":
			for _, port := range strings.Split(value, ",") {
				name, number, _ := strings.Cut(port, ":")
				n, err := strconv.Atoi(number)
				if err != nil {
					return err
				}
				s.Ports = append(s.Ports, catalog.ServicePort{Name: name, Port: n})
			}
		case "status":
			check.Status = catalog.Status(value)
		case "weights":
			s.Weights = &catalog.Weights{}
			if _, err := fmt.Sscanf(value, "%d/%d", &s.Weights.Passing, &s.Weights.Warning); err != nil {
				return err
			}
		case "proxy-for":
			s.Kind, s.Proxy = catalog.KindConnectProxy, &catalog.Proxy{DestinationServiceName: value}
		case "ingress-for":
			s.Meta = map[string]string{key: value}
		case "peer":
			s.PeerName = value
		default: // a tagged address
			s.TaggedAddresses[key] = catalog.ServiceAddress{Address: value}
		}
	}
	s.Normalize()
	i := &catalog.Instance{Node: n, Service: s, Checks: []*catalog.Check{check}}
	if s.PeerName != "" {
		peered := *n
		peered.PeerName = s.PeerName
		i.Node = &peered
	}
	f.instances = append(f.instances, i)
	return nil
}

func set(c *Config, name, value string) error {
	var err error
	service, isTTL := strings.CutPrefix(name, "service_ttl.")
	switch {
	case isTTL:
		if c.ServiceTTL == nil {
			c.ServiceTTL = map[string]time.Duration{}
		}
		c.ServiceTTL[service], err = time.ParseDuration(value)
	case name == "node_ttl":
		c.NodeTTL, err = time.ParseDuration(value)
	case name == "domain":
		c.Domain = value
	case name == "alt_domain":
		c.AltDomain = value
	case name == "only_passing":
		c.OnlyPassing = value == "true"
	case name == "enable_truncate":
		c.EnableTruncate = value == "true"
	case name == "disable_compression":
		c.DisableCompression = value == "true"
	case name == "enable_additional_node_meta_txt":
		c.NodeMetaTXT = value == "true"
	case name == "translate_wan_addrs":
		c.TranslateWAN = value == "true"
	case name == "udp_answer_limit":
		c.UDPAnswerLimit, err = strconv.Atoi(value)
	case name == "a_record_limit":
		c.ARecordLimit, err = strconv.Atoi(value)
	case name == "soa.min_ttl":
		var v int
		v, err = strconv.Atoi(value)
		c.SOA.MinTTL = uint32(v)
	default:
		err = fmt.Errorf("unknown setting %q", name)
	}
	return err
}
