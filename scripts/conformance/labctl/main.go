//go:build linux

// Command labctl is scripts/lab: it starts a lab in the background, and tells it what to break.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/curia-mesh/curia/scripts/conformance/lab"
)

const usage = `scripts/lab up [-clients N] [SERVERS]   start hosts s1, s2, … (3 by default) with a server each, c1, c2, … with a client
                                     agent each (none by default), and one called client
scripts/lab up -dcs N [-rtt TIME] [-clients N] [SERVERS]
                                     the same in datacenters dc1, dc2, …, with the hosts dc1-s1, …, dc1-c1, …: dc1 is the
                                     primary one, they are TIME apart (50ms by default), with a client agent each
scripts/lab down                     end everything, also what a crash has left
scripts/lab status                   hosts, what runs on them, and what is broken
scripts/lab exec HOST COMMAND…       run a command on a host, as: exec client curl 10.77.1.11:8500/v1/status/leader
scripts/lab log HOST                 where its agent's log is
scripts/lab cut A B [one-way]        nothing gets from A to B, nor back
scripts/lab mend A B                 what was cut between them is not any more
scripts/lab flap A B TIMES [TIME]    cut and mend so often, each for TIME (300ms by default)
scripts/lab delay A B TIME [JITTER]  packets between them take longer; between datacenters, this long
scripts/lab lose A B PERCENT         packets between them get lost
scripts/lab freeze HOST | thaw HOST  SIGSTOP, SIGCONT
scripts/lab kill HOST | stop HOST    SIGKILL, SIGTERM
scripts/lab start HOST               start its agent again
scripts/lab fill-disk HOST           no space is left
scripts/lab slow-disk HOST TIME      each sync takes longer
scripts/lab fail-sync HOST           each sync fails
scripts/lab heal                     networks and disks are good again, and nobody is frozen

A and B are two hosts, two datacenters, or a datacenter and the word others.
`

func main() {
	dir := os.Getenv("CURIA_LAB_DIR")
	if len(os.Args) < 2 || os.Args[1] == "help" || os.Args[1] == "-h" || dir == "" {
		fmt.Print(usage)
		return
	}
	if err := run(dir, os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "scripts/lab:", err)
		os.Exit(1)
	}
}

func run(dir, command string, args []string) error {
	switch command {
	case "up":
		return up(dir, args)
	case "serve":
		return serve(dir, args)
	case "down":
		return down(dir)
	case "exec":
		return execute(dir, args)
	case "flap":
		return flap(dir, args)
	}
	answer, err := tell(dir, append([]string{command}, args...))
	fmt.Print(answer)
	return err
}

func socket(dir string) string { return filepath.Join(dir, "control") }

// up starts serve in the background and waits until it serves.
func up(dir string, args []string) error {
	if _, err := tell(dir, []string{"status"}); err == nil {
		return fmt.Errorf("a lab is up already in %s: take it down before", dir)
	}
	lab.Sweep(filepath.Join(dir, "hosts"))
	self, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(self, append([]string{"serve"}, args...)...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }() // ends with the lab, or with us
	for {
		select {
		case <-ended:
			text, _ := os.ReadFile(log.Name())
			return fmt.Errorf("the lab has ended: %s", strings.TrimSpace(string(text)))
		case <-time.After(50 * time.Millisecond):
		}
		if answer, err := tell(dir, []string{"status"}); err == nil {
			fmt.Print(answer)
			return nil
		}
	}
}

// serve is the lab, until it is told to end.
func serve(dir string, args []string) error {
	p, err := planOf(args)
	if err != nil {
		return err
	}
	hosts := filepath.Join(dir, "hosts")
	if err := os.RemoveAll(hosts); err != nil {
		return err
	}
	c, err := newControl(hosts, filepath.Join(dir, "curia"), p)
	if err != nil {
		return err
	}
	os.Remove(socket(dir))
	l, err := net.Listen("unix", socket(dir))
	if err != nil {
		return errors.Join(err, c.lab.Close())
	}
	defer l.Close()
	for {
		conn, err := l.Accept()
		if err != nil {
			return errors.Join(err, c.lab.Close())
		}
		if serveOne(conn, c) {
			return nil
		}
	}
}

// serveOne answers one command: its words are separated by NUL. It tells whether that was the last one.
func serveOne(conn net.Conn, c *control) (last bool) {
	defer conn.Close()
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return false
	}
	words := strings.Split(strings.TrimSuffix(line, "\n"), "\x00")
	if last = words[0] == "down"; last {
		err = c.lab.Close()
		fmt.Fprintf(conn, "ok\n")
	} else if answer, err := c.do(words[0], words[1:]); err != nil {
		fmt.Fprintf(conn, "error\n%v", err)
	} else {
		fmt.Fprintf(conn, "ok\n%s", answer)
	}
	return last
}

// tell sends a command to the lab that is up and returns its answer.
func tell(dir string, words []string) (string, error) {
	conn, err := net.Dial("unix", socket(dir))
	if err != nil {
		return "", fmt.Errorf("no lab is up in %s: say scripts/lab up", dir)
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "%s\n", strings.Join(words, "\x00")); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		return "", err
	}
	verdict, rest, _ := strings.Cut(string(answer), "\n")
	if verdict != "ok" {
		return "", errors.New(rest)
	}
	return rest, nil
}

// down ends the lab, and what one that crashed may have left.
func down(dir string) error {
	_, err := tell(dir, []string{"down"})
	if killed := lab.Sweep(filepath.Join(dir, "hosts")); err != nil && killed > 0 {
		fmt.Printf("%d processes of a lab that crashed are ended\n", killed)
		err = nil
	}
	return errors.Join(err, os.RemoveAll(filepath.Join(dir, "hosts")), os.RemoveAll(socket(dir)))
}

// flap cuts and mends again and again.
func flap(dir string, args []string) error {
	if len(args) < 3 || len(args) > 4 {
		return errors.New("say scripts/lab flap A B TIMES [TIME]")
	}
	times, err := strconv.Atoi(args[2])
	if err != nil || times < 1 || times > 100_000 {
		return fmt.Errorf("%q is not a number of times: give one from 1 to 100000", args[2])
	}
	span := 300 * time.Millisecond
	if len(args) > 3 {
		if span, err = duration(args[3]); err != nil {
			return err
		}
	}
	for range times {
		for _, verb := range []string{"cut", "mend"} {
			if _, err := tell(dir, []string{verb, args[0], args[1]}); err != nil {
				return err
			}
			time.Sleep(span)
		}
	}
	return nil
}

// execute turns this process into a command on a host.
func execute(dir string, args []string) error {
	if len(args) < 2 {
		return errors.New("exec HOST COMMAND…")
	}
	where, err := tell(dir, []string{"where", args[0]})
	if err != nil {
		return err
	}
	var pid, tid int
	if _, err := fmt.Sscan(where, &pid, &tid); err != nil {
		return fmt.Errorf("the lab says %q: %w", where, err)
	}
	return lab.Exec(pid, tid, args[1:])
}
