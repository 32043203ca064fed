//go:build linux

package lab

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// The test binary is also what runs on the hosts, and a lab that gets killed.
func TestMain(m *testing.M) {
	switch {
	case len(os.Args) == 4 && os.Args[1] == "on-host":
		onHost(os.Args[2], os.Args[3])
	case len(os.Args) == 3 && os.Args[1] == "doomed":
		doomed(os.Args[2])
	default:
		os.Exit(m.Run())
	}
}

// onHost serves what the tests ask of a host: GET /write writes and syncs a file in dir, with ?late it does not sync,
// GET /read shows it,
// GET /send?to=ADDRESS sends a datagram, GET /received counts those that came.
func onHost(addr, dir string) {
	var received atomic.Int64
	udp, err := net.ListenPacket("udp", addr)
	if err != nil {
		panic(err)
	}
	go func() {
		for b := make([]byte, 64); ; {
			if _, _, err := udp.ReadFrom(b); err != nil {
				panic(err)
			}
			received.Add(1)
		}
	}()
	http.HandleFunc("/read", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, filepath.Join(dir, "file")) })
	http.HandleFunc("/write", func(w http.ResponseWriter, r *http.Request) {
		f, err := os.OpenFile(filepath.Join(dir, "file"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err == nil {
			_, err = f.WriteString("x")
			if !r.URL.Query().Has("late") {
				err = errors.Join(err, f.Sync())
			}
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	http.HandleFunc("/send", func(w http.ResponseWriter, r *http.Request) {
		to, err := net.ResolveUDPAddr("udp", r.FormValue("to"))
		if err == nil {
			_, err = udp.WriteTo([]byte("x"), to)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	http.HandleFunc("/received", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, received.Load()) })
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.RemoteAddr) })
	panic(http.ListenAndServe(addr, nil))
}

// world is a lab of two hosts with a program on each, and a third one to ask them from.
type world struct {
	t    *testing.T
	lab  *Lab
	a, b *Host
	http *http.Client
}

func newWorld(t *testing.T, loopback bool) *world {
	t.Helper()
	return openWorld(t, Options{Loopback: loopback})
}

func openWorld(t *testing.T, o Options) *world {
	t.Helper()
	if os.Geteuid() != 0 && !o.Loopback {
		t.Skip("needs root")
	}
	if o.Dir = t.TempDir(); o.Sites == nil {
		o.Sites = []Site{{Hosts: []string{"a", "b", "client"}}}
	}
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if left := Leftovers(l.Dir); len(left) > 0 {
			t.Errorf("processes are left: %v", left)
		}
	})
	w := &world{t: t, lab: l, a: l.Hosts()[0], b: l.Hosts()[1]}
	w.http = &http.Client{Transport: &http.Transport{DialContext: l.Hosts()[2].Dial, DisableKeepAlives: true}, Timeout: 10 * time.Second}
	for _, h := range []*Host{w.a, w.b} {
		w.start(h)
	}
	return w
}

func (w *world) start(h *Host) {
	w.t.Helper()
	if err := h.Start(os.Args[0], "on-host", at(h), h.Data); err != nil {
		w.t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; {
		if _, err := w.get(h, "/"); err == nil {
			return
		} else if time.Now().After(end) {
			log, _ := os.ReadFile(h.Log())
			w.t.Fatalf("%s does not serve: %v; its log: %s", h.Name, err, log)
		}
	}
}

func at(h *Host) string { return h.Addr.String() + ":9000" }

func (w *world) get(h *Host, path string) (string, error) {
	answer, err := w.http.Get("http://" + at(h) + path)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = errors.New(string(body))
	}
	return string(body), err
}

func (w *world) ok(h *Host, path string) string {
	w.t.Helper()
	body, err := w.get(h, path)
	if err != nil {
		w.t.Fatal(err)
	}
	return body
}

// receives waits until h has received n datagrams.
func (w *world) receives(h *Host, n int) {
	w.t.Helper()
	var got string
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		if got = w.ok(h, "/received"); got == fmt.Sprint(n) {
			return
		}
	}
	w.t.Fatalf("%s received %s datagrams, want %d", h.Name, got, n)
}

func (w *world) change(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func TestNetwork(t *testing.T) {
	before, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, false)
	if from := w.ok(w.a, "/"); !strings.HasPrefix(from, w.lab.Hosts()[2].Addr.String()+":") {
		t.Errorf("asked from %s", from)
	}
	after, err := net.Interfaces()
	if err != nil || len(after) != len(before) {
		t.Errorf("this machine has the interfaces %v, had %v: %v", after, before, err)
	}

	// One way is cut, and only that one: what was sent into the cut is gone.
	send := func(from, to *Host) { w.ok(from, "/send?to="+url.QueryEscape(at(to))) }
	w.change(w.lab.SetLink(w.a, w.b, Cut))
	send(w.a, w.b)
	send(w.b, w.a)
	w.receives(w.a, 1)
	if s := w.lab.Status(); !strings.Contains(s, "a > b: cut") || strings.Contains(s, "b > a") {
		t.Error(s)
	}
	w.change(w.lab.Heal())
	send(w.a, w.b)
	w.receives(w.b, 1)

	// All is lost in one direction, nothing in the other one.
	w.change(w.lab.SetLink(w.a, w.b, func(l *Link) { l.Loss = 1 }))
	send(w.a, w.b)
	w.change(w.lab.SetLink(w.a, w.b, func(l *Link) { *l = Link{} }))
	send(w.a, w.b)
	w.receives(w.b, 2)

	// A round trip takes the delay of both directions: a handshake and a request are two of them.
	const delay = 30 * time.Millisecond
	w.change(w.lab.SetLinks(w.lab.Hosts()[2], w.a, func(l *Link) { l.Delay, l.Jitter = delay, delay/10 }))
	start := time.Now()
	w.ok(w.a, "/")
	if took := time.Since(start); took < 4*delay {
		t.Errorf("two round trips took %s", took)
	}
}

// Sites are far from one another, and what is said of two of them is said of all their hosts.
func TestSites(t *testing.T) {
	const delay = 30 * time.Millisecond
	w := openWorld(t, Options{Sites: []Site{{Name: "here", Hosts: []string{"a"}}, {Name: "there", Hosts: []string{"b", "client"}}}, Between: Link{Delay: delay}})
	if got := w.b.Addr.String(); got != "10.77.2.11" {
		t.Errorf("b has the address %s", got)
	}
	takes := func(h *Host, least time.Duration) {
		t.Helper()
		start := time.Now()
		if got := w.ok(h, "/"); !strings.HasPrefix(got, w.lab.Hosts()[2].Addr.String()+":") {
			t.Errorf("asked from %s", got)
		}
		if took := time.Since(start); took < least {
			t.Errorf("%s answered after %s", h.Name, took)
		}
	}
	takes(w.a, 4*delay)
	here, there := w.lab.Sites()[0], w.lab.Sites()[1]
	send := func(from, to *Host) { w.ok(from, "/send?to="+url.QueryEscape(at(to))) }
	// What is under way when a cut is made is lost too. The answer to the order cannot come.
	w.change(w.lab.SetSite(here, there, Cut))
	ctx, cancel := context.WithTimeout(t.Context(), 5*delay)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, "GET", "http://"+at(w.a)+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.http.Do(request); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("across a cut: %v", err)
	}
	if s := w.lab.Status(); !strings.Contains(s, "here > there: cut") || !strings.Contains(s, "there > here: 30ms") {
		t.Error(s)
	}
	w.change(w.lab.SetSites(here, there, Mend))
	takes(w.a, 4*delay)
	w.change(w.lab.SetSites(here, there, func(l *Link) { l.Loss, l.Delay = 1, 0 }))
	send(w.b, w.a)
	w.change(w.lab.Heal())
	takes(w.a, 4*delay)
	w.receives(w.a, 0)
	send(w.b, w.a)
	w.receives(w.a, 1)
	// What is said of two hosts adds to it.
	w.change(w.lab.SetLinks(w.a, w.lab.Hosts()[2], func(l *Link) { l.Delay = delay }))
	takes(w.a, 8*delay)
}

// Packets that take equally long come in the order in which they were sent, and a later one that is due before is first.
func TestLate(t *testing.T) {
	l, now := newLate(), time.Now()
	for i := range 100 {
		l.add(packet{due: now, data: []byte{byte(i)}})
	}
	for i := range 100 {
		if p, due, _ := l.next(); !due || p.data[0] != byte(i) {
			t.Fatalf("packet %d is %v, due %t", i, p.data, due)
		}
	}
	l.add(packet{due: now.Add(time.Hour), data: []byte{1}})
	l.add(packet{due: now.Add(time.Minute), data: []byte{2}})
	if _, due, wait := l.next(); due || wait > time.Minute {
		t.Errorf("due %t, wait %s", due, wait)
	}
	l.queue.all[0].due = now
	if p, due, _ := l.next(); !due || p.data[0] != 2 {
		t.Errorf("%v is first", p.data)
	}
}

// Who listens on a host is reached at its address.
func TestListen(t *testing.T) {
	for _, loopback := range []bool{true, false} {
		w := newWorld(t, loopback)
		l, err := w.b.Listen(9001)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		c, err := w.a.Dial(t.Context(), "tcp", w.b.Addr.String()+":9001")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		got, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer got.Close()
		if from, _, _ := net.SplitHostPort(got.RemoteAddr().String()); from != w.a.Addr.String() {
			t.Errorf("from %s", from)
		}
	}
}

func TestProcesses(t *testing.T) {
	for _, loopback := range []bool{true, false} {
		t.Run(fmt.Sprintf("loopback=%t", loopback), func(t *testing.T) {
			w := newWorld(t, loopback)
			if err := w.a.Start(); err == nil {
				t.Error("started twice")
			}
			w.change(w.a.Freeze())
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			request, err := http.NewRequestWithContext(ctx, "GET", "http://"+at(w.a)+"/", nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.http.Do(request); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("a frozen host: %v", err)
			}
			if s := w.lab.Status(); !strings.Contains(s, "frozen") {
				t.Error(s)
			}
			w.change(w.lab.Heal())
			w.ok(w.a, "/")
			w.change(w.a.Kill())
			if _, err := w.get(w.a, "/"); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("a killed host: %v", err)
			}
			for _, err := range []error{w.a.Kill(), w.a.Freeze(), w.a.Stop(time.Second)} {
				if err == nil || !strings.Contains(err.Error(), "host a") {
					t.Errorf("a killed host is ended: %v", err)
				}
			}
			w.start(w.a)
			w.change(w.a.Stop(10 * time.Second))
			if s := w.lab.Status(); !strings.Contains(s, "down (signal: terminated)") {
				t.Error(s)
			}
		})
	}
}

func TestDisk(t *testing.T) {
	w := newWorld(t, false)
	fails := func(d Disk, want syscall.Errno) {
		t.Helper()
		w.change(w.a.SetDisk(d))
		if _, err := w.get(w.a, "/write"); err == nil || !strings.Contains(err.Error(), want.Error()) {
			t.Errorf("%+v: %v, want %v", d, err, want)
		}
		w.ok(w.b, "/write") // others have a disk of their own
	}
	w.ok(w.a, "/write")
	fails(Disk{Full: true}, syscall.ENOSPC)
	fails(Disk{FailSync: true}, syscall.EIO)
	fails(Disk{ReadOnly: true}, syscall.EROFS)
	w.change(w.a.SetDisk(Disk{Slow: 50 * time.Millisecond}))
	start := time.Now()
	w.ok(w.a, "/write")
	if took := time.Since(start); took < 50*time.Millisecond {
		t.Errorf("a slow sync took %s", took)
	}
	w.change(w.lab.Heal())
	w.ok(w.a, "/write")
	w.change(w.a.Kill())
	data, err := os.ReadFile(w.a.Dir + "/backing/file")
	if string(data) != "xxxx" || err != nil { // three good ones, and the one that was only not synced
		t.Errorf("the disk holds %q, %v", data, err)
	}
	if w.a.Syncs() < 4 {
		t.Errorf("%d syncs were counted", w.a.Syncs())
	}
}

// What was synced outlives a power cut, what was not does not, and others keep both.
func TestPower(t *testing.T) {
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		t.Skip("needs mkfs.ext4")
	}
	w := openWorld(t, Options{Power: true})
	for range 3 {
		w.ok(w.a, "/write")
	}
	for _, h := range []*Host{w.a, w.b} {
		w.ok(h, "/write?late")
	}
	if got := w.ok(w.a, "/read"); got != "xxxx" {
		t.Errorf("before the cut: %q", got)
	}
	w.change(w.a.CutPower())
	w.start(w.a)
	if got := w.ok(w.a, "/read"); got != "xxx" {
		t.Errorf("after the cut: %q, want what was synced", got)
	}
	if got := w.ok(w.b, "/read"); got != "x" {
		t.Errorf("who has power: %q", got)
	}
	w.change(w.a.Kill())
	w.change(w.a.CutPower()) // of a host where nothing runs
	w.start(w.a)
	w.ok(w.a, "/write")
	if err := w.a.SetDisk(Disk{Full: true}); err == nil {
		t.Error("a disk for power cuts was made full")
	}
}

func TestLoopbackRefuses(t *testing.T) {
	w := newWorld(t, true)
	if err := w.a.CutPower(); err == nil {
		t.Error("the power of a loopback address was cut")
	}
	for _, err := range []error{w.lab.SetLinks(w.a, w.b, Cut), w.a.SetDisk(Disk{Full: true})} {
		if !errors.Is(err, ErrNeedsRoot) {
			t.Error(err)
		}
	}
}

func TestRefuses(t *testing.T) {
	if _, err := Open(Options{Dir: t.TempDir(), Sites: []Site{{Hosts: []string{"a"}}}, Loopback: true, Power: true}); !errors.Is(err, ErrNeedsRoot) {
		t.Error(err)
	}
	if _, err := Open(Options{Dir: t.TempDir()}); err == nil {
		t.Error("a lab without hosts")
	}
	if _, err := Open(Options{Dir: t.TempDir(), Sites: []Site{{Hosts: make([]string, maxHosts)}, {Hosts: make([]string, 1)}}}); err == nil {
		t.Error("a lab with too many hosts")
	}
	w := newWorld(t, true)
	if _, err := w.lab.Host("x"); err == nil || !strings.Contains(err.Error(), "a, b, client") {
		t.Error(err)
	}
	if err := w.lab.Hosts()[2].Start(); err == nil {
		t.Error("nothing to start was started")
	}
	if err := w.lab.Hosts()[2].Start("/nonexistent"); err == nil {
		t.Error("a program that is missing was started")
	}
}

// doomed is a lab that says what it runs and waits to be killed.
func doomed(dir string) {
	l, err := Open(Options{Dir: dir, Sites: []Site{{Hosts: []string{"a"}}}})
	if err == nil {
		err = l.hosts[0].Start("sleep", "600")
	}
	if err != nil {
		panic(err)
	}
	fmt.Println(l.hosts[0].run.cmd.Process.Pid)
	select {}
}

// A lab that is killed takes everything along, and what it mounts is never seen outside.
func TestCrash(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "doomed", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Sscan(line, &pid); err != nil || !slices.Contains(Leftovers(dir), pid) {
		t.Fatalf("process %q is not found: %v, found %v", line, err, Leftovers(dir))
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil || bytes.Contains(mounts, []byte(dir)) {
		t.Errorf("mounts of the machine: %s %v", mounts, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	for end := time.Now().Add(10 * time.Second); len(Leftovers(dir)) > 0; {
		if time.Now().After(end) {
			t.Fatalf("processes outlive their lab: %v", Leftovers(dir))
		}
	}
}

// Without root nobody ends the processes of a lab that was killed; Sweep does.
func TestSweep(t *testing.T) {
	l, err := Open(Options{Dir: t.TempDir(), Sites: []Site{{Hosts: []string{"a", "b"}}}, Loopback: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range l.hosts {
		if err := h.Start("sleep", "600"); err != nil {
			t.Fatal(err)
		}
	}
	if killed := Sweep(l.Dir); killed < 2 || len(Leftovers(l.Dir)) > 0 {
		t.Errorf("%d killed, %v left", killed, Leftovers(l.Dir))
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}
