package check

import (
	"cmp"
	"context"
	"crypto/tls"
	"log/slog"
	"math/rand/v2"
	"net"
	"time"

	"github.com/curia-mesh/curia/catalog"
)

// Times and sizes that hold where a definition says nothing, or too much.
// Source: https://developer.hashicorp.com/consul/docs/reference/service/health-check
const (
	MinInterval   = time.Second      // a shorter interval is raised to this
	NetTimeout    = 10 * time.Second // http, tcp, udp, grpc, h2ping, os_service
	ScriptTimeout = 30 * time.Second // script, docker
	MaxOutputSize = 512 << 10        // the largest output_max_size, in bytes
)

// firstRun is the time within which a new check is made for the first time.
const firstRun = time.Second

// Reporter learns the results of checks.
type Reporter interface {
	// Report says that a check is in a state now, after each result that counts, changed or not. Calls
	// for one check come one after the other, those for different checks at the same time. It must not
	// call the Set or Runner that reports.
	Report(checkID string, status catalog.Status, output string)
}

// Deps is what checks need of their agent. Only Reporter must be set.
type Deps struct {
	Reporter Reporter
	Log      *slog.Logger
	// Node is the name of this node, for aliases that spell it out.
	Node string
	// Aliased knows the checks that alias checks follow; without it they are refused.
	Aliased Aliased
	// TLS returns the configuration for checks over TLS, of the agent where enable_agent_tls_for_checks is
	// set; nil or a nil result means the system's roots and no client certificate. It is called for each
	// connection, so certificates may change. Server name and verification are set by each check.
	TLS func() *tls.Config
	// Dial makes connections of networks "tcp" and "udp"; nil means a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// DockerHost is where the Docker Engine listens, in the form of DOCKER_HOST; "" means its usual socket.
	DockerHost string
	// Env is the environment of scripts, "KEY=value" each; nil means that of the agent.
	Env []string
	// OutputMaxSize is how many bytes of output are kept where a check does not say (check_output_max_size);
	// 0 means catalog.MaxCheckOutput.
	OutputMaxSize int
	// FlapHalfLife is how quickly changes of state are forgotten: a check with many in a short time is held
	// at its worst state. 0 holds none. Checks of kind ttl are not held.
	FlapHalfLife time.Duration
	// Observe, when set, learns of each probe: the check's kind, the result and the time it took.
	Observe func(kind string, status catalog.Status, took time.Duration)
}

// A probe makes a check once. It ends soon after ctx does and leaves nothing running.
type probe func(ctx context.Context) (catalog.Status, string)

// A Runner is one check.
type Runner struct {
	def       *catalog.AgentCheck
	kind      string
	deps      Deps
	maxOutput int
	first     time.Duration // the first run is within this
	interval  time.Duration
	timeout   time.Duration
	probe     probe    // what to do at each interval, nil for ttl and alias
	ttl       *ttl     // ttl checks only
	judge     judge    // used by the goroutine of Run alone
	closing   []func() // what to do when Run ends
}

// New returns the check that def defines; it keeps def, which must not change any more. It starts
// nothing. An error has code catalog.Invalid and says what to write instead.
func New(def *catalog.AgentCheck, deps Deps) (*Runner, error) {
	if err := def.Validate(); err != nil {
		return nil, err
	}
	if def.CheckID == "" {
		return nil, catalog.Errorf(catalog.Invalid, "check %q has no id: set id or name", def.Name)
	}
	if def.OutputMaxSize > MaxOutputSize {
		return nil, catalog.Errorf(catalog.Invalid, "check %q: output_max_size %d is above %d", def.CheckID, def.OutputMaxSize, MaxOutputSize)
	}
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	if deps.Dial == nil {
		deps.Dial = (&net.Dialer{KeepAlive: -1}).DialContext
	}
	r := &Runner{
		def: def, kind: def.Kind(), deps: deps, judge: newJudge(def),
		maxOutput: cmp.Or(def.OutputMaxSize, min(max(deps.OutputMaxSize, 0), MaxOutputSize), catalog.MaxCheckOutput),
		interval:  max(time.Duration(def.Interval), MinInterval),
		timeout:   cmp.Or(time.Duration(def.Timeout), NetTimeout),
		first:     firstRun,
	}
	if err := r.prepare(); err != nil {
		return nil, catalog.Errorf(catalog.Invalid, "check %q: %w", def.CheckID, err)
	}
	return r, nil
}

// prepare sets what the check's kind needs.
func (r *Runner) prepare() (err error) {
	switch r.kind {
	case "http":
		r.probe, err = newHTTP(r)
	case "tcp":
		r.probe, err = newTCP(r)
	case "udp":
		r.probe, err = newUDP(r)
	case "grpc":
		r.probe, err = newGRPC(r)
	case "h2ping":
		r.probe, err = newH2Ping(r)
	case "os_service":
		r.probe, err = newOSService(r)
	case "script":
		r.timeout = cmp.Or(time.Duration(r.def.Timeout), ScriptTimeout)
		r.probe = newScript(command(r.def), r.deps.Env, r.maxOutput).probe
	case "docker":
		r.timeout = cmp.Or(time.Duration(r.def.Timeout), ScriptTimeout)
		r.probe, err = newDocker(r)
	case "ttl":
		r.ttl = newTTL(r)
	case "alias":
		if r.deps.Aliased == nil {
			err = catalog.Errorf(catalog.Invalid, "this agent cannot follow other checks: remove alias_service and alias_node")
		}
	default:
		err = catalog.Errorf(catalog.Invalid, "no such kind of check as %q", r.kind)
	}
	return err
}

// Run makes the check until ctx ends, then returns nil. It may be called once.
func (r *Runner) Run(ctx context.Context) error {
	defer func() {
		for _, end := range r.closing {
			end()
		}
	}()
	switch {
	case r.ttl != nil:
		r.ttl.run(ctx)
	case r.probe != nil:
		r.poll(ctx)
	default:
		r.follow(ctx)
	}
	return nil
}

// poll probes at each interval. The first run comes soon, at a random moment. What is not up then may be in a moment, so
// it is looked at again soon, ever more rarely. Then a run comes anywhere within the interval, so that checks which began
// together do not stay together.
func (r *Runner) poll(ctx context.Context) {
	if given := time.Duration(r.def.Interval); given < r.interval {
		r.deps.Log.Warn("health check interval raised to the least", "check", r.def.CheckID, "interval", given, "least", r.interval)
	}
	timer := time.NewTimer(rand.N(min(r.first, r.interval)))
	defer timer.Stop()
	soon, spread := MinInterval, true
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		status, output := r.Probe(ctx)
		if ctx.Err() != nil {
			return // the result is of our going, not of the service
		}
		if status, counts := r.judge.add(status); counts {
			r.report(status, output)
		}
		wait := r.interval
		switch {
		case spread && status == catalog.Critical && 2*soon < r.interval:
			wait, soon = soon, 2*soon
		case spread:
			wait, spread = max(rand.N(r.interval), MinInterval), false
		}
		timer.Reset(wait)
	}
}

// Probe makes the check once, within its timeout, and returns the plain result: thresholds do not count
// and nothing is reported. It must not be called while Run runs. Checks of kinds ttl and alias have
// nothing to probe.
func (r *Runner) Probe(ctx context.Context) (catalog.Status, string) {
	if r.probe == nil {
		return catalog.Critical, "a check of kind " + r.kind + " has nothing to probe"
	}
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	status, output := r.probe(ctx)
	if r.deps.Observe != nil {
		r.deps.Observe(r.kind, status, time.Since(start))
	}
	return status, clip(output, r.maxOutput)
}

// Set takes the state of a ttl check from its service and starts the time to live anew. The Reporter
// has been told when it returns. Other checks answer an error.
func (r *Runner) Set(status catalog.Status, output string) error {
	if r.ttl == nil {
		// Internal, because Consul answers this with status 500.
		return catalog.Errorf(catalog.Internal, "check %q is of kind %s and has no TTL: only ttl checks take a state", r.def.CheckID, r.kind)
	}
	if !status.Valid() {
		return catalog.Errorf(catalog.Invalid, "check %q: status %q is not passing, warning or critical", r.def.CheckID, status)
	}
	r.ttl.set(status, clip(output, r.maxOutput))
	return nil
}

func (r *Runner) report(status catalog.Status, output string) {
	r.deps.Reporter.Report(r.def.CheckID, status, clip(output, r.maxOutput))
}
