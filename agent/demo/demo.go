package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/curia-mesh/curia/agent/client"
)

// Options are what a demo is started with.
type Options struct {
	// Said is how large it is to be. What is kept in Dir must be of it.
	Said Shape
	// Dir is where everything lies. Empty is a temporary directory, which is removed at the end.
	Dir string
	// Program is this program.
	Program string
	// Found prepares the first server of a new secured cluster, as curia init does, and returns its management token.
	Found func(config, data string) (management string, err error)
	// Join makes a place an agent of the cluster that made the token, as curia join does.
	Join func(ctx context.Context, config, data, token string) error
	// Show is called once, when everything runs. It may follow what the traffic comes to, and returns when ctx ends.
	Show func(ctx context.Context, s *Summary, stats func() []Flow)
}

// Demo is what runs.
type Demo struct {
	Options
	*plan
	temporary bool
	keeper    *keeper
	mesh      *mesh

	mu      sync.Mutex
	running map[string]*process // by the agent's name
	chaos   sync.Mutex          // held while somebody breaks something
	failed  chan error          // an agent has ended that nobody ended
}

// startTime bounds each step of the start.
const startTime = time.Minute

// tokenFile in the demo's directory holds the management token.
const tokenFile = "management.token"

// Run runs a demo until ctx ends. Nothing is left when it returns, but for what is in Dir.
func Run(ctx context.Context, o Options) (err error) {
	began := time.Now()
	d := &Demo{Options: o, running: map[string]*process{}, failed: make(chan error, maxAgents)}
	socket, err := d.open()
	if err != nil {
		return err
	}
	defer d.close(socket)
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error { return d.run(ctx, began, socket) })
	all.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case <-d.keeper.ended:
			return errors.New("the process that ends the agents was itself ended")
		case err := <-d.failed:
			return err
		}
	})
	return all.Wait()
}

// open takes the directory and the ports.
func (d *Demo) open() (socket net.Listener, err error) {
	if d.temporary = d.Dir == ""; d.temporary {
		d.Dir, err = os.MkdirTemp("", temporaryPrefix)
	} else if d.Dir, err = filepath.Abs(d.Dir); err == nil {
		err = os.MkdirAll(d.Dir, 0o700)
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			if socket != nil {
				socket.Close()
			}
			if d.plan != nil {
				d.plan.free()
			}
			if d.temporary {
				err = errors.Join(err, os.RemoveAll(d.Dir))
			}
		}
	}()
	var was bool
	if d.plan, was, err = load(d.Dir, d.Said); err != nil {
		return nil, err
	}
	if !was && !d.temporary {
		if err := empty(d.Dir); err != nil {
			return nil, err
		}
	}
	if socket, err = listenControl(d.Dir); err != nil {
		return nil, err
	}
	if err = d.settle(d.Dir, was); err == nil {
		err = d.plan.write(d.Dir)
	}
	if err == nil {
		d.keeper, err = startKeeper(d.Program, d.Dir, d.temporary)
	}
	return socket, err
}

func empty(dir string) error {
	in, err := os.ReadDir(dir)
	if err == nil && len(in) > 0 {
		err = fmt.Errorf("%s is not empty and holds no demo: take another directory", dir)
	}
	return err
}

// close ends everything and removes what is temporary.
func (d *Demo) close(socket net.Listener) {
	d.mesh.close()
	socket.Close()
	d.keeper.end()
	d.mu.Lock()
	for _, a := range d.running { // where the keeper could not
		a.kill()
	}
	d.mu.Unlock()
	d.plan.free()
	if d.temporary {
		os.RemoveAll(d.Dir)
	}
}

// run starts everything, and then takes what the control socket asks for.
func (d *Demo) run(ctx context.Context, began time.Time, socket net.Listener) error {
	late, cancel := context.WithTimeoutCause(ctx, startTime, errLate)
	defer cancel()
	if err := d.start(late); err != nil {
		return d.because(ctx, late, err)
	}
	agents := time.Since(began)
	if err := d.startMesh(late); err != nil {
		return d.because(ctx, late, err)
	}
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error { return d.mesh.run(ctx) })
	first := func() error {
		s := d.summary()
		s.AgentsReady = seconds(agents)
		var err error
		if s.FirstCalls, err = firsts(late, began, d.mesh.flows); err == nil && d.Datacenters > 1 {
			s.FirstFarCalls, err = firsts(late, began, d.mesh.far)
		}
		if err != nil {
			return d.because(ctx, late, err)
		}
		all.Go(func() error {
			d.Show(ctx, s, d.mesh.stats)
			return nil
		})
		all.Go(func() error { return d.control(ctx, socket, s) })
		return nil
	}
	all.Go(first)
	return all.Wait()
}

// firsts waits for the first success of each flow, and returns how many seconds that took.
func firsts(ctx context.Context, began time.Time, flows []*flow) (float64, error) {
	for _, f := range flows {
		select {
		case <-f.first:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	return seconds(time.Since(began)), nil
}

var errLate = errors.New("late")

// because says why something failed that late bounds: nil when ctx has ended, as then others know.
func (d *Demo) because(ctx, late context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return nil
	case late.Err() == nil:
		return err
	}
	for _, a := range d.Agents {
		p := d.process(a)
		if p == nil {
			return fmt.Errorf("agent %s does not run after %v: %w", a.Name, startTime, err)
		}
		select {
		case <-p.ready:
		default:
			return fmt.Errorf("agent %s is not ready after %v; the end of its log:\n%s", a.Name, startTime, p.tail())
		}
	}
	return fmt.Errorf("web does not reach api after %v: %w", startTime, err)
}

func seconds(d time.Duration) float64 {
	return float64(d.Round(10*time.Millisecond)) / float64(time.Second)
}

// start brings all agents up, and waits until each datacenter knows all of its own.
func (d *Demo) start(ctx context.Context) error {
	for _, a := range d.Agents {
		if err := d.configure(a); err != nil {
			return err
		}
	}
	all, ctx := errgroup.WithContext(ctx)
	for _, dc := range d.datacenters() {
		all.Go(func() error { return d.startDatacenter(ctx, dc) })
	}
	return all.Wait()
}

func (d *Demo) startDatacenter(ctx context.Context, dc string) error {
	agents := append(d.in(dc, true), d.in(dc, false)...)
	if d.Secure {
		if err := d.found(agents[0]); err != nil {
			return err
		}
	}
	for _, a := range agents {
		if d.prepared(a) {
			if err := d.launch(a); err != nil {
				return err
			}
		}
	}
	all, inner := errgroup.WithContext(ctx)
	for _, a := range agents {
		if !d.prepared(a) {
			all.Go(func() error { return d.join(inner, agents[0], a) })
		} else {
			all.Go(func() error { return d.await(inner, a) })
		}
	}
	if err := all.Wait(); err != nil {
		return err
	}
	return d.complete(ctx, agents)
}

// securedFile is what init and join write last.
const securedFile = "curia.json"

// prepared reports whether an agent has all that it needs to run.
func (d *Demo) prepared(a *place) bool {
	if !d.Secure {
		return true
	}
	_, err := os.Stat(filepath.Join(a.config(), securedFile))
	return err == nil
}

// found prepares the first server of a secured cluster, unless it is.
func (d *Demo) found(a *place) error {
	if d.prepared(a) {
		return nil
	}
	management, err := d.Found(a.config(), a.data())
	if err != nil {
		return err
	}
	return os.WriteFile(d.tokenFile(), []byte(management+"\n"), 0o600)
}

func (d *Demo) tokenFile() string {
	if !d.Secure {
		return ""
	}
	return filepath.Join(d.Dir, tokenFile)
}

// join makes a place an agent of the cluster that the first server is of, and runs it.
func (d *Demo) join(ctx context.Context, first, a *place) error {
	if err := d.await(ctx, first); err != nil {
		return err
	}
	api, err := d.ask(first)
	if err != nil {
		return err
	}
	defer api.Close()
	role := "client"
	if a.Server {
		role = "server"
	}
	made, err := api.Operator().CreateJoinToken(ctx, role, 1, startTime)
	if err != nil {
		return err
	}
	if err := d.Join(ctx, a.config(), a.data(), made.Text); err != nil {
		return fmt.Errorf("agent %s: %w", a.Name, err)
	}
	if err := d.launch(a); err != nil {
		return err
	}
	return d.await(ctx, a)
}

// launch runs an agent.
func (d *Demo) launch(a *place) error {
	p, err := d.keeper.start(a)
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.running[a.Name] = p
	d.mu.Unlock()
	go func() { // ends with the agent
		<-p.ended
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.running[a.Name] == p {
			d.failed <- fmt.Errorf("agent %s has ended (%s); the end of its log, %s:\n%s", a.Name, p.cmd.ProcessState, a.log(), p.tail())
		}
	}()
	return nil
}

// process is the running agent of a place.
func (d *Demo) process(a *place) *process {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.running[a.Name]
}

// await waits until an agent is ready.
func (d *Demo) await(ctx context.Context, a *place) error {
	p := d.process(a)
	select {
	case <-p.ready:
		return nil
	case <-p.ended: // which is told elsewhere
		<-ctx.Done()
	case <-ctx.Done():
	}
	return ctx.Err()
}

// complete waits until the first of the agents has all of them in its catalog.
func (d *Demo) complete(ctx context.Context, agents []*place) error {
	api, err := d.ask(agents[0])
	if err != nil {
		return err
	}
	defer api.Close()
	for q := (client.Query{}); ; {
		nodes, meta, err := api.Catalog().Nodes(ctx, q)
		if err != nil {
			return err
		}
		if len(nodes) >= len(agents) {
			return nil
		}
		q.Index = meta.Index
	}
}

// federated waits until a server knows of all datacenters.
func (d *Demo) federated(ctx context.Context, server *place) error {
	return d.poll(ctx, server, "the datacenters do not know one another", func(ctx context.Context, api *client.Client) (bool, error) {
		known, err := api.Catalog().Datacenters(ctx)
		return len(known) == d.Datacenters, err
	})
}

// ask is a client of an agent, with the management token where there is one.
func (d *Demo) ask(a *place) (*client.Client, error) {
	return client.New(client.Config{Address: a.address(httpPort), TokenFile: d.tokenFile()})
}

// configure writes what an agent is told beside what init and join write.
func (d *Demo) configure(a *place) error {
	settings := map[string]any{
		"node_name": a.Name, "datacenter": a.Datacenter, "bind_addr": "127.0.0.1", "client_addr": "127.0.0.1", "log_level": "info",
		"ports": map[string]int{
			"http": a.port(httpPort), "https": -1, "grpc": -1, "grpc_tls": -1, "dns": a.port(dnsPort),
			"server": a.port(serverPort), "serf_lan": a.port(serfPort), "serf_wan": a.port(serfWANPort),
		},
		"connect":            map[string]any{"enabled": true, "proxy": "agent"}, // nothing is to be left behind
		"leave_on_terminate": false, "retry_interval": "1s", "retry_interval_wan": "1s",
		"autopilot": map[string]any{"server_stabilization_time": "1s"},
	}
	servers := d.in(a.Datacenter, true)
	if d.Datacenters > 1 {
		home := d.datacenters()[0]
		settings["primary_datacenter"] = home
		if a.Server && a.Datacenter != home {
			settings["retry_join_wan"] = []string{d.in(home, true)[0].address(serfWANPort)}
		}
	}
	if !d.Secure {
		var join []string
		for _, s := range servers {
			join = append(join, s.address(serfPort))
		}
		settings["data_dir"], settings["retry_join"] = a.data(), join
		if a.Server {
			settings["server"], settings["bootstrap_expect"] = true, d.Servers
		}
	}
	text, err := json.MarshalIndent(settings, "", "  ")
	for _, dir := range []string{a.config(), a.data()} {
		if err == nil {
			err = os.MkdirAll(dir, 0o700)
		}
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(a.config(), "demo.json"), append(text, '\n'), 0o600)
	}
	return err
}

// poll asks an agent what it has no blocking query for, until that is as wanted.
func (d *Demo) poll(ctx context.Context, ask *place, late string, wanted func(context.Context, *client.Client) (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, healTime, fmt.Errorf("%s after %v", late, healTime))
	defer cancel()
	api, err := d.ask(ask)
	if err != nil {
		return err
	}
	defer api.Close()
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for {
		if is, err := wanted(ctx, api); is || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
