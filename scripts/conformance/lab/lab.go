//go:build linux

package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// ErrNeedsRoot is what faults say that a lab of loopback addresses cannot have.
var ErrNeedsRoot = errors.New("needs root: the hosts are loopback addresses, and only their processes can be broken")

const (
	// marker begins the environment variable by which processes of a lab are found.
	marker = "CURIA_LAB="
	// maxHosts bounds what a lab asks of the machine.
	maxHosts = 64
)

// Lab is hosts that can reach one another. They stand at one site or at several, which are as far from one another as
// Options say.
type Lab struct {
	// Dir has a directory for each host.
	Dir string
	// Root says whether hosts have networks and disks of their own.
	Root bool
	// Power says whether hosts have disks that can lose their power.
	Power bool

	wire  *wire
	sites []Site
	hosts []*Host

	mu sync.Mutex // guards what hosts run
}

// Options say what Open makes.
type Options struct {
	// Dir is where the hosts' files go; it must exist. Its file system is what the hosts' disks are made of.
	Dir string
	// Sites are where the hosts stand. Those of the first have the addresses 10.77.1.11 and up, of the second 10.77.2.11
	// and up; as loopback addresses 127.77.1.11.
	Sites []Site
	// Between is how each direction between two sites behaves, as long as nobody says otherwise and when all is healed. It
	// adds to what is said of two hosts.
	Between Link
	// Power gives each host an ext4 file system in a file for its disk, so that CutPower works, in place of one that can be
	// made slow or faulty. Needs root, mkfs.ext4 and loop devices.
	Power bool
	// Loopback takes loopback addresses even as root.
	Loopback bool
}

// Site is a place with hosts, as a datacenter is.
type Site struct {
	Name  string // not needed where there is one
	Hosts []string
	net   netip.Addr
}

// Open makes the hosts. Nothing runs on them yet. The caller must Close the lab; should the process die before, the
// kernel does.
func Open(o Options) (*Lab, error) {
	n := 0
	for _, s := range o.Sites {
		n += len(s.Hosts)
	}
	if n == 0 || n > maxHosts {
		return nil, fmt.Errorf("lab: %d hosts: between 1 and %d are possible", n, maxHosts)
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	l := &Lab{Dir: dir, Root: os.Geteuid() == 0 && !o.Loopback, Power: o.Power, wire: newWire()}
	if l.Power && !l.Root {
		return nil, fmt.Errorf("lab: disks whose power can be cut: %w", ErrNeedsRoot)
	}
	if o.Between != (Link{}) && !l.Root {
		return nil, fmt.Errorf("lab: sites that are far from one another: %w", ErrNeedsRoot)
	}
	first := byte(10)
	if !l.Root {
		first = 127
	}
	for n, s := range o.Sites {
		s.net = netip.AddrFrom4([4]byte{first, 77, byte(1 + n), 0})
		l.sites = append(l.sites, s)
		for i, name := range s.Hosts {
			addr := s.net.As4()
			addr[3] = byte(11 + i)
			h := &Host{Name: name, Addr: netip.AddrFrom4(addr), Dir: filepath.Join(dir, name), lab: l}
			l.hosts = append(l.hosts, h)
			if err := h.open(l.Root); err != nil {
				return nil, errors.Join(fmt.Errorf("lab: host %s: %w", name, err), l.Close())
			}
		}
	}
	l.wire.between(l.sites, o.Between)
	return l, nil
}

// Close ends all processes and removes what Open made but the directories.
func (l *Lab) Close() error {
	var errs []error
	for _, h := range l.hosts {
		errs = append(errs, h.close())
	}
	return errors.Join(errs...)
}

// Hosts are the hosts in the order of Options.
func (l *Lab) Hosts() []*Host { return l.hosts }

// Sites are the sites in the order of Options.
func (l *Lab) Sites() []Site { return l.sites }

// Host returns the host of a name.
func (l *Lab) Host(name string) (*Host, error) {
	var names []string
	for _, h := range l.hosts {
		if h.Name == name {
			return h, nil
		}
		names = append(names, h.Name)
	}
	return nil, fmt.Errorf("lab: no host is called %q: there are %s", name, strings.Join(names, ", "))
}

// SetLink makes one direction between two hosts behave otherwise from now on.
func (l *Lab) SetLink(from, to *Host, change func(*Link)) error {
	if !l.Root {
		return fmt.Errorf("lab: break the network: %w", ErrNeedsRoot)
	}
	l.wire.set(from.Addr, to.Addr, change)
	return nil
}

// SetLinks is SetLink in both directions.
func (l *Lab) SetLinks(a, b *Host, change func(*Link)) error {
	return errors.Join(l.SetLink(a, b, change), l.SetLink(b, a, change))
}

// SetSites makes both directions between all hosts of two sites behave otherwise from now on. What is said of two hosts is
// not touched, and adds to it.
func (l *Lab) SetSites(a, b Site, change func(*Link)) error {
	return errors.Join(l.SetSite(a, b, change), l.SetSite(b, a, change))
}

// SetSite is SetSites in one direction.
func (l *Lab) SetSite(from, to Site, change func(*Link)) error {
	if !l.Root {
		return fmt.Errorf("lab: break the network: %w", ErrNeedsRoot)
	}
	l.wire.set(from.net, to.net, change)
	return nil
}

// Link is what was said of one direction between two hosts.
func (l *Lab) Link(from, to *Host) Link { return l.wire.said(from.Addr, to.Addr) }

// Cut is a change for SetLink: nothing gets through.
func Cut(link *Link) { link.Cut = true }

// Mend is a change for SetLink: what was cut carries again.
func Mend(link *Link) { link.Cut = false }

// Heal makes the network and all disks good again and thaws who is frozen. Who was killed stays so, and sites stay as far
// from one another as they were made.
func (l *Lab) Heal() error {
	l.wire.heal()
	var errs []error
	for _, h := range l.hosts {
		if h.disk != nil {
			h.disk.faults.Store(&Disk{})
		}
		l.mu.Lock()
		frozen := h.frozen && h.run.running()
		l.mu.Unlock()
		if frozen {
			errs = append(errs, h.Thaw())
		}
	}
	return errors.Join(errs...)
}

// Status is a line for each host, and for each link that is not open.
func (l *Lab) Status() string {
	var b strings.Builder
	for _, h := range l.hosts {
		l.mu.Lock()
		state := "down"
		switch {
		case h.run.running() && h.frozen:
			state = fmt.Sprintf("frozen, pid %d", h.run.cmd.Process.Pid)
		case h.run.running():
			state = fmt.Sprintf("up, pid %d", h.run.cmd.Process.Pid)
		case h.run != nil:
			state = "down (" + h.run.cmd.ProcessState.String() + ")"
		}
		l.mu.Unlock()
		fmt.Fprintf(&b, "%-10s %-13s %s", h.Name, h.Addr, state)
		if h.disk != nil {
			if d := *h.disk.faults.Load(); d != (Disk{}) {
				fmt.Fprintf(&b, ", disk %+v", d)
			}
		}
		b.WriteByte('\n')
	}
	for _, from := range l.hosts {
		for _, to := range l.hosts {
			if link := l.Link(from, to); link != (Link{}) {
				fmt.Fprintf(&b, "%s > %s: %s\n", from.Name, to.Name, link)
			}
		}
	}
	for _, from := range l.sites {
		for _, to := range l.sites {
			if link := l.wire.said(from.net, to.net); link != (Link{}) {
				fmt.Fprintf(&b, "%s > %s: %s\n", from.Name, to.Name, link)
			}
		}
	}
	return b.String()
}

// Leftovers are the processes of a lab in dir, by the mark in their environment. There are none but after a crash
// without root.
func Leftovers(dir string) (pids []int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		var pid int
		if _, err := fmt.Sscan(e.Name(), &pid); err != nil || pid == os.Getpid() {
			continue
		}
		environ, err := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if err == nil && strings.Contains("\x00"+string(environ), "\x00"+marker+dir+"\x00") {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Sweep kills what a lab in dir has left behind and waits until it is gone.
func Sweep(dir string) (killed int) {
	for range 100 {
		left := Leftovers(dir)
		if len(left) == 0 {
			return killed
		}
		for _, pid := range left {
			if syscall.Kill(pid, syscall.SIGKILL) == nil {
				killed++
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	return killed
}
