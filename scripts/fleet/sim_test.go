//go:build unix

package fleet

import (
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curia-mesh/curia/rpc/gossip"
	"github.com/curia-mesh/curia/rpc/memnet"
	"github.com/curia-mesh/curia/scripts/report"
)

var (
	leanFlag    = flag.Bool("lean", false, "agents without tags and coordinates, which take two thirds of the memory")
	wavesFlag   = flag.Int("waves", 1, "how many waves the agents start in; the goal is about one")
	knownFlag   = flag.Bool("known", false, "agents that know one another from the start, in place of G1")
	onlyFlag    = flag.String("only", strings.Join(scenarios[:5], ","), "the scenarios to run after the start")
	agentsFlag  = flag.Int("agents", 40, "how many agents to simulate")
	minutesFlag = flag.Float64("minutes", 1, "virtual minutes that each loss is watched for; the goals want 10")
	starvedFlag = flag.Float64("starved", 30, "minutes, of real time, that agents are starved for")
	seedFlag    = flag.Uint64("seed", 1, "seed of the network's loss and delay")
	outFlag     = flag.String("o", "", "write the report to this file")
	commandFlag = flag.String("command", "go test ./scripts/fleet", "the command to name in the report")
)

// scenarios are what -only picks from.
var scenarios = []string{"calm", "loss", "deaths", "split", "strangers", "starved"}

// lan is how a datacenter's network delays.
var lan = memnet.Link{Delay: 250 * time.Microsecond, Jitter: 500 * time.Microsecond}

// row is one figure beside its goal.
type row struct{ what, got, goal, met string }

// sim is one run and what it showed.
type sim struct {
	*fleet
	rows *[]row
}

// add adds a row, and tells on standard error what it says, since the table comes late.
func (s *sim) add(r row) {
	*s.rows = append(*s.rows, r)
	fmt.Fprintf(os.Stderr, "sim: %s: %s\n", r.what, r.got)
}

// check adds a row that the test stands or falls with.
func (s *sim) check(ok bool, what, goal, got string, args ...any) {
	met := "yes"
	if got = fmt.Sprintf(got, args...); !ok {
		met = "no"
		s.t.Errorf("%s: %s, goal %s", what, got, goal)
	}
	s.add(row{what, got, goal, met})
}

// goalsFrom is how many agents it takes to say something of a goal that is a rate or a time: of fewer, one that is
// unlucky misses it.
const goalsFrom = 200

// goal adds a row that the test stands or falls with where there are agents enough.
func (s *sim) goal(ok bool, what, goal, got string, args ...any) {
	if ok || len(s.agents) >= goalsFrom {
		s.check(ok, what, goal, got, args...)
		return
	}
	s.add(row{what, fmt.Sprintf(got, args...), goal, "no, of few"})
}

// show adds a row without a goal.
func (s *sim) show(what, got string, args ...any) {
	s.add(row{what, fmt.Sprintf(got, args...), "", "-"})
}

// TestFleet holds a fleet against the goals of gossip, G1 to G4.
func TestFleet(t *testing.T) {
	n := *agentsFlag
	if n < 4*seeds {
		t.Fatalf("-agents=%d: at least %d are needed", n, 4*seeds)
	}
	// The state of n agents is n² entries that live for the whole run: collecting them often is what would take longest.
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	start, cpu := time.Now(), cpuTime()
	var rows []row
	defer func() { // also when a bubble ended the test
		rows = append(rows,
			row{"CPU of the whole run", fmt.Sprintf("%.0f s", (cpuTime() - cpu).Seconds()), "", "-"},
			row{"time of the whole run", fmt.Sprintf("%.0f s", time.Since(start).Seconds()), "", "-"},
			row{"memory of the process, at most", fmt.Sprintf("%d MiB", largest()), "", "-"})
		write(t, n, rows)
	}()
	bubble := func(name string, f func(*testing.T)) {
		t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
	}
	asked := strings.Split(*onlyFlag, ",")
	for _, name := range asked {
		if !slices.Contains(scenarios, name) {
			t.Fatalf("-only=%s: %q is none of %s", *onlyFlag, name, strings.Join(scenarios, ", "))
		}
	}
	in := func(names ...string) bool {
		return slices.ContainsFunc(names, func(name string) bool { return slices.Contains(asked, name) })
	}
	if in("calm", "loss", "deaths", "split") {
		bubble("pool", func(t *testing.T) {
			began := time.Now()
			net := memnet.New(*seedFlag)
			net.SetAll(lan)
			s := &sim{fleet: newFleet(t, net, "agent", n), rows: &rows}
			if *knownFlag {
				s.knownStart()
			} else {
				s.massStart()
			}
			for _, next := range []struct {
				name string
				run  func()
			}{{"calm", s.calm}, {"loss", func() { s.loss(0.05, 0); s.loss(0.20, 0.1) }}, {"deaths", s.deaths}, {"split", s.splitBrain}} {
				if in(next.name) {
					next.run()
				}
			}
			s.close()
			s.show("virtual time", "%s", time.Since(began).Round(time.Second))
		})
	}
	if in("strangers") {
		bubble("strangers", func(t *testing.T) {
			s := &sim{fleet: &fleet{t: t}, rows: &rows}
			s.strangers()
		})
	}
	if in("starved") {
		length := time.Duration(*starvedFlag * float64(time.Minute))
		with, without, err := starveBoth(t.Context(), min(n, starvedOf), length, time.Minute, 5*time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		s := &sim{fleet: &fleet{t: t}, rows: &rows}
		s.compare(with, without)
	}
}

// massStart is G1: all agents start at once.
func (s *sim) massStart() {
	n := len(s.agents)
	limit := 45 * time.Second
	if n > 200 {
		limit = time.Minute
	}
	start, cpu := time.Now(), cpuTime()
	defer func() { s.show("CPU of the start", "%.0f s", (cpuTime() - cpu).Seconds()) }()
	failed := s.join(*wavesFlag)
	_, wrong := s.truth.await(10 * time.Minute)
	took := time.Since(start)
	s.check(failed == 0 && wrong == 0, "G1 all start at once", "all see all", "%d joins failed, %d pairs missing", failed, wrong)
	if *wavesFlag > 1 {
		last := time.Duration(*wavesFlag-1) * waveEvery
		s.show(fmt.Sprintf("%d waves, one every %s: until all see all", *wavesFlag, waveEvery), "%s after the last", round(took-last))
		return
	}
	s.goal(took <= limit, "G1 all start at once: until all see all", "≤ "+limit.String(), "%s", round(took))
}

// knownStart is in place of G1 where that would take too long.
func (s *sim) knownStart() {
	cpu := cpuTime()
	if err := s.know(); err != nil {
		s.t.Fatal(err)
	}
	_, wrong := s.truth.await(time.Minute)
	s.check(wrong == 0, "all know one another from the start", "all see all", "%d pairs missing", wrong)
	s.settle()
	cpu = cpuTime() - cpu
	s.show("CPU of the start", "%.0f s, %.1f µs for each pair of agents", cpu.Seconds(), float64(cpu.Microseconds())/float64(len(s.agents)*len(s.agents)))
}

// calm measures what a healthy network carries, and that nobody is taken for failed.
func (s *sim) calm() {
	time.Sleep(time.Minute) // what the start set off has passed
	before, cpu := s.traffic(), cpuTime()
	length := s.loss(0, 0)
	sent, cpu := s.traffic().minus(before), cpuTime()-cpu
	perNode := float64(len(s.agents)) * length.Seconds()
	s.show("packets an agent sends", "%.2f/s, %.0f bytes/s", float64(sent.packets)/perNode, float64(sent.packetBytes)/perNode)
	s.show("exchanges of state", "%.3f/s an agent, %.0f bytes/s", float64(sent.streams)/perNode, float64(sent.streamBytes)/perNode)
	s.show("CPU of an agent in calm", "%.0f µs/s", float64(cpu.Microseconds())/perNode)
	runtime.GC()
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	s.show("memory in use in calm", "%d MiB, %d bytes for each pair of agents", mem.HeapAlloc>>20, int(mem.HeapAlloc)/(len(s.agents)*len(s.agents)))
}

// loss is G3: how often living agents are taken for failed while a part of all packets is lost. perHour is what the
// goal allows of each node-hour.
func (s *sim) loss(part, perHour float64) (length time.Duration) {
	length = time.Duration(*minutesFlag * float64(time.Minute))
	link := lan
	link.Loss = part
	s.net.SetAll(link)
	before := s.truth.falseAlarms(nil)
	time.Sleep(length)
	seen := s.truth.falseAlarms(nil).minus(before)
	hours := float64(len(s.agents)) * length.Hours()
	goal := "0"
	if perHour > 0 {
		goal = fmt.Sprintf("≤ %.1f per node-hour", perHour)
	}
	hold := s.goal
	if part == 0 {
		hold = s.check
	}
	hold(float64(seen.episodes) <= perHour*hours, fmt.Sprintf("G3 false positives at %.0f %% loss", part*100), goal,
		"%d in %.1f node-hours (%.3f per node-hour; %d opinions)", seen.episodes, hours, float64(seen.episodes)/hours, seen.opinions)
	s.net.SetAll(lan)
	if _, wrong := s.truth.await(5 * time.Minute); wrong > 0 {
		s.t.Fatalf("%d pairs are wrong 5 minutes after the loss ended", wrong)
	}
	if part > 0 {
		time.Sleep(settling)
	}
	return length
}

// settling is how long agents have to become as impatient as they were before there was loss: by the library's Lifeguard each probe
// that was answered late or by nobody makes the next ones wait longer, and each that is answered makes up for one.
const settling = time.Minute

// deaths is G2: 1 % are killed, three times over, other ones each time and never a seed.
func (s *sim) deaths() {
	n := len(s.agents)
	count := max(1, n/100)
	var first, later []time.Duration
	for round := range 3 {
		victims := make([]int, count)
		for i := range victims {
			victims[i] = seeds + (i*3+round)*(n-seeds)/(3*count)
		}
		start := time.Now()
		s.kill(victims)
		if _, wrong := s.truth.await(5 * time.Minute); wrong > 0 {
			s.t.Errorf("%d pairs do not know of a kill after 5 minutes", wrong)
		}
		f, l := s.truth.detection(victims, start)
		first, later = append(first, f...), append(later, l...)
	}
	timings := gossip.DefaultTimings(gossip.LAN)
	limit := time.Duration(1.5 * float64(timings.ProbeInterval) * (1 + float64(timings.SuspicionMult)*math.Log10(float64(n))))
	slices.Sort(first)
	slices.Sort(later)
	s.check(len(first) == 3*count, "G2 killed agents that were detected", fmt.Sprint(3*count), "%d", len(first))
	s.goal(report.Quantile(first, 1) <= limit, fmt.Sprintf("G2 %d×%d killed: first detector", 3, count), "≤ "+round(limit),
		"median %s, worst %s", round(report.Quantile(first, 0.5)), round(report.Quantile(first, 1)))
	s.goal(report.Quantile(later, 0.99) <= 3*time.Second, "G2 all survivors after the first", "p99 ≤ 3s",
		"median %s, p99 %s, worst %s", round(report.Quantile(later, 0.5)), round(report.Quantile(later, 0.99)), round(report.Quantile(later, 1)))
}

// splitBrain is G4: one half is cut off until each has given the other one up.
func (s *sim) splitBrain() {
	half := len(s.agents) / 2
	var names []string
	for _, a := range s.agents[:half] {
		names = append(names, a.host.Name())
	}
	s.net.Partition(names...)
	s.truth.split(func(i int) int {
		if i < half {
			return 0
		}
		return 1
	})
	gaveUp, wrong := s.truth.await(10 * time.Minute)
	s.show("split 50/50: until each half has given up the other", "%s, %d pairs wrong", round(gaveUp), wrong)
	time.Sleep(time.Minute)
	s.net.Heal()
	s.truth.split(func(int) int { return 0 })
	healed, wrong := s.truth.await(10 * time.Minute)
	s.check(wrong == 0, "G4 split healed", "all see all", "%d pairs missing", wrong)
	s.goal(healed <= time.Minute, "G4 split healed: until all see all", "≤ 1m0s", "%s", round(healed))
}

// strangers is the other half of G4: agents with another key, and without one, get nothing accepted and no answer.
func (s *sim) strangers() {
	const n = 10
	net := memnet.New(*seedFlag)
	net.SetAll(lan)
	keyed := func(key gossip.Key) func(*gossip.Config) {
		return func(c *gossip.Config) { c.Keys = []gossip.Key{key} }
	}
	home := newFleet(s.t, net, "home", n, keyed(gossip.NewKey()))
	if failed := home.join(1); failed > 0 {
		s.t.Fatalf("%d of %d with the same key cannot join", failed, n)
	}
	if _, wrong := home.truth.await(5 * time.Minute); wrong > 0 {
		s.t.Fatalf("%d pairs with the same key do not see each other", wrong)
	}
	for _, kind := range []struct {
		what string
		keys []func(*gossip.Config)
	}{{"another key", []func(*gossip.Config){keyed(gossip.NewKey())}}, {"no key", nil}} {
		s.intrude(net, home, kind.what, kind.keys)
	}
	home.close()
}

// intrude makes two strangers, who gossip with each other, send a copy of every packet to an agent at home, and join.
func (s *sim) intrude(net *memnet.Network, home *fleet, what string, keys []func(*gossip.Config)) {
	target := home.agents[1]
	refused := undecryptable(s.t, home)
	away := newFleet(s.t, net, strings.ReplaceAll(what, " ", "-"), 2, keys...)
	for _, a := range away.agents {
		a.meter.copyTo = target.host.Addr(port)
	}
	if _, err := away.agents[0].pool.Join(s.t.Context(), []string{away.agents[1].host.Addr(port)}); err != nil {
		s.t.Fatal(err)
	}
	time.Sleep(time.Minute)
	packets := int(away.traffic().packets)
	refused = undecryptable(s.t, home) - refused
	s.check(packets >= 100 && refused == packets, "G4 packets with "+what+" that were accepted", "0 of ≥ 100",
		"%d of %d", packets-refused, packets)
	_, err := away.agents[0].pool.Join(s.t.Context(), []string{target.host.Addr(port)})
	s.check(err != nil, "G4 join with "+what, "refused", "%t", err != nil)
	known := 0
	for _, a := range append(slices.Clone(home.agents), away.agents...) {
		for _, m := range a.pool.Members() {
			if strings.HasPrefix(m.Name, "home") != strings.HasPrefix(a.host.Name(), "home") {
				known++
			}
		}
	}
	s.check(known == 0, "G4 members that came in with "+what, "0", "%d", known)
	away.close()
}

// undecryptable is how much the agents of a fleet have refused for want of a key.
func undecryptable(t *testing.T, f *fleet) (sum int) {
	for _, a := range f.agents {
		var n int
		if _, err := fmt.Sscan(a.pool.Stats()["undecryptable"], &n); err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return sum
}

// write prints the report, and keeps it where the flag says.
func write(t *testing.T, n int, rows []row) {
	out := io.Writer(os.Stdout)
	if *outFlag != "" {
		f, err := os.Create(*outFlag)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		out = io.MultiWriter(out, f)
	}
	r := report.Report{Out: out}
	r.Line("# Curia: gossip of %d agents", n)
	r.Line("")
	r.Line("- command: `%s`, %s", *commandFlag, time.Now().UTC().Format("2006-01-02 15:04 UTC"))
	r.Line("- machine: %s", report.Machine())
	r.Line("- real pools with LAN timings on a network in memory (%s to %s one way), in virtual time; seed %d; each loss was watched for %.1f min",
		lan.Delay, lan.Delay+lan.Jitter, *seedFlag, *minutesFlag)
	if strings.Contains(*onlyFlag, "starved") {
		r.Line("- starved: in real time, on sockets of the loopback interface")
	}
	if *leanFlag {
		r.Line("- lean: agents without tags and coordinates")
	}
	r.Line("")
	var cells [][]string
	for _, row := range rows {
		cells = append(cells, []string{row.what, row.got, row.goal, row.met})
	}
	r.Table([]string{"what", "measured", "goal", "met"}, cells)
}

// cpuTime is what this process has used, and those that it started and that have ended.
func cpuTime() (sum time.Duration) {
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var r syscall.Rusage
		if err := syscall.Getrusage(who, &r); err != nil {
			return 0
		}
		sum += time.Duration(r.Utime.Nano() + r.Stime.Nano())
	}
	return sum
}

// largest is the most memory that the process has had, in MiB.
func largest() int64 {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0
	}
	if runtime.GOOS == "darwin" {
		return r.Maxrss >> 20 // bytes there
	}
	return r.Maxrss >> 10
}

func round(d time.Duration) string { return d.Round(10 * time.Millisecond).String() }
